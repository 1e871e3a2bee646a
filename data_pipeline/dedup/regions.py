"""The regions of a text: its runs of so many words, grouped by a fingerprint that all of them hold.

A run of `length` words holds length - k + 1 shingles of k words. Its fingerprint is the least of
their hashes (winnowing, Schleimer, Wilkerson and Aiken 2003, with windows as wide as the run), so
that equal runs have equal fingerprints at equal places. Runs that begin at neighbouring words
mostly share their fingerprint; the longest stretches of those that do are regions. Some 2 in
length - k + 2 words begin one.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipeline.dedup.words import Runs, Words, mixed

_HIGH, _LOW = np.uint64(0xFFFFFFFF00000000), np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Regions:
    """R regions of N texts.

    runs: hashes of runs of the texts' words.
    documents: int64 [R], the text of each.
    starts: int64 [R], the first word of its first run, in that text.
    counts: int64 [R], how many runs it has; they begin at start, start + 1, …
    fingerprints: uint64 [R].
    firsts: int64 [R], as starts, but counted in all texts.
    """

    runs: Runs
    documents: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    fingerprints: np.ndarray
    firsts: np.ndarray

    @classmethod
    def of(cls, texts: pa.Array, length: int) -> "Regions":
        """Of large_string [N] without nulls; length: words of a run."""
        words = Words.between_spaces(texts)
        runs = Runs(words.hashes)
        width = length - shingle_words(length) + 1
        shingles = runs.all_hashes(shingle_words(length))
        # The upper half of the hash, then the place: the least is the leftmost of the least.
        least = (shingles & _HIGH) | np.arange(len(shingles), dtype=np.uint64)
        least = _sliding_least(least, width)
        owners = (least & _LOW).astype(np.int64)
        documents = words.documents[: len(owners)]
        whole = np.arange(len(owners)) + length <= words.firsts[1:][documents]
        new = np.ones(len(owners), bool)
        new[1:] = (owners[1:] != owners[:-1]) | (documents[1:] != documents[:-1])
        new &= whole
        firsts = np.flatnonzero(new)
        # Behind the last run of a text are those that reach into the next; they are no region's.
        counts = np.add.reduceat(whole, firsts, dtype=np.int64) if len(firsts) else firsts
        documents = documents[firsts]
        return cls(
            runs=runs,
            documents=documents,
            starts=firsts - words.firsts[documents],
            counts=counts,
            fingerprints=mixed(shingles[owners[firsts]]),
            firsts=firsts,
        )

    def hashes(self, length: int) -> np.ndarray:
        """uint64 [R]: of all words of each region, those of its last run included."""
        sizes = self.counts + length - 1
        return mixed(self.runs.hashes(self.firsts, sizes) + sizes.astype(np.uint64))


def shingle_words(length: int) -> int:
    """Words of the shingles that make the fingerprints of runs of a length."""
    return max(1, length * 2 // 5)


def _sliding_least(values: np.ndarray, width: int) -> np.ndarray:
    """The least of each `width` neighbours: [W - width + 1]."""
    done = 1
    while done < width:
        step = min(done, width - done)
        values = np.minimum(values[:-step], values[step:])
        done += step
    return values
