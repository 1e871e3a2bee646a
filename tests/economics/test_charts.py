"""The charts of an answer show its values, and what is no choice is not weighed."""

import re

import pytest

from nanojaxlm.economics import charts
from nanojaxlm.economics.alternatives import API, TUNE


def test_costs_are_bars_of_every_way_and_year(llama):
    page = charts.cost_bars(llama)
    widths = [
        float(w) for w in re.findall(r'<rect class="fill-\d" x="0.000%" width="([\d.]+)%', page)
    ]
    totals = [one.totals[year].central for year in range(3) for one in llama.alternatives]
    assert widths == pytest.approx(
        [max(widths) * total / max(totals) for total in totals], abs=0.01
    )


def test_ways_that_are_out_are_pale_and_have_no_break_even(answered):
    found = answered("only build")
    assert charts.cost_bars(found).count('class="fill-out"') == 6
    assert charts.possible_break_evens(found) == []
    svg = charts.volume_chart(found)
    assert len(re.findall("<polyline", svg)) == 1


def test_the_break_even_lies_where_the_lines_cross(llama):
    svg = charts.volume_chart(llama)
    marks = {
        words: float(x)
        for x, words in zip(
            re.findall(r'class="mark" x1="([\d.]+)"', svg),
            re.findall(r'class="mark-words"[^>]*>([^<]+)<', svg),
            strict=True,
        )
    }
    at = next(x for words, x in marks.items() if words.startswith("Fine-tune = API"))
    lines = {
        style: [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]
        for style, points in re.findall(r'<polyline class="(line-\d)" points="([^"]+)"', svg)
    }
    tune, api = (dict(lines[f"line-{charts.NUMBER[name]}"]) for name in (TUNE, API))
    before, after = max(x for x in tune if x < at), min(x for x in tune if x > at)
    assert tune[before] < api[before]  # up on the page is dearer
    assert tune[after] > api[after]


def test_the_tornado_has_a_zero_only_where_something_turns_there(answered):
    assert charts.zero_is_near(answered("llama"))
    assert not charts.zero_is_near(answered("only build"))


def test_a_run_on_the_smallest_mesh_has_one_bar(answered):
    assert charts.memory_bars(answered("toy")).count('class="name"') == 1
    assert charts.memory_bars(answered("llama")).count('class="name"') == 2


def test_the_asked_size_lies_on_the_curve(llama):
    svg = charts.loss_chart(llama)
    match = re.search(r'<circle class="line-2" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert match is not None
    x, y = map(float, match.groups())
    points = re.findall(r"([\d.]+),([\d.]+)", svg.split('class="line-1" points="')[1].split('"')[0])
    near = min(points, key=lambda point: abs(float(point[0]) - x))
    assert float(near[1]) == pytest.approx(y, abs=6)
