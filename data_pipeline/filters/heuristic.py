"""Rules of thumb for quality, for a whole Arrow batch at once; every drop has a reason and a score.

Prose: Gopher's quality and repetition rules (Rae et al. 2021, appendix A1.1 and table A1). Code:
StarCoder2's line-length, alphabetic and generated-file rules (Lozhkov et al. 2024, section 3), and
Gopher's bounds on repetition. Both: encoded data (StarCoder2), tables of numbers (ours). The bounds
are in rules.py, each with its source.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.document import CODE, Verdicts
from data_pipeline.filters.features import ALPHA, DIGIT, Features, hash_word
from data_pipeline.filters.rules import CodeRules, HeuristicConfig, ProseRules
from data_pipeline.stage import Judged

# Gopher, A1.1: English; at least two of them, else the text is a list, a table or not English.
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
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
SHORT_LINE = 30  # characters; FineWeb (Penedo et al. 2024, section 3.6)


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
        for chosen, rules in ((~code, self.config.prose), (code, self.config.code)):
            if rules is None or not chosen.any():
                continue
            index = np.flatnonzero(chosen)
            texts = batch["text"].take(pa.array(index))
            some = Verdicts.keep_all(len(index))
            features = Features(texts)
            if isinstance(rules, ProseRules):
                _judge_prose(features, rules, some)
            else:
                _judge_code(texts, features, rules, some)
            _judge_data(texts, features, self.config, some)
            verdicts.reason[index], verdicts.score[index] = some.reason, some.score
        return Judged(verdicts)


def _judge_prose(f: Features, rules: ProseRules, out: Verdicts) -> None:
    words = np.maximum(f.num_words, 1)
    _below(out, "too_few_words", f.num_words, rules.min_words)
    _above(out, "too_many_words", f.num_words, rules.max_words)
    mean_word = f.ink / words
    _below(out, "mean_word_too_short", mean_word, rules.min_mean_word_length)
    _above(out, "mean_word_too_long", mean_word, rules.max_mean_word_length)
    _above(out, "too_many_symbols", _count_symbols(f) / words, rules.max_symbol_word_ratio)
    lines = np.maximum(f.num_lines, 1)
    first = f.characters[f.word_starts[f.line_first]]
    bullets = f.sum_lines(np.isin(first, BULLETS)) / lines
    _above(out, "too_many_bullets", bullets, rules.max_bullet_line_rate)
    _above(out, "too_many_ellipses", _ellipsis_lines(f) / lines, rules.max_ellipsis_line_rate)
    letters = np.concatenate([[0], np.cumsum((f.classes & ALPHA) != 0)])
    alphabetic = letters[f.word_starts + f.word_lengths] > letters[f.word_starts]
    _below(
        out,
        "too_few_alphabetic_words",
        f.sum_words(alphabetic) / words,
        rules.min_alphabetic_word_rate,
    )
    present = [
        np.bincount(f.word_documents, f.word_hashes == np.uint64(hash_word(w)), f.num_documents) > 0
        for w in STOP_WORDS
    ]
    _below(out, "too_few_stop_words", np.sum(present, axis=0), rules.min_stop_words)
    short = f.sum_lines(f.line_spans < SHORT_LINE) / lines
    _above(out, "too_many_short_lines", short, rules.max_short_line_rate)
    _above(
        out,
        "repeated_lines",
        f.repeated_rate(f.line_hashes, f.line_documents),
        rules.max_repeated_line_rate,
    )
    _above(
        out,
        "repeated_paragraphs",
        f.repeated_rate(f.paragraph_hashes, f.paragraph_documents),
        rules.max_repeated_paragraph_rate,
    )
    _above(
        out,
        "repeated_line_characters",
        f.repeated_ink_rate(f.line_hashes, f.line_documents, f.line_ink),
        rules.max_repeated_line_character_rate,
    )
    _above(
        out,
        "repeated_paragraph_characters",
        f.repeated_ink_rate(f.paragraph_hashes, f.paragraph_documents, f.paragraph_ink),
        rules.max_repeated_paragraph_character_rate,
    )
    tops = (rules.max_top_2_gram_rate, rules.max_top_3_gram_rate, rules.max_top_4_gram_rate)
    for n, bound in zip((2, 3, 4), tops, strict=True):
        if bound is not None:
            _above(out, f"top_{n}_gram", f.top_ngram_rate(n), bound)
    _judge_ngrams(f, rules.repeated_ngram_factor, out)


def _judge_code(texts: pa.Array, f: Features, rules: CodeRules, out: Verdicts) -> None:
    _below(out, "too_few_words", f.num_words, rules.min_words)
    _above(out, "mean_line_too_long", f.mean_line_length(), rules.max_mean_line_length)
    _above(out, "line_too_long", f.longest_line(), rules.max_line_length)
    alphabetic = f.count_class(ALPHA) / np.maximum(f.num_characters, 1)
    _below(out, "too_few_letters", alphabetic, rules.min_alphabetic_rate)
    first = f.characters[f.word_starts[f.line_first]]
    literal = f.sum_lines(np.isin(first, LITERALS)) / np.maximum(f.num_lines, 1)
    _above(out, "mostly_literals", literal, rules.max_literal_line_rate)
    if rules.drop_generated:
        head = pc.utf8_slice_codeunits(texts, 0, 500)
        _above(out, "generated", pc.match_substring_regex(head, GENERATED).to_numpy(False), 0)
    _above(
        out,
        "repeated_line_characters",
        f.repeated_ink_rate(f.line_hashes, f.line_documents, f.line_ink),
        rules.max_repeated_line_character_rate,
    )
    if rules.max_top_4_gram_rate is not None:
        _above(out, "top_4_gram", f.top_ngram_rate(4), rules.max_top_4_gram_rate)
    _judge_ngrams(f, rules.repeated_ngram_factor, out)


def _judge_ngrams(f: Features, factor: float | None, out: Verdicts) -> None:
    if factor is not None:
        for n in range(5, 11):
            _above(out, f"repeated_{n}_grams", f.repeated_ngram_rate(n), (0.20 - 0.01 * n) * factor)


def _judge_data(texts: pa.Array, f: Features, config: HeuristicConfig, out: Verdicts) -> None:
    _above(
        out, "mostly_numbers", f.count_class(DIGIT) / np.maximum(f.ink, 1), config.max_digit_rate
    )
    if config.max_encoded_rate is not None:
        plain = texts
        for pattern in ENCODED:
            plain = pc.replace_substring_regex(plain, pattern, "")
        encoded = pc.subtract(pc.utf8_length(texts), pc.utf8_length(plain)).to_numpy(False)
        rate = encoded / np.maximum(f.num_characters, 1)
        _above(out, "encoded_data", rate, config.max_encoded_rate)


def _count_symbols(f: Features) -> np.ndarray:
    """Hashes and ellipses ("…" or "...") of each document: [N]."""
    dots = f.characters == ord(".")
    triple = dots[:-2] & dots[1:-1] & dots[2:]
    triple[1:] &= ~dots[:-3]  # "....." is one ellipsis
    symbols = (f.characters == ord("#")) | (f.characters == ord("…"))
    symbols[: len(triple)] |= triple
    counts = np.concatenate([[0], np.cumsum(symbols)])
    return np.diff(counts[f.document_starts])


def _ellipsis_lines(f: Features) -> np.ndarray:
    """Lines of each document that end in an ellipsis: [N]."""
    last = f.line_first + f.line_words - 1
    end = f.word_starts[last] + f.word_lengths[last] - 1
    dot = f.characters == ord(".")
    three = dot[end] & dot[np.maximum(end - 1, 0)] & dot[np.maximum(end - 2, 0)]
    return f.sum_lines(three | (f.characters[end] == ord("…")))


def _above(out: Verdicts, reason: str, score: np.ndarray, bound: float | None) -> None:
    if bound is not None:
        out.drop(reason, score > bound, score.astype(np.float64))


def _below(out: Verdicts, reason: str, score: np.ndarray, bound: float | None) -> None:
    if bound is not None:
        out.drop(reason, score < bound, score.astype(np.float64))
