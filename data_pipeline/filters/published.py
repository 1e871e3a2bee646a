"""Published rules: Gopher's on quality and on repetition, FineWeb's. Decisions as datatrove's.

Each drops a document for the first rule that it breaks, in datatrove's order
(datatrove/pipeline/filters/*.py, release 0.10.1); the bounds are in rules.py. C4's are in c4.py.
"""

import functools

import numpy as np

from data_pipeline.document import Verdicts
from data_pipeline.filters.characters import ALPHA, ENDS, WORDLIKE
from data_pipeline.filters.exceptions import Table, hash_of
from data_pipeline.filters.features import Features
from data_pipeline.filters.repetition import Sequences, repeated_segments, sums
from data_pipeline.filters.rules import FineWebQuality, GopherQuality, GopherRepetition

_BULLETS = np.array([ord("•"), ord("-")])
_ELLIPSIS = ord("…")


def judge_gopher_quality(f: Features, rules: GopherQuality, out: Verdicts) -> None:
    """Rae et al. 2021, appendix A1.1."""
    words, joined, bounds = f.words, f.joined, f.word_sequences.bounds
    total = np.maximum(f.word_counts, 1)
    wordlike = (words.bits & WORDLIKE) != 0
    count = sums(wordlike, bounds)
    below(out, "too_few_words", count, rules.min_words)
    above(out, "too_many_words", count, rules.max_words)
    mean = sums(words.lengths * wordlike, bounds) / np.maximum(count, 1)
    below(out, "mean_word_too_short", mean, rules.min_mean_word_length)
    above(out, "mean_word_too_long", mean, rules.max_mean_word_length)
    hashes = joined.counts(np.flatnonzero(joined.data == ord("#")))
    above(out, "too_many_hashes", hashes / total, rules.max_symbol_word_ratio)
    above(out, "too_many_ellipses", num_ellipses(f) / total, rules.max_symbol_word_ratio)
    lines = np.maximum(f.line_counts, 1)
    inked = f.lines.only(np.flatnonzero(f.lines.num_chunks))
    starts, ends = joined.chunks
    bullets = np.isin(joined.codes_at(starts[inked.first]), _BULLETS)
    rate = f.rate(inked.documents, bullets, lines)
    above(out, "too_many_bullets", rate, rules.max_bullet_line_rate)
    rate = f.rate(inked.documents, ends_in_ellipsis(f, ends[inked.last - 1]), lines)
    above(out, "too_many_ellipsis_lines", rate, rules.max_ellipsis_line_rate)
    alphabetic = sums((words.bits & ALPHA) != 0, bounds) / total
    below(out, "too_few_alphabetic_words", alphabetic, rules.min_alphabetic_word_rate)
    if rules.min_stop_words is not None:
        found = num_present(f.word_sequences, rules.stop_words)
        below(out, "too_few_stop_words", found, rules.min_stop_words)


def judge_gopher_repetition(f: Features, rules: GopherRepetition, out: Verdicts) -> None:
    """Rae et al. 2021, table A1."""
    joined, n = f.joined, f.num_documents
    length = np.maximum(joined.lengths, 1)
    out.drop("empty", joined.lengths == 0, np.zeros(n))
    starts, ends, documents = _paragraphs(f)
    repeated = repeated_segments(joined, starts, ends, documents)
    totals = np.bincount(documents, minlength=n)
    rate = f.rate(documents, repeated, totals)
    above(out, "repeated_paragraphs", rate, rules.max_repeated_paragraph_rate)
    twice = np.bincount(
        documents[repeated], joined.num_characters(starts[repeated], ends[repeated]), n
    )
    above(
        out,
        "repeated_paragraph_characters",
        twice / length,
        rules.max_repeated_paragraph_character_rate,
    )
    rows = f.rows.only(np.flatnonzero(f.rows.ends > f.rows.starts))
    repeated = repeated_segments(joined, rows.starts, rows.ends, rows.documents)
    # Split at runs of newlines, a text that begins and ends with one has two empty lines more.
    some = joined.ends > joined.starts
    opens = some & (joined.data[joined.starts] == ord("\n"))
    closes = some & (joined.data[joined.ends - 1] == ord("\n"))
    totals = np.bincount(rows.documents, minlength=n) + opens + closes
    count = np.bincount(rows.documents[repeated], minlength=n) + (opens & closes)
    above(out, "repeated_lines", count / np.maximum(totals, 1), rules.max_repeated_line_rate)
    twice = np.bincount(
        rows.documents[repeated],
        joined.num_characters(rows.starts[repeated], rows.ends[repeated]),
        n,
    )
    above(out, "repeated_line_characters", twice / length, rules.max_repeated_line_character_rate)
    _judge_ngrams(f, rules, length, out)


def _judge_ngrams(f: Features, rules: GopherRepetition, length: np.ndarray, out: Verdicts) -> None:
    kept = np.flatnonzero(out.reason == None)  # noqa: E711  (elementwise)
    sequences = f.word_sequences
    if len(kept) < f.num_documents:
        sequences = sequences.only(kept)
    length = length[kept]
    for n, bound in rules.max_top_ngram_rates.items():
        near = sequences.near_top(n, bound * length)
        if len(near):
            rate = np.zeros(f.num_documents)
            rate[kept[near]] = _top(sequences.only(near), n) / length[near]
            above(out, f"top_{n}_gram", rate, bound)
    bounds = rules.max_repeated_ngram_rates
    if bounds:
        shortest = min(bounds)
        covered = sequences.covered(shortest)
        for n, bound in sorted(bounds.items()):
            near = np.flatnonzero(covered > bound * length)
            some = sequences.only(near)
            if n > shortest:
                closer = some.covered(n) > bound * length[near]
                near, some = near[closer], some.only(np.flatnonzero(closer))
            rate = np.zeros(f.num_documents)
            rate[kept[near]] = some.skipped_duplicates(n, bound * length[near]) / length[near]
            above(out, f"repeated_{n}_grams", rate, bound)


