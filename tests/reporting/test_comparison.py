"""The page, the plot and the table of a comparison show each figure once, and escape names."""

import dataclasses
import io
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console

from nanojaxlm.reporting.comparison import (
    Comparison,
    Curve,
    Rate,
    Subject,
    plot,
    render,
    table,
    verdict,
)


def subject(name: str, hidden: float, pairs: float | None, halves: float | None) -> Subject:
    return Subject(
        name=name,
        objective=f"to do what {name} does",
        parameters=1_234_567,
        tokens=2048,
        tokens_per_second=987.4,
        loss=3.25,
        bits_per_byte=None if halves is None else halves + 0.125,
        second_halves=halves,
        hidden=Rate(hidden, 400),
        pairs=None if pairs is None else Rate(pairs, 100),
        training_loss=Curve(tokens=[512, 1024], values=[5.0, 4.0]),
        hidden_accuracy=Curve(tokens=[1024, 2048], values=[hidden / 2, hidden]),
    )


@pytest.fixture
def comparison() -> Comparison:
    return Comparison(
        subjects=(
            subject("<b>oth", 0.2, 0.6, 2.5),
            subject("reader", 0.3, 0.5, None),
            subject("writer", 0.1, 0.7, 1.5),
        ),
        most_frequent=0.05,
        facts=(("Text & more", "9 < 10 bytes"),),
    )


def test_a_rate_has_the_standard_error_of_its_trials():
    assert Rate(0.2, 400).error == pytest.approx(math.sqrt(0.2 * 0.8 / 400)) == 0.02
    assert str(Rate(0.2, 400)) == "20.0% ± 2.0%"


def test_the_verdict_ranks_by_each_figure_that_models_share(comparison):
    assert verdict(comparison) == (
        "Hidden tokens guessed right: reader 30.0%, <b>oth 20.0%, writer 10.0%; always the "
        "commonest token: 5.0%. Minimal pairs right: writer 70.0%, <b>oth 60.0%, reader 50.0%; by "
        "chance 50%. Bits per byte of second halves, fewer is better: writer 1.500, <b>oth 2.500."
    )


def test_without_pairs_nothing_is_said_of_them(comparison):
    subjects = tuple(dataclasses.replace(s, pairs=None) for s in comparison.subjects)
    without = dataclasses.replace(comparison, subjects=subjects)
    assert "pairs" not in verdict(without)
    assert render(without).count("<td>none</td>") == 2 + 3


def test_the_page_has_a_row_a_model_and_escapes_what_it_is_given(comparison):
    page = render(comparison)
    assert "<b>oth" not in page and "&lt;b&gt;oth" in page
    assert "Text &amp; more" in page and "9 &lt; 10 bytes" in page
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    assert [name for name, _ in rows] == ["&lt;b&gt;oth", "reader", "writer"]
    cells = [re.findall("<td>(.*?)</td>", row) for _, row in rows]
    assert cells[1][1:] == [
        "1,234,567", "2,048", "987", "3.250", "none", "none", "30.0% ± 2.3%", "50.0% ± 5.0%",
    ]  # fmt: skip
    assert cells[2][5:7] == ["1.625", "1.500"]
    assert "<script" not in page and "http" not in page and page.count("<svg") == 2


def test_the_plot_stands_alone_with_a_line_and_a_name_a_model_in_each_panel(comparison):
    root = ElementTree.fromstring(plot(comparison))
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg" and root.find(f"{space}style") is not None
    panels = root.findall(f"{space}svg")
    assert len(panels) == 2
    for panel in panels:
        lines = panel.findall(f"{space}polyline")
        assert [line.get("class") for line in lines] == ["line-1", "line-2", "line-3"]
    names = [text.text for text in root.findall(f"{space}text")]
    assert names.count("<b>oth") == names.count("writer") == 2
    width = float(root.get("viewBox").split()[2])
    for line in root.findall(f"{space}polyline"):
        assert float(line.get("points").split()[1].split(",")[0]) + 60 < width
    rules = root.find(f"{space}style").text
    assert all(f".line-{i}" in rules for i in (1, 2, 3))


def test_the_terminal_shows_a_column_a_model(comparison):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(comparison))
    text = console.export_text()
    assert re.search(r"hidden tokens .*20\.0% ± 2\.0%.*30\.0% ± 2\.3%.*10\.0% ± 1\.5%", text)
    assert re.search(r"bits per byte .*2\.625.*none.*1\.625", text)
