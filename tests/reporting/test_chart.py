"""Ticks are round and rising, thinning keeps the shape, labels tell neighbours apart."""

import itertools

import numpy as np
import pytest

from nanojaxlm.reporting.chart import Series, labels, line_chart, thin, ticks


@pytest.mark.parametrize(
    ("low", "high"), [(0, 97), (1.23, 1.29), (-3, 4), (0, 2e6), (5, 5.0001), (0.0, 1e-6)]
)
def test_ticks_are_round_rising_and_inside(low, high):
    values = ticks(low, high)
    assert 2 <= len(values) <= 8
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert all(step > 0 for step in steps)
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)
    mantissa = float(f"{steps[0]:.3e}".split("e")[0])
    assert min(abs(mantissa - round_one) for round_one in (1, 2, 5, 10)) < 1e-2
    span = high - low
    assert low - 1e-6 * span <= values[0] < values[-1] <= high + 1e-6 * span


def test_ticks_of_a_known_range():
    assert ticks(0, 97) == [0, 20, 40, 60, 80]


def test_labels_of_neighbours_differ():
    assert labels([20_000.0, 20_000.5, 20_001.0]) == ["20,000.0", "20,000.5", "20,001.0"]
    assert labels([0.0, 500.0, 1000.0]) == ["0", "500", "1,000"]


def test_thinning_keeps_the_mean_the_order_and_the_last_point():
    xs = np.arange(1, 10_001).astype(float)
    ys = 5.0 - 0.0003 * xs
    thinned_xs, thinned_ys = thin(xs.tolist(), ys.tolist(), most=100)
    assert len(thinned_xs) <= 100
    assert thinned_xs == sorted(thinned_xs)
    assert (thinned_xs[-1], thinned_ys[-1]) == (10_000.0, ys[-1])
    assert thinned_ys == pytest.approx([5.0 - 0.0003 * x for x in thinned_xs])


def test_few_points_are_not_thinned():
    assert thin([1.0, 2.0], [3.0, 4.0]) == ([1.0, 2.0], [3.0, 4.0])


def test_a_chart_without_values_says_so():
    empty = Series(name="training", xs=[], ys=[], style="line-1")
    chart = line_chart([empty], title="Loss <by> step", x_label="step", y_label="loss")
    assert "Loss &lt;by&gt; step: no values were written" in chart


def test_a_single_point_is_drawn():
    one = Series(name="training", xs=[3], ys=[2.5], style="line-1")
    assert "<circle" in line_chart([one], title="Loss", x_label="step", y_label="loss")
