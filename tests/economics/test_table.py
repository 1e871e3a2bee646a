"""Every constant has a range, a unit, a source and a date; none has slipped by a power of ten."""

import re

import pytest

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.economics.constants import Constant
from nanojaxlm.economics.table import ASSUMPTIONS, GENERATION, ROWS

GPUS = [key for key, generation in GENERATION.items() if generation not in ("tpu", "cpu")]
NEEDED = {
    "mfu.ampere", "mfu.hopper", "mfu.blackwell", "mfu.tpu", "mfu.exact_over_6nd",
    "failure.chip_hours", "failure.restart_hours", "checkpoint.seconds",
    "electricity.price_per_kwh", "power.pue", "power.server_overhead", "power.utilisation",
    "carbon.kg_per_kwh", "owned.years", "owned.residual", "owned.utilisation",
    "owned.maintenance", "owned.colocation_per_kw_month", "owned.staff", "staff.cost_per_year",
    "build.staff", "build.months", "build.experiments", "build.data_cost", "build.refresh",
    "build.upkeep_staff", "tune.staff", "tune.months", "tune.upkeep_staff", "tune.tokens",
    "tune.base_params", "tune.experiments", "tune.data_cost", "api.staff", "api.months",
    "api.upkeep_staff", "api.input_price", "api.output_price", "api.tuned_factor",
    "use.input_tokens", "use.output_tokens", "use.growth", "serving.utilisation", "serving.batch",
    "serving.prefill_mfu", "serving.bandwidth_utilisation", "serving.min_replicas",
    "serving.bytes_per_param", "token.bytes", "data.max_epochs", "data.yield",
}  # fmt: skip


def test_no_two_rows_have_one_name():
    assert len(ROWS) == len(ASSUMPTIONS)


def test_what_the_planner_reads_is_there():
    assert set(ASSUMPTIONS) >= NEEDED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_complete(row: Constant):
    assert row.low <= row.value <= row.high
    assert row.low >= 0
    assert row.unit and row.what and row.source
    assert re.fullmatch(r"20\d\d(-(0[1-9]|1[0-2]))?", row.date)
    assert row.date <= "2026-11"
    assert not row.overridden


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_source_is_a_publication_or_says_that_it_is_an_estimate(row: Constant):
    named = r"estimate|rough|read 2026|from memory|economics/|sheet|20\d\d|bits"
    assert re.search(named, row.source), row.source


@pytest.mark.parametrize("row", [r for r in ROWS if r.unit.startswith("fraction")],
                         ids=lambda row: row.name)  # fmt: skip
def test_a_fraction_is_one(row: Constant):
    assert row.high <= 1


def test_every_chip_has_a_generation_and_that_an_mfu():
    assert set(GENERATION) == {*CHIPS, "cpu"}
    assert {f"mfu.{generation}" for generation in GENERATION.values()} <= set(ASSUMPTIONS)


@pytest.mark.parametrize("chip", CHIPS)
def test_a_chip_has_its_figures_and_its_price(chip: str):
    assert ASSUMPTIONS[f"{chip}.flops_per_second"] == CHIPS[chip].flops_per_second
    assert ASSUMPTIONS[f"{chip}.memory_bytes"] == CHIPS[chip].memory_bytes
    assert ASSUMPTIONS[f"{chip}.memory_bytes_per_second"] == CHIPS[chip].memory_bytes_per_second
    assert 0.3 < ASSUMPTIONS[f"{chip}.price_per_hour"] < 15
    assert 100 < ASSUMPTIONS[f"{chip}.watts"] < 1500


def test_gpus_are_for_sale_and_tpus_are_not():
    sold = {name.removesuffix(".capital") for name in ASSUMPTIONS if name.endswith(".capital")}
    assert sold == set(GPUS)


@pytest.mark.parametrize("chip", GPUS)
def test_a_chip_is_bought_for_the_hire_of_months_not_of_days_or_decades(chip: str):
    years = ASSUMPTIONS[f"{chip}.capital"] / ASSUMPTIONS[f"{chip}.price_per_hour"] / 8766
    assert 0.5 < years < 3


@pytest.mark.parametrize("what", ["price_per_hour", "capital", "watts", "flops_per_second"])
def test_a_newer_gpu_has_no_less_of_anything(what: str):
    ages = ["a100-40gb", "a100-80gb", "h100", "h200", "b200"]
    values = [ASSUMPTIONS[f"{chip}.{what}"] for chip in ages]
    assert values == sorted(values)


@pytest.mark.parametrize("older, newer", [("v4", "v5p"), ("v5p", "v6e"), ("a100-80gb", "h100")])
def test_a_newer_chip_gives_more_for_a_dollar(older: str, newer: str):
    def flops_a_dollar(chip: str) -> float:
        return ASSUMPTIONS[f"{chip}.flops_per_second"] / ASSUMPTIONS[f"{chip}.price_per_hour"]

    assert flops_a_dollar(newer) > flops_a_dollar(older)


def test_input_is_cheaper_than_output():
    for end in ("low", "value", "high"):
        rows = ASSUMPTIONS.constant("api.input_price"), ASSUMPTIONS.constant("api.output_price")
        assert getattr(rows[0], end) < getattr(rows[1], end)


def test_llama_3s_interruptions_are_counted_right():
    assert ASSUMPTIONS["failure.chip_hours"] == pytest.approx(16_384 * 54 * 24 / 419, rel=1e-4)
