"""The texts of a batch as one array of UTF-8 bytes, with what is asked of all of them at once.

Letters: B bytes, N documents, K segments (words, lines, …): [start, end) in bytes, in text order.
"""

import functools
import hashlib

import numpy as np
import pyarrow as pa

from data_pipeline.filters.characters import CLASSES, MARK, SPACE

NEWLINE = np.uint8(ord("\n"))
_PAD = 64  # bytes behind the last text, so that a look ahead stays within the array
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_MOST_STEPS = 64


class Joined:
    """N texts, one after the other, a newline before, between and after them.

    data: uint8 [B].
    starts, ends: int64 [N], where each text lies in data.
    """

    def __init__(self, texts: pa.Array):
        """texts: large_string [N] without nulls."""
        offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
        sizes = np.diff(offsets)
        self.num_documents = len(texts)
        self.starts = np.cumsum(sizes + 1) - sizes
        self.ends = self.starts + sizes
        total = int(sizes.sum()) + len(texts) + 1
        self._padded = np.full(total + _PAD, NEWLINE)
        source = texts.buffers()[2]
        raw = np.frombuffer(source, np.uint8) if source else np.zeros(0, np.uint8)
        for i in range(len(texts)):
            self._padded[self.starts[i] : self.ends[i]] = raw[offsets[i] : offsets[i + 1]]
        self.data = self._padded[:total]

    @functools.cached_property
    def ascii(self) -> bool:
        return not len(self.data) or int(self.data.max()) < 0x80

    @functools.cached_property
    def classes(self) -> np.ndarray:
        """uint8 [B]: the bits of CLASSES, on every byte of a character.

        MARK stands on its first byte only.
        """
        table = CLASSES.of(np.arange(256)).tobytes()
        found = np.frombuffer(bytearray(self.data.tobytes().translate(table)), np.uint8)
        if self.ascii:
            return found
        leads, codes = self.beyond_ascii
        bits = CLASSES.of(codes)
        found[leads] = bits
        bits = bits & ~MARK
        found[leads + 1] = bits
        for size, first in ((2, 0x800), (3, 0x10000)):
            longer = codes >= first
            found[leads[longer] + size] = bits[longer]
        return found

    @functools.cached_property
    def beyond_ascii(self) -> tuple[np.ndarray, np.ndarray]:
        """First bytes and code points of the characters of two bytes and more."""
        leads = np.flatnonzero(self.data >= 0xC0)
        return leads, self.codes_at(leads)

    def codes_at(self, positions: np.ndarray) -> np.ndarray:
        """int32 [K]: code points of the characters whose first bytes stand at the positions."""
        codes = self.data[positions].astype(np.int32)
        if self.ascii:
            return codes
        wide = np.flatnonzero(codes >= 0x80)
        lead, at = codes[wide], positions[wide]
        one, two, three = (self._padded[at + i].astype(np.int32) & 63 for i in (1, 2, 3))
        codes[wide] = np.where(
            lead < 0xE0,
            (lead & 31) << 6 | one,
            np.where(
                lead < 0xF0,
                (lead & 15) << 12 | one << 6 | two,
                (lead & 7) << 18 | one << 12 | two << 6 | three,
            ),
        )
        return codes

    @functools.cached_property
    def _continuations(self) -> np.ndarray:
        """Positions of bytes that do not begin a character."""
        return np.flatnonzero((self.data & 0xC0) == 0x80)

    @functools.cached_property
    def _continuations_before(self) -> np.ndarray:
        """int32 [B + 1]: how many of them stand before each position."""
        counts = np.zeros(len(self.data) + 1, np.int32)
        np.cumsum((self.data & 0xC0) == 0x80, dtype=np.int32, out=counts[1:])
        return counts

    def num_characters(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """int64 [K]: characters of segments, sorted, none overlapping."""
        sizes = ends - starts
        if self.ascii or not len(starts):
            return sizes
        beyond = self._continuations
        if len(beyond) > len(self.data) // 16:
            counts = self._continuations_before
            return sizes - (counts[ends] - counts[starts])
        segment = np.searchsorted(starts, beyond, side="right") - 1
        segment = segment[(segment >= 0) & (beyond < ends[segment])]
        return sizes - np.bincount(segment, minlength=len(starts))

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [N]: characters of the texts."""
        return self.num_characters(self.starts, self.ends)

    @functools.cached_property
    def space(self) -> np.ndarray:
        """bool [B]: a byte of a space."""
        return (self.classes & SPACE) != 0

    @functools.cached_property
    def chunks(self) -> tuple[np.ndarray, np.ndarray]:
        """Maximal runs of characters that are no space: starts, ends."""
        edges = np.flatnonzero(self.space[1:] != self.space[:-1]) + 1
        return edges[::2], edges[1::2]

    def counts(self, starts: np.ndarray) -> np.ndarray:
        """int64 [N]: how many of the sorted positions lie in each document."""
        return np.diff(np.searchsorted(starts, np.append(self.starts, len(self.data))))

    def documents(self, starts: np.ndarray) -> np.ndarray:
        """int64 [K]: the document of each of the sorted positions."""
        return np.repeat(np.arange(self.num_documents), self.counts(starts))

    def count_in_documents(self, mask: np.ndarray) -> np.ndarray:
        """int64 [N]: how many bytes of each document a bool [B] mask has set."""
        bounds = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        return np.array([np.count_nonzero(mask[a:b]) for a, b in bounds], np.int64)

    def first_bytes(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """uint64 [K]: the first 8 bytes of segments, fewer where they are shorter."""
        return self._eights[starts] & _MASKS[np.minimum(lengths, 8)]

    @functools.cached_property
    def _eights(self) -> np.ndarray:
        """uint64 [B + …]: the 8 bytes from each position."""
        size = len(self._padded) - 7
        # Overlapping and unaligned: numpy copes with both when it gathers.
        return np.ndarray((size,), "<u8", memoryview(self._padded), 0, (1,))  # pyright: ignore

    def any_bit(self, starts: np.ndarray, ends: np.ndarray, bit: np.uint8) -> np.ndarray:
        """bool [K]: a character of the segment has the bit; none is empty."""
        return (self.bits(starts, ends, bit) & bit) != 0

    def bits(self, starts: np.ndarray, ends: np.ndarray, stop: np.uint8) -> np.ndarray:
        """uint8 [K]: the bits of a segment's characters, read until one has the bit `stop`."""
        bits = self.classes[starts]
        sizes = ends - starts
        rest = np.flatnonzero((bits & stop == 0) & (sizes > 1))
        for step in range(1, _MOST_STEPS):
            if not len(rest):
                break
            bits[rest] |= self.classes[starts[rest] + step]
            rest = rest[(bits[rest] & stop == 0) & (sizes[rest] > step + 1)]
        for i in rest.tolist():
            bits[i] |= np.bitwise_or.reduce(self.classes[starts[i] : ends[i]])
        return bits

    def hashes(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """uint64 [K] of segments' bytes; up to 8 bytes, another hash means other bytes."""
        found = self.first_bytes(starts, lengths)
        rest = np.flatnonzero(lengths > 8)
        for step in range(1, _MOST_STEPS):
            if not len(rest):
                break
            left = lengths[rest] - 8 * step
            more = self._eights[starts[rest] + 8 * step] & _MASKS[np.minimum(left, 8)]
            found[rest] = mix(found[rest] + np.uint64(step)) + more
            rest = rest[left > 8]
        for i in rest.tolist():
            start = int(starts[i]) + 8 * _MOST_STEPS
            left = self.data[start : int(starts[i] + lengths[i])]
            digest = hashlib.blake2b(left.tobytes(), digest_size=8).digest()
            found[i : i + 1] = mix(found[i : i + 1]) + np.frombuffer(digest, "<u8")
        return found


def mix(values: np.ndarray) -> np.ndarray:
    """A bijection of uint64 with good avalanche (splitmix64)."""
    values = values + _MULTIPLIER
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
