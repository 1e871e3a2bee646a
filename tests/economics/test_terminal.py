"""The terminal's summary: the verdict first, whole figures at 80 columns, short enough to read."""

import io

import pytest
from rich.console import Console

from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.economics.terminal import show, show_constants
from nanojaxlm.economics.verdict import quantity

WIDTH = 80


def printed(write, subject, width: int = WIDTH) -> str:
    out = io.StringIO()
    write(subject, Console(file=out, width=width))
    return out.getvalue()


@pytest.fixture(scope="module")
def text(found) -> str:
    return printed(show, found)


def test_the_verdict_comes_first(text, found):
    assert " ".join(text[:400].split()).startswith(found.verdict.headline)


def test_nothing_is_cut_off(text):
    assert "…" not in text
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_it_is_short(text):
    assert len(text.splitlines()) <= 80


def test_it_ends_with_how_to_have_the_rest(text):
    assert "--json" in text[-200:]
    assert "--html=" in text[-200:]


def test_its_figures_are_whole_and_those_of_the_answer(text, found):
    hours, swings = found.accelerator_hours, found.tornado[:3]
    for figure in (
        f"{amount(hours.central)} ({amount(hours.low)} to {amount(hours.high)})",
        *(money(one.totals[-1].central) for one in found.alternatives),
        *(money(one.once) for one in found.alternatives),
        *(f"{one.loss:.3f}" for one in found.choices),
        *(swing.name for swing in swings),
        *(money(swing.at_high) for swing in swings),
        f"{found.memory.smallest_peak_bytes / 2**30:,.2f} GiB",
    ):
        assert figure in text


def test_what_is_out_is_marked(answered):
    assert "API (out)" in printed(show, answered("only build"))


def test_it_fits_a_narrow_terminal(found):
    assert all(len(line) <= 60 for line in printed(show, found, width=60).splitlines())


def test_every_constant_is_listed():
    text = printed(lambda rows, console: show_constants(rows, console), ASSUMPTIONS, width=200)
    for row in ASSUMPTIONS.rows:
        assert row.name in text
        assert quantity(row.value, row.unit) in text
