"""A language model of bytes: interpolated n-grams, counted and asked for whole batches.

Witten-Bell smoothing (Witten and Bell 1991, method C; interpolated as in Chen and Goodman 1999,
section 2.6): of a byte w behind the context h, of which c(h) bytes of T(h) kinds were seen,

    p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h))

where h' is h without its first byte, and p(w | ) falls back on 1/256. Rare n-grams that are left
out give their share to the shorter context, so that probabilities still sum to one:

    p(w | h) = [h w is kept] c(h w) / (c(h) + T(h)) + backoff(h) p(w | h')
    backoff(h) = 1 - sum over kept w of c(h w) / (c(h) + T(h)),  1 where none is kept

As in an ARPA file, p of every kept n-gram and the backoff of every context is stored. An n-gram of
up to seven bytes is itself the key of its row, with its length in the eighth: nothing collides.
Before a text stand newlines.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa

MAX_ORDER = 7
UNIT = 2.0**-20  # bits; probabilities are kept in it as integers, so that sums are exact
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_EMPTY = np.uint64(2**64 - 1)
_UNIFORM = round(8 / UNIT)  # of a byte of 256
_BLOCK = 2**17  # bytes looked up together
_CHUNK = 4 * 10**6  # bytes counted together
_ALWAYS_KEPT = 2  # n-grams of so many bytes are kept however rare


class Rows:
    """A hash table: where each of K keys stands, for many at once (open addressing)."""

    def __init__(self, keys: np.ndarray, values: np.ndarray):
        """keys: uint64 [K], distinct, below 2^63. values: int32 [K]."""
        log2 = max((3 * len(keys)).bit_length(), 4)  # a sixth to a third of it is taken
        self._shift = np.uint64(64 - log2)
        home = ((keys * _FACTOR) >> self._shift).astype(np.int64)
        order = np.argsort(home)
        # In the order of their homes, each takes the first free place at or behind its own.
        place = np.arange(len(keys))
        place += np.maximum.accumulate(home[order] - place)
        size = max((1 << log2), int(place[-1]) + 1 if len(place) else 0) + 1
        self._keys = np.full(size, _EMPTY)
        self._values = np.zeros(size, np.int32)
        self._keys[place], self._values[place] = keys[order], values[order]

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """bool [Q], which keys are there; int32 [Q], their values, else 0."""
        place = ((keys * _FACTOR) >> self._shift).astype(np.int64)
        seen = self._keys[place]
        found = seen == keys
        values = self._values[place]
        values[~found] = 0
        rest = np.flatnonzero(~found & (seen != _EMPTY))
        while len(rest):
            place[rest] += 1
            at = place[rest]
            seen = self._keys[at]
            hit = seen == keys[rest]
            values[rest[hit]] = self._values[at[hit]]
            found[rest[hit]] = True
            rest = rest[~hit & (seen != _EMPTY)]
        return found, values


@dataclass(frozen=True, eq=False)
class Ngrams:
    """A model.

    order: bytes of the longest n-gram. grams: uint64 [G], kept n-grams; gram_costs: int32 [G],
    -log2 p(last byte | those before) in UNIT. contexts: uint64 [C] of up to order - 1 bytes;
    context_costs: int32 [C], -log2 of their backoff in UNIT.
    """

    order: int
    grams: np.ndarray
    gram_costs: np.ndarray
    contexts: np.ndarray
    context_costs: np.ndarray

    def __post_init__(self):
        if not 1 <= self.order <= MAX_ORDER:
            raise ValueError(f"is damaged: its order is {self.order}")
        for keys, costs in ((self.grams, self.gram_costs), (self.contexts, self.context_costs)):
            good = keys.dtype == np.uint64 and costs.dtype == np.int32 and keys.ndim == 1
            if not good or keys.shape != costs.shape or not len(keys) or costs.min() < 0:
                raise ValueError("is damaged: its tables do not fit each other")
            if (keys[1:] <= keys[:-1]).any() or int(keys[-1]) >> 59:
                raise ValueError("is damaged: its keys are no ascending n-grams")

    @cached_property
    def _gram_rows(self) -> Rows:
        return Rows(self.grams, self.gram_costs)

    @cached_property
    def _context_rows(self) -> Rows:
        return Rows(self.contexts, self.context_costs)

    def bits(self, texts: pa.Array) -> np.ndarray:
        """float64 [N]: bits that the UTF-8 bytes of each text cost, -sum log2 p.

        It depends on the text alone, to the last bit, not on its batch.
        """
        totals = np.zeros(len(texts), np.int64)
        for start, end in portions(texts, _CHUNK):
            windows, sizes = windows_of(texts.slice(start, end - start))
            costs = (
                self._costs(windows[first : first + _BLOCK])
                for first in range(0, len(windows), _BLOCK)
            )
            if end - start == 1:  # it may be long
                totals[start] = sum(int(block.sum()) for block in costs)
                continue
            sums = np.concatenate([np.zeros(1, np.int64), *costs])
            np.cumsum(sums, out=sums)
            bounds = np.concatenate([[0], np.cumsum(sizes)])
            totals[start:end] = np.diff(sums[bounds])
        return totals * UNIT

    def _costs(self, windows: np.ndarray) -> np.ndarray:
        """int64 [Q]: -log2 p of the last byte of each window behind the others, in UNIT."""
        total = np.zeros(len(windows), np.int64)
        rest = np.arange(len(windows))
        longest = np.zeros(len(windows), np.int8)
        for n in range(self.order, 0, -1):
            found, costs = self._gram_rows.find(key_of(windows[rest], n))
            total[rest[found]] = costs[found]
            longest[rest[found]] = n
            rest = rest[~found]
            if not len(rest):
                break
        total[rest] = _UNIFORM
        # Each context that is longer than the n-gram gives its backoff. Where one is unknown, so is
        # every longer one, for their n-grams would be known to the shorter one too.
        rest = np.zeros(0, np.int64)
        for n in range(1, self.order + 1):
            rest = np.concatenate([rest, np.flatnonzero(longest == n - 1)])
            if len(rest):
                keys = context_of(key_of(windows[rest], n), n)
                found, costs = self._context_rows.find(keys)
                total[rest] += costs
                rest = rest[found]
        return total


def key_of(windows: np.ndarray, order: int) -> np.ndarray:
    """uint64: the n-grams that end windows of eight bytes."""
    return (windows >> np.uint64(64 - 8 * order)) | (np.uint64(order) << np.uint64(56))


def context_of(keys: np.ndarray, order: int) -> np.ndarray:
    """uint64: n-grams of that order without their last byte, the context of it."""
    inner = keys & np.uint64((1 << (8 * (order - 1))) - 1)
    return inner | (np.uint64(order - 1) << np.uint64(56))


def portions(texts: pa.Array, num_bytes: int) -> Iterator[tuple[int, int]]:
    """[start, end) of texts that end within the same num_bytes of the N."""
    if not len(texts):
        return
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    chunk = (offsets[1:] - offsets[0]) // num_bytes
    cuts = (np.flatnonzero(np.diff(chunk)) + 1).tolist()
    yield from pairwise([0, *cuts, len(texts)])


def windows_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [B]: each byte of the texts and the seven before it, the byte itself on top.

    Returns:
        windows, and int64 [N] bytes of each text.
    """
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    source, sizes = texts.buffers()[2], np.diff(offsets)
    raw = np.frombuffer(source, np.uint8) if source else np.zeros(0, np.uint8)
    found = [np.zeros(0, np.uint64)]
    for start, size in zip(offsets.tolist(), sizes.tolist(), strict=False):
        padded = np.full(size + 7, ord("\n"), np.uint8)
        padded[7:] = raw[start : start + size]
        # Overlapping and unaligned: numpy copes with both when it copies.
        found.append(np.ndarray((size,), "<u8", padded, strides=(1,)))
    return found[1] if len(found) == 2 else np.concatenate(found), sizes


