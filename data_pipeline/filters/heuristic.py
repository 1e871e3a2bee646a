"""Rules of thumb for quality, for a whole Arrow batch at once; every drop has a reason and a score.

Published sets (published.py, c4.py) with published bounds; ours for prose, after Gopher's quality
and repetition rules (Rae et al. 2021, appendix A1.1 and table A1) on words that spaces part. Code:
StarCoder2's line-length, alphabetic and generated-file rules (Lozhkov et al. 2024, section 3), and
Gopher's bounds on repetition. Both: encoded data (StarCoder2), tables of numbers (ours). The bounds
are in rules.py, each with its source.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import contextlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.document import CODE, Verdicts
from data_pipeline.filters.c4 import judge_c4
from data_pipeline.filters.characters import LETTER
from data_pipeline.filters.features import Features, combine
from data_pipeline.filters.published import (
    above,
    below,
    ends_in_ellipsis,
    judge_fineweb,
    judge_gopher_quality,
    judge_gopher_repetition,
    num_present,
)
from data_pipeline.filters.repetition import repeats
from data_pipeline.filters.rules import STOP_WORDS, CodeRules, HeuristicConfig, ProseRules
from data_pipeline.stage import Judged

# StarCoder2, section 3.2: these within the first lines say that no person wrote the file.
GENERATED = (
    r"(?i)auto-?generated|automatically generated|generated automatically|this file is generated"
)
# StarCoder2, section 3.2: base64, hex bytes, escapes.
ENCODED = (
    r"[A-Za-z0-9+/\n=]{64,}",
    r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}",
    r"(?:\\u[0-9a-fA-F]{4}){8,}",
)
# A line that starts with one of these is an item of a list; a row of a table in code.
BULLETS = np.array([ord(c) for c in "-*•‣▪●·"])
LITERALS = np.array([ord(c) for c in "0123456789\"'\\"])
SHORT_LINE = 30  # characters
PORTION = 600_000  # bytes judged at once: what is computed of them stays in a core's cache


class HeuristicFilter:
    """The stage: judges documents by `HeuristicConfig`."""

    name = "filter"
    rewrites = False
    files: tuple[str, ...] = ()

    def __init__(self, config: HeuristicConfig):
        self.config = config

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Verdicts of N documents; the first rule that drops one names the reason."""
        code = pc.equal(batch["kind"], CODE).to_numpy(zero_copy_only=False)
        verdicts = Verdicts.keep_all(batch.num_rows)
        for chosen, judge in ((~code, self._judge_prose), (code, self._judge_code)):
            if not chosen.any():
                continue
            index = np.flatnonzero(chosen)
            texts = batch["text"] if chosen.all() else batch["text"].take(pa.array(index))
            for start, end in _portions(texts):
                some, of = judge(texts.slice(start, end - start)), index[start:end]
                verdicts.reason[of], verdicts.score[of] = some.reason, some.score
        return Judged(verdicts)

    def _judge_prose(self, texts: pa.Array) -> Verdicts:
        config, out = self.config, Verdicts.keep_all(len(texts))
        features = Features(texts)
        if config.gopher_repetition is not None:
            with _named("gopher", out) as some:
                judge_gopher_repetition(features, config.gopher_repetition, some)
        if config.gopher_quality is not None:
            with _named("gopher", out) as some:
                judge_gopher_quality(features, config.gopher_quality, some)
        if config.c4 is not None:
            with _named("c4", out) as some:
                judge_c4(features, config.c4, some)
        if config.fineweb is not None:
            with _named("fineweb", out) as some:
                judge_fineweb(features, config.fineweb, some)
        if config.prose is not None:
            _judge_prose(features, config.prose, out)
            _judge_data(texts, features, config, out)
        return out

    def _judge_code(self, texts: pa.Array) -> Verdicts:
        out = Verdicts.keep_all(len(texts))
        if self.config.code is not None:
            features = Features(texts)
            _judge_code(texts, features, self.config.code, out)
            _judge_data(texts, features, self.config, out)
        return out


def _portions(texts: pa.Array) -> list[tuple[int, int]]:
    """[start, end) of texts that make a portion; a longer text is one of its own."""
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False))
    portion = ends // PORTION
    starts = np.concatenate([[0], np.flatnonzero(portion[1:] != portion[:-1]) + 1])
    return list(pairwise([*starts.tolist(), len(texts)]))


@contextlib.contextmanager
def _named(name: str, out: Verdicts) -> Iterator[Verdicts]:
    """Verdicts that are added to `out` afterwards, their reasons with a set's name before them.

    What `out` has dropped stays dropped for the reason it has.
    """
    dropped = out.reason != None  # noqa: E711  (elementwise)
    yield out
    new = np.flatnonzero(~dropped & (out.reason != None))  # noqa: E711
    for i in new.tolist():
        out.reason[i] = f"{name}_{out.reason[i]}"