def _top(sequences: Sequences, n: int) -> np.ndarray:
    """Characters of the most frequent n-gram, of all its occurrences, with spaces: int64 [N].

    Of equally frequent ones the first, as Counter.most_common has it.
    """
    documents, counts, characters, words = sequences.groups(n)
    top = np.zeros(sequences.num_documents, np.int64)
    order = np.lexsort((words, -counts, documents))
    heads = np.flatnonzero(np.diff(documents[order], prepend=-1))
    best = order[heads]
    top[documents[best]] = counts[best] * (characters[best] + n - 1)
    return top


def judge_fineweb(f: Features, rules: FineWebQuality, out: Verdicts) -> None:
    """Penedo et al. 2024, section 3.6, and the bound on newlines of datatrove's filter."""
    joined, n = f.joined, f.num_documents
    rows = f.inked_rows
    totals = np.bincount(rows.documents, minlength=n)
    out.drop("empty", totals == 0, np.zeros(n))
    ended = ENDS.of(f.last_codes(rows.ends)) > 0
    rate = f.rate(rows.documents, ended, totals)
    below(out, "too_few_ended_lines", rate, rules.min_ended_line_rate)
    short = joined.num_characters(rows.starts, rows.ends) <= rules.short_line
    rate = f.rate(rows.documents, short, totals)
    above(out, "too_many_short_lines", rate, rules.max_short_line_rate)
    if rules.max_repeated_line_character_rate is not None:
        repeated = repeated_segments(joined, rows.starts, rows.ends, rows.documents)
        twice = np.bincount(
            rows.documents[repeated],
            joined.num_characters(rows.starts[repeated], rows.ends[repeated]),
            n,
        )
        length = joined.lengths - (f.row_counts - 1)
        rate = twice / np.maximum(length, 1)
        above(out, "repeated_line_characters", rate, rules.max_repeated_line_character_rate)
    if rules.max_newline_word_ratio is not None:
        # There are as many words as chunks at least: most need no count of words.
        newlines, bound = f.row_counts - 1, rules.max_newline_word_ratio
        if ((out.reason == None) & (newlines > bound * f.chunk_counts)).any():  # noqa: E711
            above(out, "too_many_newlines", newlines / np.maximum(f.word_counts, 1), bound)


def _paragraphs(f: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends, documents of the stripped texts' parts between two newlines or more."""
    joined = f.joined
    chunk_starts, chunk_ends = joined.chunks
    bounds = np.concatenate([[0], np.cumsum(f.chunk_counts)])
    inked = np.flatnonzero(f.chunk_counts)
    begin, finish = joined.ends.copy(), joined.starts.copy()
    begin[inked] = chunk_starts[bounds[inked]]
    finish[inked] = chunk_ends[bounds[inked + 1] - 1]
    rows = f.rows
    inside = (rows.ends > rows.starts) & (rows.ends > begin[rows.documents])
    inside &= rows.starts < finish[rows.documents]
    rows = rows.only(np.flatnonzero(inside))
    opens = np.ones(len(rows.starts), bool)
    opens[1:] = (rows.starts[1:] != rows.ends[:-1] + 1) | (np.diff(rows.documents) != 0)
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(opens))[: len(first)] - 1
    documents = rows.documents[first]
    starts = np.maximum(rows.starts[first], begin[documents])
    return starts, np.minimum(rows.ends[last], finish[documents]), documents


def num_ellipses(f: Features) -> np.ndarray:
    """int64 [N]: "…", and "..." of which none overlap."""
    joined = f.joined
    dots = np.flatnonzero(joined.data == ord("."))
    counts = np.zeros(f.num_documents, np.int64)
    if len(dots):
        heads = np.concatenate([[0], np.flatnonzero(dots[1:] != dots[:-1] + 1) + 1])
        triples = np.diff(np.append(heads, len(dots))) // 3
        long = np.flatnonzero(triples)
        documents = np.searchsorted(joined.starts, dots[heads[long]], side="right") - 1
        np.add.at(counts, documents, triples[long])
    if not joined.ascii:
        leads, codes = joined.beyond_ascii
        counts += joined.counts(leads[codes == _ELLIPSIS])
    return counts


def ends_in_ellipsis(f: Features, ends: np.ndarray) -> np.ndarray:
    """bool [K]: the text before each end is "..." or "…"."""
    data, dot = f.joined.data, ord(".")
    three = (data[ends - 1] == dot) & (data[ends - 2] == dot) & (data[ends - 3] == dot)
    return three | (f.last_codes(ends) == _ELLIPSIS)


def num_present(sequences: Sequences, words: tuple[str, ...]) -> np.ndarray:
    """int64 [N]: how many of the words are among those of each document."""
    at, which = _table(words).find(sequences.hashes)
    document = np.searchsorted(sequences.bounds, at, side="right") - 1
    present = np.zeros((sequences.num_documents, len(words)), bool)
    present[document, which] = True
    return present.sum(axis=1)


@functools.cache
def _table(words: tuple[str, ...]) -> Table:
    return Table([hash_of(word) for word in words])


def above(out: Verdicts, reason: str, score: np.ndarray, bound: float | None) -> None:
    """Drops where the score is greater than the bound, unless that is None."""
    if bound is not None:
        out.drop(reason, score > bound, score.astype(np.float64))


def below(out: Verdicts, reason: str, score: np.ndarray, bound: float | None) -> None:
    """Drops where the score is less than the bound, unless that is None."""
    if bound is not None:
        out.drop(reason, score < bound, score.astype(np.float64))
