"""The regions of a text: its runs of so many words, grouped by a fingerprint that all of them hold.

A run of `length` words holds length - k + 1 shingles of k words. Its fingerprint is the least of
their hashes (winnowing, Schleimer, Wilkerson and Aiken 2003, with windows as wide as the run), so
that equal runs have equal fingerprints. Runs that begin at neighbouring words mostly share their
fingerprint; the stretches of those that do are regions. Some 2 in length - k + 2 words begin one,
and a longer stretch, as of a word that is repeated, is cut into regions of as many runs.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipeline.dedup.words import Words, mixed, run_hashes

_FACTOR = np.uint64(0xD1342543DE82EF95)  # odd; of the two hashes that are made one


@dataclass(frozen=True)
class Regions:
    """R regions of N texts.

    runs: uint64 [W - length + 1], the hash of the run of words from each word on.
    documents: int64 [R], the text of each.
    starts: int64 [R], the first word of its first run, in that text.
    counts: int64 [R], how many runs it has; they begin at start, start + 1, …
    fingerprints: uint64 [R].
    firsts: int64 [R], as starts, but counted in all texts.
    inner: bool [R], may hold equal runs.
    """

    runs: np.ndarray
    documents: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    fingerprints: np.ndarray
    firsts: np.ndarray
    inner: np.ndarray

    @classmethod
    def of(cls, texts: pa.Array, length: int) -> "Regions":
        """Of large_string [N] without nulls; length: words of a run."""
        words = Words.between_spaces(texts)
        runs = run_hashes(words.hashes, length)
        width = length - shingle_words(length) + 1
        least = _sliding_least(run_hashes(words.hashes, shingle_words(length)), width)
        new = np.ones(len(least), bool)
        new[1:] = least[1:] != least[:-1]
        new[words.firsts[words.firsts < len(new)]] = True
        firsts = np.flatnonzero(new)
        documents = np.searchsorted(words.firsts, firsts, side="right") - 1
        # The last runs of a text would reach into the next: they are no region's.
        last = words.firsts[documents + 1] - length + 1
        ends = np.minimum(np.append(firsts[1:], len(least)), last)
        firsts, ends, inner = _cut(firsts[ends > firsts], ends[ends > firsts], width)
        documents = np.searchsorted(words.firsts, firsts, side="right") - 1
        _find_equal(runs, firsts, ends - firsts, inner)
        return cls(
            runs=runs,
            documents=documents,
            starts=firsts - words.firsts[documents],
            counts=ends - firsts,
            fingerprints=mixed(least[firsts]),
            firsts=firsts,
            inner=inner,
        )

    def hashes(self) -> np.ndarray:
        """uint64 [R]: of all words of each region, those of its last run included.

        Its first run and its last one leave out no word, since it has no more runs than a run has
        words.
        """
        last = self.runs[self.firsts + self.counts - 1]
        return mixed(mixed(self.runs[self.firsts]) * _FACTOR + last + self.counts.astype(np.uint64))


def shingle_words(length: int) -> int:
    """Words of the shingles that make the fingerprints of runs of a length."""
    return max(1, length * 2 // 5)


def _cut(
    firsts: np.ndarray, ends: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stretches of `width` at most that together are the given ones; bool, of a longer one.

    One shingle is in `width` runs, so that a longer stretch holds it twice.
    """
    pieces = -(-(ends - firsts) // width)
    each, place = expanded(pieces)
    firsts = firsts[each] + place * width
    return firsts, np.minimum(firsts + width, ends[each]), (pieces > 1)[each]


def _find_equal(
    runs: np.ndarray, firsts: np.ndarray, counts: np.ndarray, inner: np.ndarray
) -> None:
    """Sets `inner` of the regions that hold equal runs."""
    some = np.flatnonzero(~inner)
    each, within = expanded(counts[some])
    values = runs[firsts[some[each]] + within]
    ordered = np.sort(values)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        at = np.flatnonzero(np.isin(values, twice))
        each, values = each[at], values[at]
        order = np.lexsort((values, each))
        each, values = each[order], values[order]
        equal = (each[1:] == each[:-1]) & (values[1:] == values[:-1])
        inner[some[each[1:][equal]]] = True


def expanded(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For [2, 3]: [0, 0, 1, 1, 1] and [0, 1, 0, 1, 2]."""
    counts = counts.astype(np.int64)
    each = np.repeat(np.arange(len(counts)), counts)
    return each, np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts)


def _sliding_least(values: np.ndarray, width: int) -> np.ndarray:
    """The least of each `width` neighbours: [W - width + 1]."""
    done = 1
    while done < width:
        step = min(done, width - done)
        values = np.minimum(values[:-step], values[step:])
        done += step
    return values
