"""Buckets of equal keys, and the pairs of documents in them that are worth comparing.

A pair of ranks is one uint64, the smaller rank in its upper half. Files of pairs are sorted arrays,
so that a range of pairs is a slice of each file, and tasks share out the pairs by ranges.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

WINDOW = 16  # later members of a bucket that a member is compared with, beside the first
SAMPLE_EVERY = 256  # pairs; how finely the pairs are shared out
NUM_RANKS = np.uint64(32)


def pairs_of(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """uint64 of two arrays of ranks."""
    return (left.astype(np.uint64) << NUM_RANKS) | right.astype(np.uint64)


def ranks_of(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64: the left and right ranks of pairs."""
    return (pairs >> NUM_RANKS).astype(np.int64), pairs.astype(np.uint32).astype(np.int64)


def buckets_of(ranks: np.ndarray, *keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ranks whose keys are equal.

    Args:
        ranks: ascending [M].
        keys: uint64 [M] each; equal in all of them is equal.

    Returns:
        members uint32 [K], bucket after bucket, ascending in each; starts int64 [buckets], where
        each begins. Buckets of one are left out.
    """
    order = np.lexsort(keys)  # stable, so ranks ascend among equal keys
    new = np.ones(len(order), bool)
    if len(order):
        new[1:] = False
    for key in keys:
        key = key[order]
        new[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(new)
    sizes = np.diff(starts, append=len(order))
    shared = np.repeat(sizes > 1, sizes)
    sizes = sizes[sizes > 1]
    return ranks[order[shared]].astype(np.uint32), np.cumsum(sizes) - sizes


def star_pairs(members: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The first member of every bucket with each of the others."""
    sizes = np.diff(starts, append=len(members))
    others = np.ones(len(members), bool)
    others[starts] = False
    return np.sort(pairs_of(np.repeat(members[starts], sizes), members)[others])


def window_pairs(members: np.ndarray, starts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each member but the first with the next WINDOW ones, where their labels differ.

    Members of one component need no comparison any more, so in buckets of up to WINDOW + 2 this
    and `star_pairs` are all pairs that can matter.
    """
    if not len(members):
        return np.zeros(0, np.uint64)
    sizes = np.diff(starts, append=len(members))
    bucket = np.repeat(np.arange(len(starts)), sizes)
    bucket[starts] = -1 - np.arange(len(starts))  # the first of each is compared already
    label, found = labels[members], [np.zeros(0, np.uint64)]
    for step in range(1, min(WINDOW, int(sizes.max()) - 2) + 1):
        wanted = (bucket[step:] == bucket[:-step]) & (label[step:] != label[:-step])
        found.append(pairs_of(members[:-step][wanted], members[step:][wanted]))
    return np.unique(np.concatenate(found))


def ranges(files: Sequence[Path], pairs_a_range: int) -> list[tuple[int, int]]:
    """Ranges [low, high) of about so many pairs, counted with repetition; together all pairs."""
    samples = [np.load(file, mmap_mode="r")[::SAMPLE_EVERY] for file in files]
    sample = np.sort(np.concatenate([np.zeros(0, np.uint64), *samples]))
    if not len(sample):
        return []
    cuts = np.unique(sample[:: max(1, pairs_a_range // SAMPLE_EVERY)])[1:].tolist()
    return list(zip([0, *cuts], [*cuts, 2**64 - 1], strict=True))


def pairs_between(files: Sequence[Path], low: int, high: int) -> np.ndarray:
    """The different pairs of a range, ascending."""
    found = [np.zeros(0, np.uint64)]
    for file in files:
        pairs = np.load(file, mmap_mode="r")
        start, end = np.searchsorted(pairs, np.array([low, high], np.uint64))
        found.append(np.array(pairs[start:end]))
    return np.unique(np.concatenate(found))
