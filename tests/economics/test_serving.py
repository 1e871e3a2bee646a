"""Chips that answer queries: bounds that any server obeys, and proportions."""

import pytest

from nanojaxlm.economics.serving import (
    Served,
    chip_seconds_per_query,
    chips_per_replica,
    chips_to_serve,
)
from nanojaxlm.economics.table import ASSUMPTIONS

SMALL, LARGE = (Served(params=n, active_params=n) for n in (8e9, 70e9))
MIXTURE = Served(params=47e9, active_params=13e9)


@pytest.mark.parametrize("model", [SMALL, LARGE, MIXTURE])
@pytest.mark.parametrize("chip", ["a100-80gb", "h100", "v5e"])
def test_no_query_takes_less_than_the_hardware_allows(model, chip):
    a = ASSUMPTIONS
    seconds = chip_seconds_per_query(a, chip, model)
    tokens = a["use.input_tokens"] + a["use.output_tokens"]
    assert seconds >= 2 * model.active_params * tokens / a[f"{chip}.flops_per_second"]
    alone = chip_seconds_per_query(a.at("serving.batch", 1), chip, model)
    reading = model.params * a["serving.bytes_per_param"] / a[f"{chip}.memory_bytes_per_second"]
    assert alone >= a["use.output_tokens"] * reading > 0


def test_replicas_hold_the_parameters():
    for model in (SMALL, LARGE, MIXTURE):
        chips = chips_per_replica(ASSUMPTIONS, "a100-80gb", model)
        assert chips * ASSUMPTIONS["a100-80gb.memory_bytes"] > 2 * model.params
    assert chips_per_replica(ASSUMPTIONS, "a100-80gb", SMALL) == 1
    assert chips_per_replica(ASSUMPTIONS, "a100-80gb", LARGE) == 3


def test_chips_grow_with_queries_and_never_fall_below_the_replicas():
    numbers = [chips_to_serve(ASSUMPTIONS, "h100", SMALL, q) for q in (0, 1, 1e5, 1e7, 1e9)]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0 and numbers[1] == ASSUMPTIONS["serving.min_replicas"]
    assert chips_to_serve(ASSUMPTIONS, "h100", SMALL, 2e9) == pytest.approx(2 * numbers[-1])