def _judge_prose(f: Features, rules: ProseRules, out: Verdicts) -> None:
    joined = f.joined
    starts, ends = joined.chunks
    words = np.maximum(f.chunk_counts, 1)
    below(out, "too_few_words", f.chunk_counts, rules.min_words)
    above(out, "too_many_words", f.chunk_counts, rules.max_words)
    mean_word = f.ink / words
    below(out, "mean_word_too_short", mean_word, rules.min_mean_word_length)
    above(out, "mean_word_too_long", mean_word, rules.max_mean_word_length)
    above(out, "too_many_symbols", _count_symbols(f) / words, rules.max_symbol_word_ratio)
    rows = f.inked_rows
    lines = np.bincount(rows.documents, minlength=f.num_documents)
    first, last = starts[rows.first], ends[rows.last - 1]
    bullets = f.rate(rows.documents, np.isin(joined.codes_at(first), BULLETS), lines)
    above(out, "too_many_bullets", bullets, rules.max_bullet_line_rate)
    ellipses = f.rate(rows.documents, ends_in_ellipsis(f, last), lines)
    above(out, "too_many_ellipses", ellipses, rules.max_ellipsis_line_rate)
    alphabetic = joined.counts(starts[_with_letter(f)]) / words
    below(out, "too_few_alphabetic_words", alphabetic, rules.min_alphabetic_word_rate)
    if rules.min_stop_words is not None:
        found = num_present(f.chunk_sequences, STOP_WORDS)
        below(out, "too_few_stop_words", found, rules.min_stop_words)
    short = f.rate(rows.documents, joined.num_characters(first, last) < SHORT_LINE, lines)
    above(out, "too_many_short_lines", short, rules.max_short_line_rate)
    repeated = repeats(f.row_hashes, rows.documents)
    rate = f.rate(rows.documents, repeated, lines)
    above(out, "repeated_lines", rate, rules.max_repeated_line_rate)
    opens, documents = _paragraphs(f)
    again = repeats(combine(f.row_hashes, np.append(opens, len(rows.first))), documents)
    rate = f.rate(documents, again, np.bincount(documents, minlength=f.num_documents))
    above(out, "repeated_paragraphs", rate, rules.max_repeated_paragraph_rate)
    rate = _repeated_ink(f, repeated)
    above(out, "repeated_line_characters", rate, rules.max_repeated_line_character_rate)
    rate = _repeated_ink(f, np.repeat(again, np.diff(np.append(opens, len(rows.first)))))
    above(out, "repeated_paragraph_characters", rate, rules.max_repeated_paragraph_character_rate)
    tops = {
        2: rules.max_top_2_gram_rate,
        3: rules.max_top_3_gram_rate,
        4: rules.max_top_4_gram_rate,
    }
    _judge_tops(f, tops, out)
    _judge_ngrams(f, rules.repeated_ngram_factor, out)


def _judge_code(texts: pa.Array, f: Features, rules: CodeRules, out: Verdicts) -> None:
    joined = f.joined
    below(out, "too_few_words", f.chunk_counts, rules.min_words)
    # A line's newline belongs to it; behind the last one there is no line.
    last = np.isin(f.rows.ends, joined.ends)
    sizes = joined.num_characters(f.rows.starts, f.rows.ends) + ~last
    is_line = sizes > 0
    count = np.bincount(f.rows.documents[is_line], minlength=f.num_documents)
    mean = joined.lengths / np.maximum(count, 1)
    above(out, "mean_line_too_long", mean, rules.max_mean_line_length)
    longest = np.zeros(f.num_documents, np.int64)
    np.maximum.at(longest, f.rows.documents, sizes)
    above(out, "line_too_long", longest, rules.max_line_length)
    alphabetic = f.num_letters / np.maximum(joined.lengths, 1)
    below(out, "too_few_letters", alphabetic, rules.min_alphabetic_rate)
    rows = f.inked_rows
    lines = np.bincount(rows.documents, minlength=f.num_documents)
    first = joined.codes_at(joined.chunks[0][rows.first])
    literal = f.rate(rows.documents, np.isin(first, LITERALS), lines)
    above(out, "mostly_literals", literal, rules.max_literal_line_rate)
    if rules.drop_generated:
        head = pc.utf8_slice_codeunits(texts, 0, 500)
        above(out, "generated", pc.match_substring_regex(head, GENERATED).to_numpy(False), 0)
    rate = _repeated_ink(f, repeats(f.row_hashes, rows.documents))
    above(out, "repeated_line_characters", rate, rules.max_repeated_line_character_rate)
    _judge_tops(f, {4: rules.max_top_4_gram_rate}, out)
    _judge_ngrams(f, rules.repeated_ngram_factor, out)


