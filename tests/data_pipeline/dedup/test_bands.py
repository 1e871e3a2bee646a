"""Buckets and pairs against plain loops."""

from collections import defaultdict
from itertools import combinations

import numpy as np

from data_pipeline.dedup import bands


def plain_buckets(ranks, *keys):
    found = defaultdict(list)
    for rank, *key in zip(ranks.tolist(), *(k.tolist() for k in keys), strict=True):
        found[tuple(key)].append(rank)
    return sorted(sorted(bucket) for bucket in found.values() if len(bucket) > 1)


def some_buckets(seed=0, num=400, different=60):
    rng = np.random.default_rng(seed)
    ranks = np.sort(rng.permutation(10 * num)[:num])
    return ranks, rng.integers(0, different, num).astype(np.uint64)


def tuples(pairs):
    left, right = bands.ranks_of(pairs)
    return set(zip(left.tolist(), right.tolist(), strict=True))


def test_buckets_hold_the_ranks_of_equal_keys():
    ranks, keys = some_buckets()
    other = keys % np.uint64(3) * (ranks % 2).astype(np.uint64)
    for some in ((keys,), (keys, other), (ranks.astype(np.uint64),)):
        members, starts = bands.buckets_of(ranks, *some)
        got = [bucket.tolist() for bucket in np.split(members, starts[1:])] if len(starts) else []
        assert sorted(got) == plain_buckets(ranks, *some)
        assert all(bucket == sorted(bucket) for bucket in got)


def test_star_and_window_are_all_pairs_of_a_small_bucket_that_are_not_joined():
    ranks, keys = some_buckets(num=300, different=40)
    labels = np.arange(3000) // 1000
    members, starts = bands.buckets_of(ranks, keys)
    assert np.diff(starts, append=len(members)).max() <= bands.WINDOW + 2
    star = tuples(bands.star_pairs(members, starts))
    window = tuples(bands.window_pairs(members, starts, labels))
    for bucket in plain_buckets(ranks, keys):
        for left, right in combinations(bucket, 2):
            assert ((left, right) in star) == (left == bucket[0])
            apart = labels[left] != labels[right]
            assert ((left, right) in window) == (left != bucket[0] and apart)


def test_a_crowded_bucket_has_few_pairs():
    ranks = np.arange(5000)
    members, starts = bands.buckets_of(ranks, np.zeros(5000, np.uint64))
    assert len(bands.star_pairs(members, starts)) == 4999
    assert len(bands.window_pairs(members, starts, ranks)) <= 5000 * bands.WINDOW


def test_ranges_share_out_all_pairs_once(tmp_path):
    rng = np.random.default_rng(0)
    files, every = [], set()
    for number, size in enumerate((5000, 0, 3000)):
        left, right = rng.integers(0, 200, (2, size))
        pairs = np.sort(bands.pairs_of(left, right))
        files.append(tmp_path / f"{number}.npy")
        np.save(files[-1], pairs)
        every |= set(pairs.tolist())
    shares = bands.ranges(files, 1000)
    assert len(shares) > 3
    found = [bands.pairs_between(files, low, high) for low, high in shares]
    assert max(map(len, found)) <= 2000
    assert np.concatenate(found).tolist() == sorted(every)
    assert bands.ranges(files[1:2], 1000) == []


def test_pairs_are_two_ranks():
    left, right = np.array([0, 7, 2**32 - 2]), np.array([1, 2**32 - 1, 2**32 - 1])
    assert [x.tolist() for x in bands.ranks_of(bands.pairs_of(left, right))] == [
        left.tolist(),
        right.tolist(),
    ]
