"""The texts of a batch as one run of bytes, and where its digits stand.

Everything that is searched for holds a digit, an "@", a colon or a long token, so numpy looks for
those in the whole batch at once, and patterns are tried only where they were found.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Between texts, before the first and after the last: no pattern crosses it, so that what is found
# in a text does not depend on its neighbours. 4 of them at the ends let numpy look 4 bytes around.
BOUND = b"\x00"
_EDGE = 4
_FEW = 256  # bytes of text a place: fewer places than that are few


def class_of(members: bytes) -> np.ndarray:
    """bool [256], True for the given bytes."""
    table = np.zeros(256, bool)
    table[list(members)] = True
    return table


DIGITS = b"0123456789"
UPPER = bytes(range(65, 91))
LOWER = bytes(range(97, 123))
ALNUM = class_of(DIGITS + UPPER + LOWER)
# Of ASCII only: a number may stand right beside a Chinese character or a quotation mark.
WORD = ALNUM | class_of(b"_")
# What may stand between the digits of one number: also the no-break space and Unicode's hyphens.
_BETWEEN = class_of(b" -.()/\xc2\xa0\xe2\x80\x90\x91\x92\x93\x94\xaf")
_WIDEST_GAP = 3
_NO_DIGITS = bytes(set(range(256)) - set(DIGITS))
# Capitals as small letters, what is no letter as a space.
_LETTERS_ONLY = bytes(
    code | 0x20 if code in UPPER else code if code in LOWER or code >= 128 else 32
    for code in range(256)
)

# Quotation marks, dashes, spaces: U+0080 to U+00BF, U+2000 to U+2FFF, U+3000 to U+303F, U+FF00 on.
_MARKS = re.compile(rb"\xc2.|\xe2..|\xe3\x80.|\xef[\xbc\xbd].", re.S)


@dataclass(frozen=True)
class Runs:
    """Runs of digits; int64 [R] each. A run is data[start:end]."""

    start: np.ndarray
    end: np.ndarray

    @property
    def length(self) -> np.ndarray:
        return self.end - self.start


@dataclass(frozen=True)
class Groups:
    """Runs of digits with at most 3 bytes of punctuation between them; int64 [G] each."""

    start: np.ndarray
    end: np.ndarray
    num_digits: np.ndarray
    num_runs: np.ndarray
    first_run: np.ndarray  # the index of its first run


class Text:
    """The texts of N documents, joined.

    Attributes:
        data: the bytes, BOUND between them.
        codes: uint8 of data.
        starts: int64 [N], where each text starts in data.
    """

    def __init__(self, texts: Sequence[bytes]):
        self.data = BOUND * _EDGE + BOUND.join(texts) + BOUND * _EDGE
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.starts = _EDGE + np.cumsum(lengths + 1) - (lengths + 1)
        self.codes = np.frombuffer(self.data, np.uint8)
        self._found: dict[frozenset[bytes], np.ndarray] = {}

    def places(self, character: bytes) -> np.ndarray:
        """int64: where a byte stands."""
        return np.flatnonzero(self.codes == character[0])

    def before(self, place: int, width: int) -> bytes:
        """The bytes before a place in its text, at most `width`, in lower case."""
        window = self.data[max(0, place - width) : place]
        cut = window.rfind(BOUND)
        return (window if cut < 0 else window[cut + 1 :]).lower()

    def after(self, place: int, width: int) -> bytes:
        """The bytes from a place on, in its text, at most `width`, in lower case."""
        window = self.data[place : place + width]
        cut = window.find(BOUND)
        return (window if cut < 0 else window[:cut]).lower()

    def may_be_near(
        self, words: frozenset[bytes], starts: np.ndarray, ends: np.ndarray, width: int
    ) -> np.ndarray:
        """bool [M]: False where none of the words is near a place (start, end), within `width`.

        All True where there are few places: then it is cheaper to look at each. Tables of numbers
        and logs have many, and seldom a word.
        """
        if not words:
            return np.zeros(len(starts), bool)
        if len(starts) * _FEW < len(self.codes):
            return np.ones(len(starts), bool)
        if words not in self._found:
            hits = (_hits(self._lower, stem) for stem in _stems(words))
            self._found[words] = np.sort(np.array([hit for some in hits for hit in some], np.int64))
        found = self._found[words]
        first = np.searchsorted(found, starts - width - max(map(len, words)))
        return first < np.searchsorted(found, ends + width)

    @cached_property
    def _lower(self) -> bytes:
        return self.data.lower()

    def words_around(self, start: int, end: int, width: int) -> list[bytes]:
        """The words of `before` and `after` a place data[start:end]."""
        window = self.data[max(0, start - width) : end + width]
        if BOUND in window:
            return self.words_before(start, width) + self.words_after(end, width)
        return _words(window)

    def words_before(self, place: int, width: int) -> list[bytes]:
        """The words of `before`, the first of which may be cut."""
        window = self.data[max(0, place - width) : place]
        return _words(window[window.rfind(BOUND) + 1 :])

    def words_after(self, place: int, width: int) -> list[bytes]:
        """The words of `after`, the last of which may be cut."""
        window = self.data[place : place + width]
        return _words(window.partition(BOUND)[0])

    def triples(self, places: np.ndarray) -> np.ndarray:
        """uint32: the three bytes from each place on, ASCII capitals as small letters."""
        found = np.zeros(len(places), np.uint32)
        for i in range(3):
            found = (found << 8) | (self.codes[places + i] | 0x20)
        return found

    @cached_property
    def runs(self) -> Runs:
        digits = np.flatnonzero((self.codes - np.uint8(48)) < 10)
        if not len(digits):
            return Runs(digits, digits)
        breaks = np.flatnonzero(np.diff(digits) != 1)
        return Runs(
            digits[np.concatenate(([0], breaks + 1))],
            digits[np.concatenate((breaks, [len(digits) - 1]))] + 1,
        )

    @cached_property
    def groups(self) -> Groups:
        runs = self.runs
        if not len(runs.start):
            return Groups(*(runs.start,) * 5)
        gap = runs.start[1:] - runs.end[:-1]
        near = np.flatnonzero(gap <= _WIDEST_GAP)
        joined = np.ones(len(near), bool)
        for i in range(_WIDEST_GAP):
            between = _BETWEEN[self.codes[runs.end[near] + i]]
            joined &= between | (gap[near] <= i)
        first = np.ones(len(runs.start), bool)
        first[near[joined] + 1] = False
        first = np.flatnonzero(first)
        last = np.append(first[1:], len(runs.start)) - 1
        return Groups(
            runs.start[first],
            runs.end[last],
            np.add.reduceat(runs.length, first),
            last - first + 1,
            first,
        )

    def tokens_with_digits(self, table: np.ndarray, shortest: int) -> tuple[np.ndarray, np.ndarray]:
        """(start, end) of the longest stretches of a class (bool [256], digits in it) that hold a
        digit and have `shortest` bytes at least."""
        runs = self.runs
        if len(runs.start) * 2 * shortest > len(self.codes):
            others = np.flatnonzero(~table[self.codes])
            long = np.flatnonzero(np.diff(others) > shortest)
            starts, ends = others[long] + 1, others[long + 1]
            after = np.searchsorted(runs.start, starts)
            inside = np.append(runs.start, len(self.codes))[after] < ends
            return starts[inside], ends[inside]
        # few digits: look at the bytes around each run only
        around = np.arange(1, shortest)
        left = table[self.codes[np.maximum(runs.start[:, None] - around, 0)]]
        right = table[self.codes[np.minimum(runs.end[:, None] + around - 1, len(self.codes) - 1)]]
        reach = runs.length + _stretch(left) + _stretch(right)
        starts, ends = [], []
        stop = 0
        for place in runs.start[reach >= shortest].tolist():
            if place < stop:
                continue
            start, stop = place, place
            while table[self.codes[start - 1]]:
                start -= 1
            while table[self.codes[stop]]:
                stop += 1
            starts.append(start)
            ends.append(stop)
        return np.array(starts, np.int64), np.array(ends, np.int64)


@functools.lru_cache
def _stems(words: frozenset[bytes]) -> list[bytes]:
    """Those that no other of them is a part of."""
    return sorted(w for w in words if not any(v != w and v in w for v in words))


def _hits(data: bytes, word: bytes) -> Iterator[int]:
    place = data.find(word)
    while place >= 0:
        yield place
        place = data.find(word, place + 1)


def _words(window: bytes) -> list[bytes]:
    if b"\xc2" in window or b"\xe2" in window or b"\xe3" in window or b"\xef" in window:
        window = _MARKS.sub(b" ", window)
    return window.translate(_LETTERS_ONLY).split()


def _stretch(members: np.ndarray) -> np.ndarray:
    """bool [R, W] -> int [R]: how many True each row begins with."""
    return np.where(members.all(1), members.shape[1], members.argmin(1))


def digits_of(written: bytes) -> bytes:
    return written.translate(None, _NO_DIGITS)


def triples_of(words: Sequence[bytes]) -> np.ndarray:
    """uint32 of words of three bytes, as `Text.triples` writes them."""
    return np.array(
        sorted({int.from_bytes(bytes(c | 0x20 for c in word), "big") for word in words}), np.uint32
    )