def _judge_tops(f: Features, bounds: dict[int, float | None], out: Verdicts) -> None:
    """Characters of the n-gram, of those that occur twice, that takes most of the document."""
    asked = {n: bound for n, bound in bounds.items() if bound is not None}
    if not asked:
        return
    kept = np.flatnonzero(out.reason == None)  # noqa: E711  (elementwise)
    sequences, ink = f.chunk_sequences.only(kept), np.maximum(f.ink[kept], 1)
    for n, bound in asked.items():
        near = sequences.near_top(n, bound * ink)
        rate = np.zeros(f.num_documents)
        if len(near):
            documents, counts, characters, _ = sequences.only(near).groups(n)
            share = np.zeros(len(near), np.int64)
            np.maximum.at(share, documents, np.where(counts > 1, counts * characters, 0))
            rate[kept[near]] = share / ink[near]
        above(out, f"top_{n}_gram", rate, bound)


def _judge_ngrams(f: Features, factor: float | None, out: Verdicts) -> None:
    """Characters covered by n-grams seen before, each once (Rae et al. 2021, table A1)."""
    if factor is None:
        return
    kept = np.flatnonzero(out.reason == None)  # noqa: E711  (elementwise)
    sequences, ink = f.chunk_sequences.only(kept), np.maximum(f.ink[kept], 1)
    covered = sequences.covered(5)
    for n in range(5, 11):
        bound = (0.20 - 0.01 * n) * factor
        # What repeated longer n-grams cover, repeated 5-grams cover too.
        near = np.flatnonzero(covered > bound * ink) if n > 5 else np.arange(len(kept))
        rate = np.zeros(f.num_documents)
        rate[kept[near]] = (sequences.only(near).covered(n) if n > 5 else covered) / ink[near]
        above(out, f"repeated_{n}_grams", rate, bound)


def _judge_data(texts: pa.Array, f: Features, config: HeuristicConfig, out: Verdicts) -> None:
    above(out, "mostly_numbers", f.num_digits / np.maximum(f.ink, 1), config.max_digit_rate)
    if config.max_encoded_rate is not None:
        plain = texts
        for pattern in ENCODED:
            plain = pc.replace_substring_regex(plain, pattern, "")
        encoded = pc.subtract(pc.utf8_length(texts), pc.utf8_length(plain)).to_numpy(False)
        rate = encoded / np.maximum(f.joined.lengths, 1)
        above(out, "encoded_data", rate, config.max_encoded_rate)


def _count_symbols(f: Features) -> np.ndarray:
    """Hashes and ellipses ("…" or runs of three dots and more) of each document: [N]."""
    joined = f.joined
    counts = joined.counts(np.flatnonzero(joined.data == ord("#")))
    dots = np.flatnonzero(joined.data == ord("."))
    if len(dots):
        heads = np.concatenate([[0], np.flatnonzero(dots[1:] != dots[:-1] + 1) + 1])
        runs = np.diff(np.append(heads, len(dots)))
        counts = counts + joined.counts(dots[heads[runs >= 3]])
    if not joined.ascii:
        leads, codes = joined.beyond_ascii
        counts = counts + joined.counts(leads[codes == ord("…")])
    return counts


def _with_letter(f: Features) -> np.ndarray:
    """int64: chunks with a letter in them."""
    starts, ends = f.joined.chunks
    return np.flatnonzero(f.joined.any_bit(starts, ends, LETTER))


def _paragraphs(f: Features) -> tuple[np.ndarray, np.ndarray]:
    """The first inked row of each run of them without a blank row between, and its document."""
    rows = f.inked_rows
    opens = np.ones(len(rows.starts), bool)
    opens[1:] = (rows.starts[1:] != rows.ends[:-1] + 1) | (np.diff(rows.documents) != 0)
    first = np.flatnonzero(opens)
    return first, rows.documents[first]


def _repeated_ink(f: Features, repeated: np.ndarray) -> np.ndarray:
    """float64 [N]: characters of the inked rows that are chosen, over all, spaces apart."""
    rows = f.inked_rows
    ends = np.concatenate([[0], np.cumsum(f.chunk_sequences.lengths)])
    ink = (ends[rows.last] - ends[rows.first]) * repeated
    return np.bincount(rows.documents, ink, f.num_documents) / np.maximum(f.ink, 1)
