"""What rules look at, computed for a whole Arrow batch at once in numpy: characters, words, lines.

Letters: C code points of all texts of the batch joined, W words (maximal runs of non-space), L
non-empty lines, P paragraphs (runs of lines without an empty one), N documents.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import functools
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SPACE, ALPHA, DIGIT = np.uint8(1), np.uint8(2), np.uint8(4)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_NEWLINE = ord("\n")


@functools.cache
def _classes() -> np.ndarray:
    """uint8 [0x110000]: SPACE, ALPHA, DIGIT bits of every code point."""
    table = np.zeros(sys.maxunicode + 1, np.uint8)
    for code in range(0x32000):  # beyond: ideographs of plane 3 and private use, counted as neither
        character = chr(code)
        if character.isspace():
            table[code] = SPACE
        elif unicodedata.category(character)[0] in "LM":
            table[code] = ALPHA
        elif character.isdigit():
            table[code] = DIGIT
    return table


class Features:
    """Counts of a batch of N texts; segment arrays are aligned and in text order."""

    def __init__(self, texts: pa.LargeStringArray):
        """texts: N strings without nulls."""
        self.num_documents = len(texts)
        lengths = pc.utf8_length(texts).to_numpy().astype(np.int64)
        self.document_starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        self.num_characters = lengths
        joined = "".join(texts.to_pylist()).encode("utf-32-le")
        self.characters = np.frombuffer(joined, "<u4")  # [C]
        self.classes = _classes()[self.characters]  # [C]
        self._find_words()
        self._find_lines()

    def _find_words(self) -> None:
        ink = self.classes != SPACE
        before = np.concatenate([[False], ink[:-1]])
        after = np.concatenate([ink[1:], [False]])
        starts = np.zeros(len(ink), bool)
        inner = self.document_starts[:-1][self.num_characters > 0]
        before[inner] = False  # a word does not cross from one document into the next
        after[inner[1:] - 1] = False
        starts = ink & ~before
        ends = ink & ~after
        self.word_starts = np.flatnonzero(starts)  # [W]
        self.word_lengths = np.flatnonzero(ends) + 1 - self.word_starts  # [W]
        self.word_documents = self._document_of(self.word_starts)  # [W]
        self.word_hashes = _hash_segments(
            self.characters[ink].astype(np.uint64), self.word_lengths
        )  # uint64 [W]
        self.num_words = np.bincount(self.word_documents, minlength=self.num_documents)
        self.ink = self.sum_words(self.word_lengths)  # non-space characters [N]

    def _find_lines(self) -> None:
        newlines = np.concatenate([[0], np.cumsum(self.characters == _NEWLINE)])
        line = newlines[self.word_starts] + self.word_documents  # +1 at each document's start
        gaps = np.diff(line, prepend=-1)
        first = np.flatnonzero(gaps)  # the first word of each non-empty line
        self.line_words = np.diff(np.append(first, len(line)))  # words a line [L]
        self.line_first = first
        self.line_documents = self.word_documents[first]  # [L]
        self.line_hashes = _hash_segments(self.word_hashes, self.line_words)
        self.line_ink = _sum_segments(self.word_lengths, first)
        last = first + self.line_words - 1
        ends = self.word_starts[last] + self.word_lengths[last]
        self.line_spans = ends - self.word_starts[first]  # characters, stripped [L]
        self.num_lines = np.bincount(self.line_documents, minlength=self.num_documents)
        new_document = np.diff(self.line_documents, prepend=-1) != 0
        opens = np.flatnonzero((gaps[first] > 1) | new_document)
        self.paragraph_documents = self.line_documents[opens]  # [P]
        self.paragraph_hashes = _hash_segments(
            self.line_hashes, np.diff(np.append(opens, len(first)))
        )
        self.paragraph_ink = _sum_segments(self.line_ink, opens)

    def _document_of(self, positions: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.document_starts, positions, side="right") - 1

    def sum_words(self, values: np.ndarray) -> np.ndarray:
        """Sums [W] by document: float64 [N]."""
        return np.bincount(self.word_documents, values, self.num_documents)

    def sum_lines(self, values: np.ndarray) -> np.ndarray:
        """Sums [L] by document: float64 [N]."""
        return np.bincount(self.line_documents, values, self.num_documents)

    def count_class(self, bits: np.uint8) -> np.ndarray:
        """Characters of a class in each document: int64 [N]."""
        counts = np.concatenate([[0], np.cumsum((self.classes & bits) != 0)])
        return np.diff(counts[self.document_starts])

    def longest_line(self) -> np.ndarray:
        """Characters of the longest line of each document: int64 [N]."""
        longest = np.zeros(self.num_documents, np.int64)
        np.maximum.at(longest, self._line_documents_all(), self._line_lengths_all())
        return longest

    def mean_line_length(self) -> np.ndarray:
        """Characters a line, empty lines included: float64 [N]."""
        lines = np.bincount(self._line_documents_all(), minlength=self.num_documents)
        return self.num_characters / np.maximum(lines, 1)

    @functools.cache  # noqa: B019  (a batch lives as long as its features)
    def _breaks(self) -> np.ndarray:
        breaks = np.flatnonzero(self.characters == _NEWLINE) + 1
        return np.unique(np.concatenate([self.document_starts, breaks]))

    def _line_lengths_all(self) -> np.ndarray:
        return np.diff(self._breaks())

    def _line_documents_all(self) -> np.ndarray:
        return self._document_of(self._breaks()[:-1])

    def repeated_rate(self, hashes: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Segments that repeat an earlier one of their document, over all: float64 [N]."""
        repeats = np.bincount(documents, _repeats(hashes, documents), self.num_documents)
        return repeats / np.maximum(np.bincount(documents, minlength=self.num_documents), 1)

    def repeated_ink_rate(
        self, hashes: np.ndarray, documents: np.ndarray, ink: np.ndarray
    ) -> np.ndarray:
        """Characters in segments that repeat an earlier one, over all characters: float64 [N]."""
        repeats = _repeats(hashes, documents) * ink
        return np.bincount(documents, repeats, self.num_documents) / np.maximum(self.ink, 1)

    def repeated_ngram_rate(self, n: int) -> np.ndarray:
        """Characters covered by word n-grams seen before in the document, over all: float64 [N].

        A character covered by several n-grams counts once (Rae et al. 2021, table A1).
        """
        hashes, positions = self._ngrams(n)
        repeats = positions[_repeats(hashes, self.word_documents[positions])]
        edges = np.zeros(len(self.word_starts) + 1, np.int64)
        edges[repeats] += 1
        np.subtract.at(edges, repeats + n, 1)
        covered = np.cumsum(edges[:-1]) > 0
        return self.sum_words(covered * self.word_lengths) / np.maximum(self.ink, 1)

    def top_ngram_rate(self, n: int) -> np.ndarray:
        """Characters of the n-gram that takes most of the document, over all: float64 [N].

        Only n-grams that occur more than once count.
        """
        hashes, positions = self._ngrams(n)
        if not len(positions):
            return np.zeros(self.num_documents)
        ink = np.concatenate([[0], np.cumsum(self.word_lengths)])
        length = ink[positions + n] - ink[positions]
        order = np.argsort(_by_document(hashes, self.word_documents[positions]), kind="stable")
        keys = _by_document(hashes, self.word_documents[positions])[order]
        first = np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1)))
        count = np.diff(np.append(first, len(keys)))
        head = order[first]
        share = np.where(count > 1, count * length[head], 0)
        most = np.zeros(self.num_documents)
        np.maximum.at(most, self.word_documents[positions][head], share)
        return most / np.maximum(self.ink, 1)

    def _ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes and first words of the n-grams that lie within one document."""
        num = len(self.word_hashes) - n + 1
        if num < 1:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        hashes = np.zeros(num, np.uint64)
        for i in range(n):
            hashes = hashes * _MULTIPLIER + self.word_hashes[i : i + num]
        inside = self.word_documents[:num] == self.word_documents[n - 1 :]
        return hashes[inside], np.flatnonzero(inside)


def hash_word(word: str) -> int:
    """The hash that Features gives this word."""
    codes = np.array([ord(c) for c in word], np.uint64)
    return int(_hash_segments(codes, np.array([len(codes)]))[0])


def _hash_segments(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """uint64 hashes of consecutive segments of uint64 values: sum of mix(value) * M^position."""
    if not len(lengths):
        return np.zeros(0, np.uint64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    position = np.arange(len(values)) - np.repeat(starts, lengths)
    powers = np.concatenate([[np.uint64(1)], np.full(int(lengths.max()), _MULTIPLIER)]).cumprod(
        dtype=np.uint64
    )
    return _mix(np.add.reduceat(_mix(values) * powers[position], starts))


def _mix(values: np.ndarray) -> np.ndarray:
    """A bijection of uint64 with good avalanche (splitmix64)."""
    values = (values + _MULTIPLIER).astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _by_document(hashes: np.ndarray, documents: np.ndarray) -> np.ndarray:
    return hashes ^ _mix(documents.astype(np.uint64))


def _repeats(hashes: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """bool: segments equal to an earlier one of the same document."""
    keys = _by_document(hashes, documents)
    order = np.argsort(keys, kind="stable")
    repeats = np.zeros(len(keys), bool)
    repeats[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return repeats


def _sum_segments(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts) if len(starts) else np.zeros(0, values.dtype)
