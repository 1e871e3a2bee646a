"""Ticks are round and rising, thinning keeps the shape, labels tell neighbours apart."""

import itertools
import re

import numpy as np
import pytest

from nanojaxlm.reporting.chart import (
    HEIGHT,
    WIDTH,
    Axis,
    Mark,
    Series,
    labels,
    line_chart,
    log_ticks,
    thin,
    ticks,
)


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


@pytest.mark.parametrize(
    ("low", "high"), [(3, 4e6), (1, 1e12), (0.02, 0.9), (2e9, 5e9), (1e9, 1.02e9), (1e-9, 1e-7)]
)
def test_log_ticks_are_rising_few_and_inside(low, high):
    values = log_ticks(low, high)
    assert 2 <= len(values) <= 8
    assert values == sorted(set(values))
    assert low * (1 - 1e-6) <= values[0] < values[-1] <= high * (1 + 1e-6)


def test_log_ticks_of_a_known_range():
    assert log_ticks(3, 4e6) == [1e1, 1e2, 1e3, 1e4, 1e5, 1e6]
    assert log_ticks(2, 30) == [2, 5, 10, 20]


def polyline(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'points="([^"]+)"', svg)
    assert found is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


def chart(xs, ys, marks=()) -> str:
    series = Series(name="cost", xs=xs, ys=ys, style="line-1")
    log = Axis(log=True, text="{:g}!".format)
    return line_chart(
        [series], title="Cost", x_label="n", y_label="$", x_axis=log, y_axis=log, marks=marks
    )


def test_on_log_axes_a_power_is_a_straight_line():
    xs = [1e1, 1e3, 1e5, 1e9]
    places = polyline(chart(xs, [x**2 for x in xs]))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(places)]
    assert slopes == pytest.approx([slopes[0]] * 3, abs=1e-3)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    assert ">1000!</text>" in chart([10.0, 1e4], [10.0, 1e4])


def test_what_has_no_place_on_a_log_axis_is_left_out():
    assert len(polyline(chart([0.0, 1.0, 10.0, 100.0], [1.0, 2.0, 0.0, 3.0]))) == 2
    assert "no values were written" in chart([1.0, 2.0], [0.0, 0.0])


def test_marks_stand_where_they_belong_and_widen_the_axis():
    svg = chart([1e2, 1e4], [1.0, 2.0], [Mark(x=1e3, words="<now>"), Mark(x=1e6, words="later")])
    assert "&lt;now&gt;" in svg
    first, second = sorted(map(float, re.findall(r'class="mark" x1="([\d.]+)"', svg)))
    (start, _), (stop, _) = polyline(svg)
    assert first == pytest.approx((start + stop) / 2, abs=0.2)
    assert stop < second <= WIDTH
    assert 'text-anchor="end"' in svg  # words at the right end are kept within the frame


def test_no_mark_runs_through_the_words_of_another():
    marks = [Mark(x=10.0**power, words=f"mark of power {power}") for power in range(7)]
    svg = chart([1.0, 1e6], [1.0, 2.0], marks)
    tops = {
        float(x): float(y) for x, y in re.findall(r'class="mark" x1="([\d.]+)".*? y1="(\d+)"', svg)
    }
    found = re.findall(r'text-anchor="(\w+)" x="([\d.]+)" y="(\d+)">([^<]+)<', svg)
    assert len(found) == len(marks)
    for anchor, x, y, words in found:
        width = 7 * len(words)
        left = float(x) - width if anchor == "end" else float(x)
        crossed = [at for at in tops if left < at < left + width and tops[at] < float(y) - 12]
        assert not crossed
