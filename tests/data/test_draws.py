"""Random numbers: uniform, independent, and a function of seed, place, purpose and column only."""

import numpy as np
import pytest

from nanojaxlm.data.draws import Draws, Purpose


def test_numbers_are_uniform_and_independent_across_all_that_they_depend_on():
    grids = [
        Draws.of(seed, place + np.arange(256)).grid(purpose, 64)
        for seed in (0, 1)
        for place in (0, 256)
        for purpose in (Purpose.SELECT, Purpose.REPLACE)
    ]
    for grid in grids:
        assert grid.min() >= 0 and grid.max() < 1
        counts = np.histogram(grid, bins=64, range=(0, 1))[0]
        assert ((counts - 256) ** 2 / 256).sum() < 120  # chi-squared, 63 degrees: p = 1e-5
        for axis in (0, 1):
            shifted = np.roll(grid, 1, axis=axis)
            assert abs(np.corrcoef(grid.ravel(), shifted.ravel())[0, 1]) < 0.04
    flat = np.stack([grid.ravel() for grid in grids])
    assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.04
    assert len(np.unique(flat)) == flat.size


def test_a_row_draws_the_same_wherever_it_is_drawn():
    whole = Draws.of(7, np.arange(100)).grid(Purpose.CUTS, 9)
    part = Draws.of(7, np.array([31, 5, 99])).grid(Purpose.CUTS, 9)
    np.testing.assert_array_equal(part, whole[[31, 5, 99]])
    at = Draws.of(7, np.arange(100)).at(np.array([31]))
    np.testing.assert_array_equal(
        at.uniform(Purpose.CUTS, np.array([0, 0]), np.array([2, 8])), whole[31, [2, 8]]
    )


@pytest.mark.parametrize("seed", [-1, 0, 2**32 - 1, 2**70])
def test_any_seed_and_a_far_place_serve(seed):
    grid = Draws.of(seed, np.array([0, 2**43])).grid(Purpose.GAPS, 3)
    assert len(np.unique(grid)) == 6


def test_the_numbers_do_not_change_between_versions():
    """A run that is resumed with a later release must see the batches it would have seen."""
    bits = Draws.of(3, np.array([0, 10**9])).bits(Purpose.NOISE, np.array([[0], [1]]), np.arange(2))
    assert [f"{word:016x}" for word in bits.ravel()] == [
        "1d9211ebcf8bd889", "cbcad398fd9aed5e", "20d6eafbc7dce3f8", "1e55dc3d478c25b6",
    ]  # fmt: skip
