"""The words of a batch as byte spans and 64-bit hashes, and hashes of runs of words.

Letters: B bytes of the texts, one after the other, N documents, W words.
"""

import functools
import hashlib
import string
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_SPACE = np.isin(np.arange(256), list(b" \t\n\r\v\f"))
_LETTERS = np.arange(256) >= 128  # of ASCII below; what follows a first byte is as that says
_LETTERS[[ord(c) for c in string.ascii_letters + string.digits + "_"]] = True
_PAD = 8  # bytes behind the last, so that eight can be read at every place
_TABLED = 0x32400  # code points; there are no letters above (Unicode 16)
_LONG = 256  # bytes of a word from which on it is hashed alone
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
# First and last code points of scripts written without spaces: Thai, Lao, Burmese, Khmer, kana,
# Han. Each of their characters is a word of its own.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
)  # fmt: skip
_FACTOR = 0x9E3779B97F4A7C15
BLOCK = 2**14  # values worked on at a time, so that they stay in the processor's cache


@dataclass(frozen=True)
class Words:
    """W words of N documents.

    data: uint8 [B + 8], the texts and some padding.
    starts, ends: int64 [W], bytes in data, ascending.
    firsts: int64 [N + 1], the first word of each document, and W.
    texts: int64 [N + 1], the first byte of each document, and B.
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    firsts: np.ndarray
    texts: np.ndarray

    @classmethod
    def between_spaces(cls, texts: pa.Array) -> "Words":
        """What white space (of ASCII) separates; of scripts without spaces each character."""
        return cls._of(texts, letters=False)

    @classmethod
    def of_letters(cls, texts: pa.Array) -> "Words":
        """Runs of letters, marks, digits and underscores, as \\w+ finds them in Unicode.

        Of scripts without spaces, each character.
        """
        return cls._of(texts, letters=True)

    @classmethod
    def _of(cls, texts: pa.Array, letters: bool) -> "Words":
        data, offsets = text_buffer(texts)
        text = data[: int(offsets[-1])]
        table = _LETTERS if letters else ~_SPACE
        inside = np.frombuffer(bytearray(text.tobytes().translate(table.tobytes())), bool)
        begins = np.ones(len(text) + 1, bool)
        leads = np.flatnonzero(text >= 0xC0)
        codes, sizes = codes_at(data, leads)
        if letters:
            others = ~are_letters(codes)
            for place in range(4):
                inside[leads[others & (sizes > place)] + place] = False
        begins[1:-1] = ~inside[:-1]
        begins[offsets] = True
        alone = unspaced(codes)
        begins[leads[alone]] = begins[(leads + sizes)[alone]] = True
        starts = np.flatnonzero(begins[:-1] & inside)
        last = begins[1:]
        last[:-1] |= ~inside[1:]
        ends = np.flatnonzero(last & inside) + 1
        return cls(data, starts, ends, np.searchsorted(starts, offsets), offsets)

    @functools.cached_property
    def hashes(self) -> np.ndarray:
        """uint64 [W]: of the bytes of each word."""
        return span_hashes(self.data, self.starts, self.ends)

    @functools.cached_property
    def documents(self) -> np.ndarray:
        """int64 [W]."""
        return np.repeat(np.arange(len(self.firsts) - 1), np.diff(self.firsts))


def text_buffer(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [B + 8], the UTF-8 bytes of large_string [N] without nulls, and int64 [N + 1]."""
    if not len(texts):
        return np.zeros(_PAD, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    data = np.zeros(int(offsets[-1] - offsets[0]) + _PAD, np.uint8)
    source = texts.buffers()[2]
    if source is not None:
        data[:-_PAD] = np.frombuffer(source, np.uint8)[offsets[0] : offsets[-1]]
    return data, offsets - offsets[0]


def codes_at(data: np.ndarray, leads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int32 code points, int64 bytes of the characters whose first bytes, >= 0xC0, are there."""
    lead = data[leads].astype(np.int32)
    one, two, three = (data[leads + i].astype(np.int32) & 0x3F for i in (1, 2, 3))
    codes = ((lead & 0x1F) << 6) | one
    sizes = np.full(len(leads), 2)
    long = lead >= 0xE0
    codes[long] = (((lead & 0x0F) << 12) | (one << 6) | two)[long]
    sizes[long] = 3
    long = lead >= 0xF0
    codes[long] = (((lead & 0x07) << 18) | (one << 12) | (two << 6) | three)[long]
    sizes[long] = 4
    return codes, sizes


def are_letters(codes: np.ndarray) -> np.ndarray:
    """bool: letters, marks, digits and connectors; of code points above _TABLED, marks alone."""
    found = _letters()[np.minimum(codes, _TABLED)]
    found |= (codes >= 0xE0100) & (codes <= 0xE01EF)
    return found


@functools.cache
def _letters() -> np.ndarray:
    """bool [_TABLED + 1]; the last is False."""
    categories = (unicodedata.category(chr(code)) for code in range(_TABLED))
    found = (c[0] in "LM" or c in ("Nd", "Nl", "Pc") for c in categories)
    return np.append(np.fromiter(found, bool, _TABLED), False)


def unspaced(codes: np.ndarray) -> np.ndarray:
    """bool: characters of scripts without spaces."""
    found = np.zeros(len(codes), bool)
    for first, last in _UNSPACED:
        found |= (codes >= first) & (codes <= last)
    return found


def span_hashes(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """uint64 [W]: hashes of the bytes of spans; data uint8 [B + 8]."""
    if not len(starts):
        return np.zeros(0, np.uint64)
    eights = np.ndarray((len(data) - 7,), np.uint64, data, strides=(1,))
    sizes = ends - starts
    found = mixed((eights[starts] & _MASKS[np.minimum(sizes, 8)]) + sizes.astype(np.uint64))
    place, longer = 8, np.flatnonzero((sizes > 8) & (sizes <= _LONG))
    while len(longer):
        more = eights[starts[longer] + place] & _MASKS[np.minimum(sizes[longer] - place, 8)]
        found[longer] = mixed(found[longer] * np.uint64(_FACTOR) + more)
        place += 8
        longer = longer[sizes[longer] > place]
    for i in np.flatnonzero(sizes > _LONG).tolist():
        digest = hashlib.blake2b(data[starts[i] : ends[i]].tobytes(), digest_size=8).digest()
        found[i] = int.from_bytes(digest, "little")
    return found


def run_hashes(values: np.ndarray, length: int) -> np.ndarray:
    """uint64 [W - length + 1]: hashes of the runs of a length from every place on.

    Of values v that are hashes themselves, v[0] c^(n-1) + v[1] c^(n-2) + … + v[n-1] modulo 2^64,
    c odd (Karp and Rabin 1987).
    """
    found = np.empty(max(len(values) - length + 1, 0), np.uint64)
    for first, _, hashes in runs_of_lengths(values, [length]):
        found[first : first + len(hashes)] = hashes
    return found


def runs_of_lengths(
    values: np.ndarray, lengths: Sequence[int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """As run_hashes, of ascending lengths, some places at a time.

    Yields:
        The first place, the length, and uint64 [BLOCK] or fewer.
    """
    for first in range(0, len(values), BLOCK):
        block = values[first : first + BLOCK + max(lengths, default=0) - 1]
        done, hashes = 0, block
        for length in lengths:
            if length > len(block):
                break
            hashes = _longer(block, hashes, done, length) if done else _runs(block, length)
            done = length
            yield first, length, hashes[:BLOCK]


def _runs(values: np.ndarray, length: int) -> np.ndarray:
    """The hashes of one block: a run of 2n is two of n, by the binary digits of the length."""
    hashes, done = values, 1
    for digit in f"{length:b}"[1:]:
        hashes = hashes[:-done] * np.uint64(pow(_FACTOR, done, 2**64)) + hashes[done:]
        done *= 2
        if digit == "1":
            hashes = _longer(values, hashes, done, done + 1)
            done += 1
    return hashes


def _longer(values: np.ndarray, hashes: np.ndarray, done: int, length: int) -> np.ndarray:
    """Hashes of runs of a length from those of the runs of fewer, `done`."""
    for place in range(done, length):
        hashes = hashes[:-1] * np.uint64(_FACTOR) + values[place:]
    return hashes


def mixed(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    found = np.empty_like(values)
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        block = (block ^ (block >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        block = (block ^ (block >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found[start : start + BLOCK] = block ^ (block >> np.uint64(31))
    return found
