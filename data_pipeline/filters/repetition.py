"""How much of a document repeats itself: lines, paragraphs, n-grams of words.

Most documents repeat little, so bounds that are quick to compute go first, and what a rule needs
exactly is computed for the documents that a bound does not clear.
"""

import dataclasses
import functools

import numpy as np

from data_pipeline.filters.joined import Joined, mix

_BLOCK, _LONG = 1 << 16, 1 << 18
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True, eq=False)
class Sequences:
    """K words of N documents.

    hashes: uint64 [K]; lengths: int64 [K], characters; bounds: int64 [N + 1], documents in words.
    """

    hashes: np.ndarray
    lengths: np.ndarray
    bounds: np.ndarray

    @property
    def num_documents(self) -> int:
        return len(self.bounds) - 1

    @functools.cached_property
    def documents(self) -> np.ndarray:
        """int64 [K]."""
        return np.repeat(np.arange(self.num_documents), np.diff(self.bounds))

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        """int64 [K + 1]: characters before each word."""
        ends = np.zeros(len(self.lengths) + 1, np.int64)
        np.cumsum(self.lengths, out=ends[1:])
        return ends

    @functools.cached_property
    def _salted(self) -> np.ndarray:
        """Hashes that are other ones in another document."""
        salts = mix(np.arange(self.num_documents, dtype=np.uint64))
        return self.hashes + np.repeat(salts, np.diff(self.bounds))

    def only(self, chosen: np.ndarray) -> "Sequences":
        """The documents at increasing int64 indices."""
        if len(chosen) == self.num_documents:
            return self
        sizes = np.diff(self.bounds)[chosen]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        index = np.arange(bounds[-1]) + np.repeat(self.bounds[chosen] - bounds[:-1], sizes)
        return Sequences(self.hashes[index], self.lengths[index], bounds)

    def _ngrams(self, n: int) -> np.ndarray:
        """uint64 [K - n + 1]: hashes; an n-gram that goes on into the next document is alone."""
        num = max(len(self.hashes) - n + 1, 0)
        hashes = self._salted[:num].copy()
        for i in range(1, n):
            hashes *= _MULTIPLIER
            hashes += self._salted[i : i + num]
        hashes ^= hashes >> np.uint64(32)
        hashes *= _MULTIPLIER
        return hashes

    def repeated(self, n: int) -> np.ndarray:
        """First words, in order, of the n-grams that occurred before in their document."""
        hashes = self._ngrams(n)
        width = np.uint64(len(hashes).bit_length())
        # The hash's upper bits and the place behind them in one number: far faster than argsort.
        keys = hashes >> width
        keys <<= width
        keys |= np.arange(len(hashes), dtype=np.uint64)
        keys.sort()
        again = np.flatnonzero((keys[1:] ^ keys[:-1]) >> width == 0)
        places = np.uint64((1 << int(width)) - 1)
        now, before = keys[again + 1] & places, keys[again] & places
        return np.sort(now[hashes[now] == hashes[before]]).astype(np.int64)

    def covered(self, n: int) -> np.ndarray:
        """Characters in words that a repeated n-gram covers, each once: int64 [N]."""
        first = self.repeated(n)
        covered = np.zeros(self.num_documents, np.int64)
        begin = np.maximum(first, np.concatenate([[0], first[:-1] + n])[: len(first)])
        np.add.at(covered, self.documents[first], self._ends[first + n] - self._ends[begin])
        return covered

    def near_top(self, n: int, limits: np.ndarray) -> np.ndarray:
        """int64: documents of which an n-gram may take more characters than limits [N].

        With the spaces between its words; the others surely have no such n-gram.
        """
        near = np.arange(self.num_documents)
        for size in range(2, n + 1):  # a longer n-gram is no more frequent than a pair in it
            some = self.only(near)
            near = near[some._longest(n) * some._highest_count(size) > limits[near]]
        return near

    def _longest(self, n: int) -> np.ndarray:
        """int64 [N]: characters of the longest n-gram, at most; 0 where there is none."""
        longest = np.zeros(self.num_documents, np.int64)
        some = np.flatnonzero(np.diff(self.bounds) >= n)
        if len(some):
            length = self._ends[n:] - self._ends[:-n]
            longest[some] = np.maximum.reduceat(length, self.bounds[some]) + n - 1
        return longest

    @functools.cached_property
    def _highest_counts(self) -> dict[int, np.ndarray]:
        return {}

    def _highest_count(self, n: int) -> np.ndarray:
        """int64 [N]: how often the most frequent n-gram of each document occurs, at most."""
        if n not in self._highest_counts:
            self._highest_counts[n] = self._count_highest(n)
        return self._highest_counts[n]

    def _count_highest(self, n: int) -> np.ndarray:
        """As `_highest_count`.

        Of 32 bits those that the document's number leaves are of the hash: half the time of 64, and
        two n-grams that are taken for one only make the count greater.
        """
        hashes = self._ngrams(n)
        most = np.zeros(self.num_documents, np.int64)
        if not len(hashes):
            return most
        shift = 32 - self.num_documents.bit_length()
        keys = (hashes >> np.uint64(64 - shift)).astype(np.uint32)
        numbers = np.arange(self.num_documents, dtype=np.uint32) << np.uint32(shift)
        keys |= np.repeat(numbers, np.diff(self.bounds))[: len(keys)]
        keys.sort()
        heads = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
        counts = np.diff(heads, append=len(keys))
        edges = np.searchsorted(keys[heads], numbers)
        some = np.flatnonzero(np.diff(edges, append=len(heads)))
        most[some] = np.maximum.reduceat(counts, edges[some])
        return most

    def groups(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Distinct n-grams: document, number, characters, first word; ordered by first word."""
        hashes = self._ngrams(n)
        inside = np.flatnonzero(self.documents[: len(hashes)] == self.documents[n - 1 :])
        keys = hashes[inside]
        order = np.argsort(keys, kind="stable")
        new = np.ones(len(keys), bool)
        new[1:] = keys[order][1:] != keys[order][:-1]
        heads = np.flatnonzero(new)
        counts = np.diff(np.append(heads, len(keys)))
        words = inside[order[heads]]
        by_place = np.argsort(words)
        words, counts = words[by_place], counts[by_place]
        return self.documents[words], counts, self._ends[words + n] - self._ends[words], words

    def skipped_duplicates(self, n: int, limits: np.ndarray | None = None) -> np.ndarray:
        """Characters of n-grams seen before, read from the left, none overlapping: int64 [N].

        A repeated n-gram is skipped as a whole: datatrove's find_all_duplicate. Of a document of
        more than 262,144 words it reads no further than its limit [N] wants to be exceeded.
        """
        totals = np.zeros(self.num_documents, np.int64)
        hashes = self._ngrams(n)
        for d in range(self.num_documents):
            start, end = int(self.bounds[d]), int(self.bounds[d + 1]) - n + 1
            stop = np.inf if limits is None or end - start < _LONG else limits[d]
            seen: set[int] = set()
            place = start
            while place < end and totals[d] <= stop:
                block = hashes[place : min(place + _BLOCK, end)].tolist()
                place += self._read(block, place, n, seen, totals[d : d + 1])
        return totals

    def _read(self, block: list[int], start: int, n: int, seen: set[int], total: np.ndarray) -> int:
        """Reads n-grams from `start` on; adds to seen and to total; how far it came."""
        place, found = 0, 0
        while place < len(block):
            if block[place] in seen:
                found += int(self._ends[start + place + n] - self._ends[start + place])
                place += n
            else:
                seen.add(block[place])
                place += 1
        total += found
        return place


def sums(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """int64 [N]: of the values between bounds int64 [N + 1]."""
    totals = np.zeros(len(bounds) - 1, np.int64)
    some = np.flatnonzero(np.diff(bounds))
    if len(some):
        totals[some] = np.add.reduceat(values, bounds[some], dtype=np.int64)
    return totals


def repeats(keys: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """bool [K]: equal to an earlier one of the same document; keys are hashes."""
    keys = keys ^ mix(documents.astype(np.uint64))
    order = np.argsort(keys, kind="stable")
    again = np.zeros(len(keys), bool)
    again[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return again


def repeated_segments(
    joined: Joined, starts: np.ndarray, ends: np.ndarray, documents: np.ndarray
) -> np.ndarray:
    """bool [K]: segments with the bytes of an earlier one of the same document."""
    lengths = ends - starts
    again = np.zeros(len(starts), bool)
    # Both ends and the length tell nearly all apart; the rest is compared by all its bytes.
    tail = joined.first_bytes(np.maximum(ends - 8, starts), lengths)
    key = joined.first_bytes(starts, lengths) * _MULTIPLIER + tail
    key = mix(key + lengths.astype(np.uint64)) ^ mix(documents.astype(np.uint64))
    ordered = np.sort(key)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(twice):
        close = np.flatnonzero(np.isin(key, twice))
        hashes = joined.hashes(starts[close], lengths[close])
        hashes += mix(lengths[close].astype(np.uint64))
        again[close] = repeats(hashes, documents[close])
    return again
