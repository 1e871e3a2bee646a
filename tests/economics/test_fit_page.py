"""The page and the table of a fit: every run in it, the larger one marked."""

import dataclasses
import io

import pytest
from rich.console import Console

from nanojaxlm.economics.fit_page import render, table, verdict
from nanojaxlm.economics.fitting import Fit, Point, Text, fit
from nanojaxlm.economics.scaling import Law


@pytest.fixture(scope="module")
def fitted() -> Fit:
    law = Law(E=2.0, A=60.0, alpha=0.35, B=400.0, beta=0.45, source="planted")
    points = [
        Point(params=n, tokens=d, loss=law.loss(n, d))
        for n in (5e4, 1e5, 2e5)
        for d in (4e5, 8e5, 1.6e6)
    ]
    text = Text(
        sources=("a<b.txt",), tokenizer="ab" * 32, vocab_size=512, train="cd" * 32,
        held_out="ef" * 32, bytes_per_token=2.1,
    )  # fmt: skip
    return dataclasses.replace(fit(points, num_bootstrap=2), text=text)


@pytest.fixture(scope="module")
def tested(fitted) -> Fit:
    """With a larger run, whose loss is 1% above the law's."""
    loss = 1.01 * fitted.law.loss(4e5, 3.2e6)
    return dataclasses.replace(fitted, held_out=Point(params=4e5, tokens=3.2e6, loss=loss))


def test_the_page_has_every_run_and_marks_the_larger(fitted, tested):
    before, after = render(fitted), render(tested)
    assert before.count("<tr>") == 1 + 9 and "larger run:" not in before
    assert after.count("<tr>") == 1 + 10 and "larger run: 400,000" in after
    assert after.count('circle class="measured"') == 9
    assert after.count('circle class="larger"') == 1


def test_the_page_is_one_file_and_escapes_names(tested):
    page = render(tested)
    assert "<script" not in page and "http" not in page
    assert "a&lt;b.txt" in page and "a<b" not in page


def test_the_sentence_says_law_prediction_and_error(fitted, tested):
    assert "L = 2.000 + 60 / N^0.350 + 400 / D^0.450" in verdict(fitted)
    assert "predicted" not in verdict(fitted)
    words = verdict(tested)
    assert "4.0 times the ladder's most compute" in words
    assert "outside the interval; the prediction is off by -0.99%" in words


def test_the_table_has_a_row_a_run(tested):
    stream = io.StringIO()
    Console(file=stream, width=200).print(table(tested))
    printed = stream.getvalue()
    assert printed.count("1,600,000") == 3 and "larger run: 400,000" in printed
