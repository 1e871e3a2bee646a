"""The schedule: a strong permutation, honest weights, and any place at once."""

import itertools
import math

import numpy as np
import pytest

from nanojaxlm.data.schedule import BatchSizes, Permutation, Schedule


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 100, 257, 4096, 10_007])
def test_every_value_comes_once(size):
    values = Permutation(size=size, key=(0, 1))(np.arange(size))
    np.testing.assert_array_equal(np.sort(values), np.arange(size))


@pytest.mark.parametrize("size", [2**32 + 15, 2**40 - 87, 2**62])
def test_sizes_beyond_32_bits_stay_in_range_and_use_all_of_it(size):
    places = np.concatenate([np.arange(20_000), size - 1 - np.arange(20_000)])
    values = Permutation(size=size, key=(3,))(places)
    assert values.min() >= 0
    assert values.max() < size
    assert len(np.unique(values)) == len(places)
    counts, _ = np.histogram(values / size, bins=16, range=(0, 1))
    assert _chi_square(counts) < 60  # 15 degrees of freedom: p < 1e-6


def test_each_place_alone_gives_what_all_together_give():
    permutation = Permutation(size=1000, key=(5, 6))
    together = permutation(np.arange(1000))
    assert [int(permutation(np.array([i]))[0]) for i in range(0, 1000, 37)] == list(together[::37])


@pytest.mark.parametrize("size", [257, 10_007])
def test_neighbours_and_places_are_not_correlated(size):
    for seed in range(5):
        values = Permutation(size=size, key=(seed, 0))(np.arange(size))
        bound = 5 / math.sqrt(size)
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < bound
        assert abs(np.corrcoef(np.arange(size), values)[0, 1]) < bound
        steps = np.diff(values) % size
        counts, _ = np.histogram(steps, bins=16, range=(0, size))
        assert _chi_square(counts) < 60
        assert (values == np.arange(size)).sum() < 10  # fixed points: 1 expected


def test_keys_that_differ_in_seed_epoch_or_order_give_unrelated_permutations():
    keys = [(0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0), (2**32, 0, 0), (2**31, 0, 0), (-1, 0, 0)]
    size = 10_007
    for one, other in itertools.combinations(keys, 2):
        a = Permutation(size=size, key=one)(np.arange(size))
        b = Permutation(size=size, key=other)(np.arange(size))
        assert (a == b).sum() < 10
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


@pytest.mark.parametrize("size", [3, 4, 5])
def test_all_orders_of_a_few_rows_are_about_as_likely(size):
    orders = list(itertools.permutations(range(size)))
    trials = 20 * len(orders)
    seen = [
        tuple(Permutation(size=size, key=(seed, 0))(np.arange(size)).tolist())
        for seed in range(trials)
    ]
    counts = np.array([seen.count(order) for order in orders])
    degrees = len(orders) - 1
    assert _chi_square(counts) < degrees + 6 * math.sqrt(2 * degrees)


def test_an_epoch_holds_every_row_once_and_the_next_has_another_order():
    schedule = Schedule([1000], [1.0], seed=7)
    groups, rows = schedule(np.arange(3000))
    assert not groups.any()
    epochs = rows.reshape(3, 1000)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(1000))
    assert (epochs[0] == epochs[1]).sum() < 10
    assert (Schedule([1000], [1.0], seed=8)(np.arange(1000))[1] == epochs[0]).sum() < 10
    assert (Schedule([1000], [1.0], seed=8)(np.arange(1000))[1] == epochs[1]).sum() < 10


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.7, 0.2, 0.1), (1, 1000), (3, 2, 2, 9, 1)])
def test_every_beginning_honours_the_weights_to_a_row_a_group(weights):
    sizes = [10 + i for i in range(len(weights))]
    groups, rows = Schedule(sizes, weights, seed=0)(np.arange(20_000))
    places = np.arange(1, 20_001)
    for group, weight in enumerate(weights):
        drawn = np.cumsum(groups == group)
        wanted = places * weight / sum(weights)
        assert np.abs(drawn - wanted).max() <= len(weights)
        mine = rows[groups == group]
        whole = len(mine) // sizes[group] * sizes[group]
        for epoch in mine[:whole].reshape(-1, sizes[group]):  # no row twice, none left out
            np.testing.assert_array_equal(np.sort(epoch), np.arange(sizes[group]))


def test_a_far_place_costs_no_more_and_is_the_same_alone():
    schedule = Schedule([2**33, 50], [0.9, 0.1], seed=1)
    far = 2**42 + np.arange(64)
    groups, rows = schedule(far)
    assert set(groups) == {0, 1}
    for i in (0, 17, 63):
        group, row = schedule(far[i : i + 1])
        assert (group[0], row[0]) == (groups[i], rows[i])


def test_each_step_begins_where_the_one_before_it_ended():
    sizes = BatchSizes(final=16, warmup=((3, 2), (4, 6), (10, 8)))
    assert [sizes.of(step) for step in (0, 2, 3, 4, 9, 10, 10**9)] == [2, 2, 6, 8, 8, 16, 16]
    assert sizes.each == (2, 6, 8, 16)
    place = 0
    for step in range(20):
        assert sizes.before(step) == place
        place += sizes.of(step)
    assert sizes.before(10**12) == 3 * 2 + 6 + 6 * 8 + 16 * (10**12 - 10)
    assert BatchSizes(final=5).before(7) == 35


def test_weights_too_small_to_draw_and_places_too_far_are_refused():
    with pytest.raises(ValueError, match="factor of a million"):
        Schedule([5, 5], [1.0, 1e-9], seed=0)
    with pytest.raises(ValueError, match="factor of a million"):
        Schedule([5, 5], [1e-9, 1.0], seed=0)
    with pytest.raises(ValueError, match="beyond"):
        Schedule([5], [1.0], seed=0)(np.array([2**43]))


def _chi_square(counts: np.ndarray) -> float:
    """Pearson's statistic against equal counts."""
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())
