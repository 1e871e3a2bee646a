"""Figures as text keep their value and their unit, and the command asks for the same."""

import shlex

import pytest

from nanojaxlm.economics.numbers import parse_number
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.wording import (
    between,
    buying_pays,
    command,
    memory,
    scientific,
    shown_years,
    spread,
    volume,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (spread(Range(131e3, 167e3, 360e3)), "167k (131k to 360k)"),
        (spread(Range.exact(5.0)), "5"),
        (scientific(8.088e22), "8.09e22"),
        (scientific(6e8), "6.00e8"),
        (volume(8.4e12), "8.4 TB"),
        (volume(420e6), "420 MB"),
        (volume(12), "12 bytes"),
        (memory(1.5 * 2**30), "1.50 GiB"),
        (memory(2**18), "0.25 MiB"),
        (memory(0), "0 MiB"),
        (between(3, 20, "full-time people"), "3 to 20 full-time people"),
        (between(0.86, 4.1, "$/chip-hour"), "$0.86 to $4.10/chip-hour"),
        (between(0.2, 0.55, "fraction"), "20% to 55%"),
        (between(7, 7, "W"), "exact"),
    ],
)
def test_a_figure_as_text(text, shown):
    assert text == shown


def test_of_many_years_some_are_shown():
    assert shown_years(1) == [1]
    assert shown_years(4) == [1, 2, 3, 4]
    assert shown_years(10) == [1, 2, 3, 5, 10]


def test_buying_pays_from_the_break_even_on(answered):
    own = answered("llama").ownership
    assert f"{100 * own.break_even_utilisation:.3g}% of the time" in buying_pays(own)
    assert buying_pays(answered("dear").ownership).startswith("never")


def test_the_command_has_every_flag_of_the_question(found):
    python, m, module, *flags = shlex.split(command(found))
    assert (python, m, module) == ("python", "-m", "nanojaxlm.plan")
    given = {name: value for name, _, value in (flag[2:].partition("=") for flag in flags)}
    for name, value in found.question.items():
        flag = {"queries_per_month": "queries"}.get(name, name)
        if name == "corpus_tokens":
            assert name not in given  # they are counted again
        elif isinstance(value, bool):
            assert (flag in given) == value
        elif isinstance(value, (int, float)) and flag in given:
            assert parse_number(flag, given[flag]) == value
        elif name not in ("years", "queries_per_month", "accelerator"):
            assert (flag in given) == (value is not None)


def test_the_command_sets_what_was_set_and_names_the_run(answered):
    assert "--set=electricity.price_per_kwh=50:100:200" in shlex.split(command(answered("dear")))
    (measured,) = [f for f in shlex.split(command(answered("measured"))) if "--measured" in f]
    assert measured == f"--measured={answered('measured').measured.workdir}"
