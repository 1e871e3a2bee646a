"""Which row stands where: the order of the rows as a pure function of (seed, place), in O(1).

Grain's own shuffle does not serve: it is limited to 32-bit indices, and it seeds epoch e with
seed + e, so that runs with seeds 0 and 1 share all epochs but one. The interleaving is the one of
Grain's mix, for many places at once.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

_ROUNDS = 8
_WEIGHT_BITS = 20  # weights are honoured to one in a million; places up to 2^43 stay exact


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permutation:
    """A keyed permutation of 0 … size - 1, computed place by place.

    A balanced Feistel network (Luby and Rackoff, 1988) of 8 rounds over the next even number of
    bits, with the finalizer of SplitMix64 (Steele et al., 2014) as its round function; values
    beyond size walk on along their cycle (Black and Rogaway, 2002), fewer than 4 steps in the mean.
    """

    size: int  # 1 … 2^62
    key: tuple[int, ...]  # such as (seed, epoch): each key another permutation

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """int64 [n] places in 0 … size - 1 -> int64 [n] values in 0 … size - 1."""
        half = max(1, ((self.size - 1).bit_length() + 1) // 2)
        keys = _round_keys((*self.key, self.size))
        values = places.astype(np.uint64)
        outside = np.arange(len(values))
        while len(outside):
            values[outside] = _feistel(values[outside], keys, half)
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSizes:
    """How many rows each step reads, and which places they stand at: each step goes on where the
    one before it ended, so that a batch that grows neither skips a row nor reads one twice.

    Raises, on making it: ValueError where steps and rows do not grow.
    """

    final: int  # rows a step, after the warm-up
    warmup: tuple[tuple[int, int], ...] = ()  # (step, rows): rows of each of the steps before it

    def __post_init__(self) -> None:
        for pair in self.warmup:
            if len(pair) != 2:
                raise ValueError(f"batch_warmup must be pairs of (step, rows), got {pair}")
        steps = [0, *(step for step, _ in self.warmup)]
        rows = [0, *self.each]
        for numbers, what in ((steps, "steps"), (rows, "rows, with batch_size the last,")):
            if any(after <= before for before, after in itertools.pairwise(numbers)):
                raise ValueError(
                    f"the {what} of batch_warmup must be above 0 and grow, got {numbers[1:]}"
                )

    @property
    def each(self) -> tuple[int, ...]:
        """All that there are, the smallest first."""
        return (*(rows for _, rows in self.warmup), self.final)

    def of(self, step: int) -> int:
        return next((rows for until, rows in self.warmup if step < until), self.final)

    def before(self, step: int) -> int:
        """Rows of all steps before it, which is the place of its first."""
        place, start = 0, 0
        for until, rows in (*self.warmup, (step, self.final)):
            place += rows * max(0, min(step, until) - start)
            start = until
        return place


class Schedule:
    """What row each place holds; places 0, 1, 2, … are the rows of batch 0, then batch 1, ….

    Each group of rows is shuffled anew in each of its epochs, and is repeated without end. Groups
    are interleaved evenly: the first n places hold n * weight rows of each group, to within one row
    for each group, for every n.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int):
        """sizes: rows of each group, >= 1. weights: > 0, of any sum. seed: any integer.

        Raises:
            ValueError: a weight below one in a million of the sum, which would never be drawn.
        """
        self._sizes, self._seed = tuple(sizes), seed
        rest = np.cumsum(np.asarray(weights, np.float64)[::-1])[::-1]
        shares = np.rint(np.asarray(weights) / rest * 2**_WEIGHT_BITS).astype(np.int64)
        for i, share in enumerate(shares):
            if share == 0 or (share == 2**_WEIGHT_BITS and i + 1 < len(shares)):
                raise ValueError(
                    f"weights {tuple(weights)} differ by more than a factor of a million; leave "
                    "out the smallest or raise it"
                )
        self._shares = shares

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n] places, below 2^43 -> (group, row in the group), int64 [n] each."""
        if len(places) and places.max() >= 2 ** (63 - _WEIGHT_BITS):
            raise ValueError(f"place {places.max()} is beyond 2^43 rows")
        groups = np.full(len(places), len(self._sizes) - 1)
        counts = places.astype(np.int64)  # how many rows of the groups not yet passed come before
        undecided = np.arange(len(places))
        for group, share in enumerate(self._shares[:-1]):
            at = counts[undecided]
            before = (at * share) >> _WEIGHT_BITS
            drawn = ((at + 1) * share) >> _WEIGHT_BITS > before
            groups[undecided[drawn]] = group
            counts[undecided] = np.where(drawn, before, at - before)
            undecided = undecided[~drawn]
        rows = np.empty(len(places), np.int64)
        for group, size in enumerate(self._sizes):
            (mine,) = np.nonzero(groups == group)
            epochs, within = np.divmod(counts[mine], size)
            for epoch in np.unique(epochs):
                now = epochs == epoch
                permutation = Permutation(size=size, key=(self._seed, group, int(epoch)))
                rows[mine[now]] = permutation(within[now])
        return groups, rows


def _feistel(values: np.ndarray, keys: np.ndarray, half: int) -> np.ndarray:
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (mix(right + key) & mask)
    return (left << shift) | right


def _round_keys(key: tuple[int, ...]) -> np.ndarray:
    """uint64 [rounds], all of them dependent on every part of the key and on the parts' order."""
    state = np.zeros(1, np.uint64)
    for part in key:
        word = np.array([part % 2**64], np.uint64)
        state = mix((state ^ word) + np.uint64(0x9E3779B97F4A7C15))
    steps = np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mix(state + steps)


def mix(x: np.ndarray) -> np.ndarray:
    """uint64 -> uint64, each bit dependent on all: the finalizer of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