def count(texts: Iterable[str], order: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of the longest order: uint64 keys of `key_of`, ascending, and int64 counts."""
    keys, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for chunk in _chunks(texts):
        windows, _ = windows_of(pa.array(chunk, pa.large_string()))
        found, numbers = np.unique(key_of(windows, order), return_counts=True)
        keys, counts = _added(np.concatenate([keys, found]), np.concatenate([counts, numbers]))
    return keys, counts


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk, size = [], 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    yield chunk


def _added(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, ascending, with the sum of its counts."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=_EMPTY))
    return keys[firsts], np.add.reduceat(counts, firsts) if len(firsts) else counts


def learn(texts: Iterable[str], order: int, max_grams: int) -> Ngrams:
    """The model of the texts.

    order: 1 to MAX_ORDER. max_grams: n-grams kept; where there are more, those of three bytes and
    more that were seen least often are left out.

    Raises:
        ValueError: the texts have no byte.
    """
    keys, counts = count(texts, order)
    if not len(keys):
        raise ValueError("there is no text to learn from")
    by_order = {order: (keys, counts)}
    for n in range(order - 1, 0, -1):
        longer, numbers = by_order[n + 1]
        # The lowest byte is the first: without it, the suffix, still ascending.
        low = (longer & np.uint64((1 << (8 * (n + 1))) - 1)) >> np.uint64(8)
        by_order[n] = _added(low | (np.uint64(n) << np.uint64(56)), numbers)
    least = _least(by_order, max_grams)
    grams, gram_costs, contexts, context_costs = [], [], [], []
    shorter, shorter_p = np.zeros(1, np.uint64), np.full(1, 1 / 256)
    for n in range(1, order + 1):
        keys, counts = by_order[n]
        context, row, kinds = np.unique(
            context_of(keys, n), return_inverse=True, return_counts=True
        )
        seen = np.bincount(row, counts) + kinds
        kept = np.flatnonzero(counts >= (least if n > _ALWAYS_KEPT else 1))
        keys, row = keys[kept], row[kept]
        share = counts[kept] / seen[row]
        left = 1 - np.bincount(row, share, len(context))
        # Exact, where no n-gram of the context was left out.
        whole = np.bincount(row, minlength=len(context)) == kinds
        left = np.where(whole, kinds / seen, left)
        if n == 1:
            lower = shorter_p[np.zeros(len(keys), np.int64)]
        else:
            low = (keys & np.uint64((1 << (8 * n)) - 1)) >> np.uint64(8)
            low |= np.uint64(n - 1) << np.uint64(56)
            lower = shorter_p[np.searchsorted(shorter, low)]
        p = share + left[row] * lower
        used = np.unique(row)
        grams.append(keys)
        gram_costs.append(_costs_of(p))
        contexts.append(context[used])
        context_costs.append(_costs_of(left[used]))
        shorter, shorter_p = keys, p
    tables = (np.concatenate(some) for some in (grams, gram_costs, contexts, context_costs))
    return Ngrams(order, *tables)


def _least(by_order: dict[int, tuple[np.ndarray, np.ndarray]], max_grams: int) -> int:
    """The smallest count that n-grams must have for max_grams of them to be left at most."""
    short = sum(len(keys) for n, (keys, _) in by_order.items() if n <= _ALWAYS_KEPT)
    long = [counts for n, (_, counts) in by_order.items() if n > _ALWAYS_KEPT]
    counts = np.sort(np.concatenate([np.zeros(0, np.int64), *long]))[::-1]
    room = max(max_grams - short, 0)
    return 1 if len(counts) <= room else int(counts[room]) + 1


def _costs_of(p: np.ndarray) -> np.ndarray:
    return np.rint(-np.log2(p) / UNIT).astype(np.int32)
