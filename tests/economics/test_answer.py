"""Whole answers: figures that agree with each other, and that move as they should."""

import json
import math

import pytest

from nanojaxlm.economics.answer import answer
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.errors import UserError

KNOWN = {"params": 6.74e9, "tokens": 2e12, "accelerator": "a100-80gb"}


def of(assumptions=ASSUMPTIONS, **given):
    return answer(Question(**(KNOWN | given)), assumptions)


def test_llama_2_7b_takes_the_hours_that_it_took():
    hours = of().accelerator_hours
    assert 184_320 in hours
    assert hours.central == pytest.approx(184_320, rel=0.15)


def test_figures_agree_with_each_other():
    found = of(queries_per_month=1e6, chips=128)
    assert found.flops.six_nd == pytest.approx(6 * 6.74e9 * 2e12)
    paid = found.accelerator_hours.central / found.wall.goodput
    assert found.wall.days.central * 24 * 128 == pytest.approx(paid)
    assert found.cloud_dollars.central == pytest.approx(paid * found.price_per_chip_hour)
    run = next(one for one in found.alternatives if one.name == "build").parts["final run"]
    assert run == pytest.approx(found.cloud_dollars.central)
    assert found.energy.kwh == pytest.approx(found.energy.mean_kilowatts / 128 * paid, rel=1e-9)
    memory = found.memory
    assert memory.peak_bytes <= memory.usable_bytes
    assert memory.smallest_chips <= memory.chips == 128
    assert sum(memory.parts.values()) == pytest.approx(memory.peak_bytes)


@pytest.mark.parametrize(
    ("name", "values"), [("params", (1e9, 3e9, 7e9, 13e9)), ("tokens", (1e11, 1e12, 1e13))]
)
def test_hours_cost_and_energy_rise_with_size_and_tokens(name, values):
    found = [of(chips=64, **{name: value}) for value in values]
    for figure in (
        lambda x: x.accelerator_hours.central,
        lambda x: x.accelerator_hours.low,
        lambda x: x.cloud_dollars.central,
        lambda x: x.energy.kwh,
        lambda x: x.wall.days.central,
        lambda x: x.alternatives[0].totals[-1].central,
    ):
        series = [figure(one) for one in found]
        assert series == sorted(series) and series[0] < series[-1]
    losses = [one.loss.central for one in found]
    assert losses == sorted(losses, reverse=True)


def test_hours_are_linear_in_tokens_and_in_parameters():
    base = of().accelerator_hours.central
    assert of(tokens=4e12).accelerator_hours.central == pytest.approx(2 * base)
    assert of(params=13.48e9).accelerator_hours.central == pytest.approx(2 * base)


def test_cost_rises_with_the_price_and_hours_do_not():
    dearer = of(ASSUMPTIONS.at("a100-80gb.price_per_hour", 4.0))
    assert dearer.cloud_dollars.central > of().cloud_dollars.central
    assert dearer.accelerator_hours == of().accelerator_hours


def test_a_mixture_pays_flops_for_active_and_memory_for_all_parameters():
    dense = of(params=13e9, tokens=1e12)
    mixture = of(params=47e9, active_params=13e9, tokens=1e12)
    assert mixture.accelerator_hours.central == pytest.approx(dense.accelerator_hours.central)
    assert mixture.memory.smallest_chips > dense.memory.smallest_chips


def test_more_chips_take_less_time_and_more_is_lost():
    few, many = of(chips=64), of(chips=4096)
    assert many.wall.days.central < few.wall.days.central
    assert many.wall.goodput < few.wall.goodput
    assert many.cloud_dollars.central > few.cloud_dollars.central


def test_chips_are_chosen_so_that_the_days_are_kept():
    for days in (5.0, 20.0, 100.0):
        found = of(days=days)
        assert found.wall.days.central <= days
        assert (
            found.chips == found.memory.smallest_chips
            or of(chips=found.chips // 2).wall.days.central > days
        )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"chips": 1}, "do not fit on --chips=1 a100-80gb.*fit from 4 on"),
        ({"params": 23.3e9, "chips": 638}, "split evenly over so many: take 512 or 1024"),
        ({"accelerator": "v5e", "buy": True}, "v5e is not for sale"),
        ({"accelerator": "z80"}, "--accelerator=z80 is not known; choose one of"),
        ({"days": 0.001}, "are not done in --days=0.001"),
    ],
)
def test_impossible_combinations_are_told(given, words):
    with pytest.raises(UserError, match=words):
        of(**given)


def test_a_budget_too_small_for_what_is_asked_is_a_caveat():
    short = of(budget=1e4)
    assert any("times what there is" in words for words in short.verdict.caveats)
    assert not any("times what there is" in words for words in of(budget=1e7).verdict.caveats)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"queries_per_month": 1e6},
        {"params": 1e6, "tokens": 1e8, "accelerator": "v5e"},
        {"params": 1e12, "tokens": 1e12, "accelerator": "h100"},
        {"data_stays": True, "no_open_model": True, "domain_specific": True},
        {"corpus_tokens": 1e9, "buy": True, "years": 1},
    ],
)
def test_every_figure_is_a_number_that_json_knows(given):
    text = json.dumps(of(**given).plain(), allow_nan=False)
    assert math.isfinite(json.loads(text)["accelerator_hours"]["central"])


def test_buying_uses_the_price_of_ones_own_machines():
    rented, bought = of(), of(buy=True)
    own = bought.ownership.dollars_per_chip_hour
    run = bought.alternatives[0].parts["final run"]
    paid = bought.accelerator_hours.central / bought.wall.goodput
    assert run == pytest.approx(paid * own)
    assert rented.alternatives[0].parts["final run"] != pytest.approx(run)


def test_a_loss_far_from_what_the_law_was_fitted_to_is_not_compared():
    toy, usual = of(params=1e6, tokens=1e8), of()
    assert any("mean little" in words for words in toy.verdict.caveats)
    assert not any("open model of" in words for words in toy.verdict.caveats)
    assert any("open model of" in words for words in usual.verdict.caveats)


def test_rows_of_a_given_length_are_counted_exactly():
    short, long = of(sequence_length=4096), of(sequence_length=131_072)
    assert long.accelerator_hours.central > 3 * short.accelerator_hours.central
    ratio = ASSUMPTIONS["mfu.exact_over_6nd"]
    for found in (short, long):
        assert found.flops.counted == pytest.approx(found.flops.exact / ratio)


def test_what_building_saves_is_against_the_cheapest_that_is_left(answered):
    found = answered("llama")
    built, tuned, bought = (one.totals[-1].central for one in found.alternatives)
    assert found.saved_by_building == pytest.approx(min(tuned, bought) - built)
    alone = answered("only build")
    assert alone.saved_by_building == -alone.alternatives[0].totals[-1].central
