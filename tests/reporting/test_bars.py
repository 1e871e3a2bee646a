"""Bars are as long as their values, stay within their strips, and say in text what they show."""

import re

import pytest

from nanojaxlm.reporting.bars import (
    RangeBar,
    StackedBar,
    SwingBar,
    range_bars,
    stacked_bars,
    tornado,
)


def rects(page: str) -> list[tuple[str, float, float]]:
    """(style, start, stop) in percent."""
    found = re.findall(r'<rect class="([^"]+)" x="([\d.-]+)%" width="([\d.]+)%"', page)
    return [(style, float(x), float(x) + float(width)) for style, x, width in found]


def lines(page: str, style: str) -> list[float]:
    return [float(x) for x in re.findall(rf'<line class="{style}" x1="([\d.-]+)%"', page)]


def bar(name: str, low: float, value: float, high: float) -> RangeBar:
    return RangeBar(name=name, low=low, value=value, high=high, figures=f"{value:g} <{name}>")


def test_range_bars_share_a_scale_and_have_whiskers():
    page = range_bars([bar("a", 5, 10, 20), bar("b", 40, 40, 40)], "{:g}".format)
    (_, start, first), (_, _, second) = rects(page)
    assert start == 0
    assert second == pytest.approx(4 * first, abs=0.01)
    assert second == pytest.approx(100, abs=0.01)
    assert lines(page, "whisker") == pytest.approx([12.5, 12.5, 50.0], abs=0.01)
    assert "10 &lt;a&gt;" in page


def test_a_whisker_far_beyond_all_bars_is_cut_and_marked():
    page = range_bars([bar("a", 1, 2, 1000)], "{:g}".format)
    assert rects(page)[0][2] == pytest.approx(25, abs=0.01)
    assert "▶" in page
    assert all(0 <= float(x) <= 100 for x in re.findall(r'x2="([\d.]+)%"', page))


def test_bars_of_nothing_are_drawn():
    page = range_bars([bar("a", 0, 0, 0)], "{:g}".format)
    assert rects(page)[0][1:] == (0, 0)


def test_a_stack_joins_its_parts_and_shows_the_limit():
    bars = [
        StackedBar(name="1 chip", parts={"kept": 30, "none": 0, "layer": 20}, figures="50"),
        StackedBar(name="2 chips", parts={"layer": 10, "kept": 15}, figures="25"),
    ]
    page = stacked_bars(bars, 100, "usable", "{:g}".format)
    (kept, start, middle), (layer, joint, stop), *second = rects(page)
    assert (start, middle) == (0, joint)
    assert kept != layer
    (limit, _) = lines(page, "limit")
    assert stop == pytest.approx(limit / 2, abs=0.01)
    assert limit < 100
    assert [style for style, _, _ in second] == [kept, layer]  # in the same order and colours
    assert "none" not in page


def test_a_stack_beyond_the_limit_stays_within_the_strip():
    bars = [StackedBar(name="1 chip", parts={"kept": 300}, figures="300")]
    page = stacked_bars(bars, 100, "usable", "{:g}".format)
    assert lines(page, "limit")[0] < rects(page)[0][2] < 100


def swing(at_low: float, at_high: float) -> SwingBar:
    return SwingBar(
        name="price",
        note="x.price",
        low_words="$1",
        at_low=at_low,
        high_words="$3",
        at_high=at_high,
    )


def test_a_tornado_goes_to_both_sides_of_the_value_and_marks_zero():
    page = tornado([swing(-10, 30), swing(12, 8)], 10, "{:g}".format)
    (low, start, middle), (high, joint, stop), *_ = rects(page)
    centre, zero = lines(page, "centre")[0], lines(page, "limit")[0]
    assert (low, high) == ("fill-low", "fill-high")
    assert start < zero < middle
    assert middle == pytest.approx(centre, abs=0.01)
    assert joint == pytest.approx(centre, abs=0.01)
    assert stop - centre == pytest.approx(centre - start, abs=0.01)
    assert "$1: <b>-10</b>" in page


def test_a_far_zero_is_left_out_where_asked():
    bars = [swing(990, 1010)]
    assert lines(tornado(bars, 1000, "{:g}".format, zero=False), "limit") == []
    assert len(lines(tornado(bars, 1000, "{:g}".format), "limit")) == 1


def test_hostile_words_are_escaped():
    hostile = "<script>"
    pages = (
        range_bars([bar(hostile, 0, 1, 2)], lambda value: hostile),
        stacked_bars(
            [StackedBar(name=hostile, parts={hostile: 1}, figures=hostile)],
            1,
            hostile,
            lambda value: hostile,
        ),
        tornado(
            [
                SwingBar(
                    name=hostile, note=hostile, low_words=hostile, at_low=0,
                    high_words=hostile, at_high=1,
                )
            ],
            0,
            lambda value: hostile,
        ),
    )  # fmt: skip
    assert not any(hostile in page for page in pages)
