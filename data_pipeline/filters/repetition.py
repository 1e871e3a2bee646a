"""How much of a document repeats itself: lines, paragraphs, n-grams of words.

Most documents repeat little, so bounds that are quick to compute go first, and what a rule needs
exactly is computed for the documents that a bound does not clear.
"""

import dataclasses
import functools

import numpy as np

from data_pipeline.filters.joined import Joined, mix

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True)
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

    def only(self, chosen: np.ndarray) -> "Sequences":
        """The documents at int64 indices."""
        sizes = np.diff(self.bounds)[chosen]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        index = np.arange(bounds[-1]) + np.repeat(self.bounds[chosen] - bounds[:-1], sizes)
        return Sequences(self.hashes[index], self.lengths[index], bounds)

    def ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the n-grams that lie within one document, and their first words."""
        num = len(self.hashes) - n + 1
        if num < 1:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        hashes = self.hashes[:num].copy()
        for i in range(1, n):
            hashes *= _MULTIPLIER
            hashes ^= hashes >> np.uint64(29)
            hashes += self.hashes[i : i + num]
        crossing = self.bounds[1:-1, None] - np.arange(1, n)
        crossing = crossing[(crossing >= 0) & (crossing < num)]
        inside = np.ones(num, bool)
        inside[crossing] = False
        first = np.flatnonzero(inside)
        return (hashes if len(first) == num else hashes[first]), first

    def repeated(self, n: int) -> np.ndarray:
        """First words, in order, of the n-grams that occurred before in their document."""
        hashes, first = self.ngrams(n)
        if not len(first):
            return first
        hashes = mix(hashes + _MULTIPLIER * self.documents[first].astype(np.uint64))
        width = np.uint64(len(first).bit_length())
        # The hash's upper bits and the place behind them in one number: far faster than argsort.
        keys = np.sort((hashes >> width << width) | np.arange(len(first), dtype=np.uint64))
        again = np.flatnonzero(keys[1:] >> width == keys[:-1] >> width)
        places = (keys & ((np.uint64(1) << width) - np.uint64(1))).astype(np.int64)
        now, before = places[again + 1], places[again]
        return np.sort(first[now[hashes[now] == hashes[before]]])

    def covered(self, n: int) -> np.ndarray:
        """Characters in words that a repeated n-gram covers, each once: int64 [N]."""
        first = self.repeated(n)
        covered = np.zeros(self.num_documents, np.int64)
        if not len(first):
            return covered
        begin = np.maximum(first, np.concatenate([[0], first[:-1] + n]))
        characters = self._ends[first + n] - self._ends[begin]
        np.add.at(covered, self.documents[first], characters)
        return covered

    def most_common_count(self, n: int) -> np.ndarray:
        """How often the most frequent n-gram of each document occurs: int64 [N]."""
        hashes, first = self.ngrams(n)
        most = np.zeros(self.num_documents, np.int64)
        if not len(first):
            return most
        width = np.uint64(max(self.num_documents.bit_length(), 1))
        shift = np.uint64(64) - width
        documents = self.documents[first].astype(np.uint64)
        keys = np.sort(documents << shift | mix(hashes) >> width)
        heads = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
        counts = np.diff(np.append(heads, len(keys)))
        of = (keys[heads] >> shift).astype(np.int64)
        edges = np.concatenate([[0], np.flatnonzero(of[1:] != of[:-1]) + 1])
        most[of[edges]] = np.maximum.reduceat(counts, edges)
        return most

    def longest(self, n: int) -> np.ndarray:
        """Characters of the longest n-gram of each document, words only: int64 [N]."""
        _, first = self.ngrams(n)
        longest = np.zeros(self.num_documents, np.int64)
        if len(first):
            length = self._ends[first + n] - self._ends[first]
            of = self.documents[first]
            edges = np.concatenate([[0], np.flatnonzero(of[1:] != of[:-1]) + 1])
            longest[of[edges]] = np.maximum.reduceat(length, edges)
        return longest

    def groups(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Distinct n-grams: document, number, characters, first word; ordered by first word."""
        hashes, first = self.ngrams(n)
        keys = mix(hashes + _MULTIPLIER * self.documents[first].astype(np.uint64))
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        new = np.ones(len(keys), bool)
        new[1:] = sorted_keys[1:] != sorted_keys[:-1]
        heads = np.flatnonzero(new)
        counts = np.diff(np.append(heads, len(keys)))
        words = first[order[heads]]
        by_place = np.argsort(words)
        words, counts = words[by_place], counts[by_place]
        return self.documents[words], counts, self._ends[words + n] - self._ends[words], words

    def skipped_duplicates(self, n: int) -> np.ndarray:
        """Characters of n-grams seen before, read from the left, none overlapping: int64 [N].

        A repeated n-gram is skipped as a whole: datatrove's find_all_duplicate.
        """
        totals = np.zeros(self.num_documents, np.int64)
        hashes, first = self.ngrams(n)
        bounds = np.searchsorted(first, self.bounds)
        for d in range(self.num_documents):
            inside = slice(bounds[d], bounds[d + 1])
            own, seen, place, total = hashes[inside].tolist(), set(), 0, 0
            start = int(self.bounds[d])
            while place < len(own):
                if own[place] in seen:
                    total += int(self._ends[start + place + n] - self._ends[start + place])
                    place += n
                else:
                    seen.add(own[place])
                    place += 1
            totals[d] = total
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
    key = mix(joined.first_bytes(starts, lengths)) + mix(tail + lengths.astype(np.uint64))
    key ^= mix(documents.astype(np.uint64))
    ordered = np.sort(key)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(twice):
        close = np.flatnonzero(np.isin(key, twice))
        hashes = joined.hashes(starts[close], lengths[close]) + mix(
            lengths[close].astype(np.uint64)
        )
        again[close] = repeats(hashes, documents[close])
    return again
