"""What rules ask of the texts of a batch, computed when it is first asked for.

Letters as in joined.py. Rows are the texts split at "\\n"; lines are split as str.splitlines does.
"""

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipeline.filters.characters import DIGIT, DIGITS, LETTER
from data_pipeline.filters.joined import NEWLINE, Joined, mix
from data_pipeline.filters.repetition import Sequences, sums
from data_pipeline.filters.words import Words


@dataclass(frozen=True)
class Segments:
    """K segments: int64 [K] starts, ends in bytes and their documents.

    first, last: the chunks (runs without a space) within: [first, last) int64 [K].
    """

    starts: np.ndarray
    ends: np.ndarray
    documents: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @property
    def num_chunks(self) -> np.ndarray:
        return self.last - self.first

    def only(self, chosen: np.ndarray) -> "Segments":
        return Segments(*(values[chosen] for values in vars(self).values()))


class Features:
    """N texts."""

    def __init__(self, texts: pa.Array):
        """texts: large_string [N] without nulls."""
        self.joined = Joined(texts)
        self.num_documents = len(texts)

    @functools.cached_property
    def words(self) -> Words:
        """Words as the published filters count them."""
        return Words(self.joined)

    @functools.cached_property
    def word_counts(self) -> np.ndarray:
        """int64 [N]."""
        return self.joined.counts(self.words.starts)

    @functools.cached_property
    def word_sequences(self) -> Sequences:
        bounds = np.concatenate([[0], np.cumsum(self.word_counts)])
        return Sequences(self.words.hashes, self.words.lengths, bounds)

    @functools.cached_property
    def chunk_counts(self) -> np.ndarray:
        """int64 [N]: runs without a space."""
        return self.joined.counts(self.joined.chunks[0])

    @functools.cached_property
    def chunk_sequences(self) -> Sequences:
        starts, ends = self.joined.chunks
        bounds = np.concatenate([[0], np.cumsum(self.chunk_counts)])
        lengths = self.joined.num_characters(starts, ends)
        return Sequences(self.joined.hashes(starts, ends - starts), lengths, bounds)

    @functools.cached_property
    def ink(self) -> np.ndarray:
        """int64 [N]: characters that are no space."""
        sequences = self.chunk_sequences
        return sums(sequences.lengths, sequences.bounds)

    @functools.cached_property
    def rows(self) -> Segments:
        breaks = np.flatnonzero(self.joined.data == NEWLINE)
        chunk = np.searchsorted(self.joined.chunks[0], breaks)
        starts = breaks[:-1] + 1
        return Segments(starts, breaks[1:], self.joined.documents(starts), chunk[:-1], chunk[1:])

    @functools.cached_property
    def row_counts(self) -> np.ndarray:
        """int64 [N]."""
        return np.bincount(self.rows.documents, minlength=self.num_documents)

    @functools.cached_property
    def inked_rows(self) -> Segments:
        """The rows that are not blank."""
        return self.rows.only(np.flatnonzero(self.rows.num_chunks))

    @functools.cached_property
    def lines(self) -> Segments:
        """As str.splitlines: no line behind the last break."""
        joined = self.joined
        data = joined.data
        odd = np.flatnonzero((data < 32) & (data != NEWLINE) & (data != 9) & (data < 31))
        sizes = np.ones(len(odd), np.int64)
        sizes[(data[odd] == 13) & (data[np.minimum(odd + 1, len(data) - 1)] == NEWLINE)] = 2
        keep = np.isin(data[odd], np.array([11, 12, 13, 28, 29, 30], np.uint8))
        odd, sizes = odd[keep], sizes[keep]
        if not joined.ascii:
            leads, codes = joined.beyond_ascii
            wide = np.isin(codes, [0x85, 0x2028, 0x2029])
            odd = np.concatenate([odd, leads[wide]])
            sizes = np.concatenate([sizes, np.where(codes[wide] == 0x85, 2, 3)])
        is_end = np.zeros(len(data), bool)
        is_end[joined.ends] = True
        # A "\r" at the very end of a text has the newline between two texts behind it.
        sizes[(sizes == 2) & is_end[np.minimum(odd + 1, len(data) - 1)]] = 1
        lines = self.rows
        if len(odd):
            is_second = np.zeros(len(data), bool)
            is_second[odd[(sizes == 2) & (data[odd] == 13)] + 1] = True
            newlines = np.append(lines.starts - 1, len(data) - 1)
            newlines = newlines[~is_second[newlines]]
            breaks = np.concatenate([newlines, odd])
            order = np.argsort(breaks, kind="stable")
            breaks = breaks[order]
            width = np.concatenate([np.ones(len(newlines), np.int64), sizes])[order]
            starts, ends = breaks[:-1] + width[:-1], breaks[1:]
            chunks = joined.chunks[0]
            lines = Segments(
                starts,
                ends,
                joined.documents(starts),
                np.searchsorted(chunks, starts),
                np.searchsorted(chunks, ends),
            )
        empty_last = (lines.starts == lines.ends) & is_end[lines.ends]
        return lines.only(np.flatnonzero(~empty_last)) if empty_last.any() else lines

    @functools.cached_property
    def line_counts(self) -> np.ndarray:
        """int64 [N]."""
        return np.bincount(self.lines.documents, minlength=self.num_documents)

    def rate(self, documents: np.ndarray, chosen: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """float64 [N]: how many of K segments are chosen, over the totals [N] (at least 1)."""
        counts = np.bincount(documents[chosen], minlength=self.num_documents)
        return counts / np.maximum(totals, 1)

    @functools.cached_property
    def num_digits(self) -> np.ndarray:
        """int64 [N]: characters for which str.isdigit holds."""
        joined = self.joined
        counts = joined.count_in_documents((joined.classes & DIGIT) != 0)
        if not joined.ascii:
            leads, codes = joined.beyond_ascii
            counts = counts + joined.counts(leads[DIGITS.of(codes) > 0])
        return counts

    @functools.cached_property
    def num_letters(self) -> np.ndarray:
        """int64 [N]: letters and marks on them."""
        joined = self.joined
        letters = (joined.classes & LETTER) != 0
        if not joined.ascii:
            letters &= (joined.data & 0xC0) != 0x80
        return joined.count_in_documents(letters)

    @functools.cached_property
    def row_hashes(self) -> np.ndarray:
        """uint64 of the inked rows: of their chunks, so that only the spaces may differ."""
        first = np.concatenate([[0], np.cumsum(self.inked_rows.num_chunks)])
        return combine(self.chunk_sequences.hashes, first)

    def last_codes(self, ends: np.ndarray) -> np.ndarray:
        """int32 [K]: code points of the characters that end there."""
        at = ends - 1
        for _ in range(3):
            at = at - ((self.joined.data[at] & 0xC0) == 0x80)
        return self.joined.codes_at(at)


def combine(hashes: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """uint64 [K]: one hash of each run [bounds[k], bounds[k + 1]) of hashes; no run is empty."""
    if len(bounds) < 2:
        return np.zeros(0, np.uint64)
    lengths = np.diff(bounds)
    position = np.arange(len(hashes)) - np.repeat(bounds[:-1], lengths)
    return mix(np.add.reduceat(mix(hashes) * _powers(int(lengths.max()))[position], bounds[:-1]))


def _powers(number: int) -> np.ndarray:
    factors = np.full(number, np.uint64(0x9E3779B97F4A7C15))
    factors[:1] = 1
    return factors.cumprod(dtype=np.uint64)
