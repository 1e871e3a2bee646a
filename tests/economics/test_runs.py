"""The published figures stand as published, and no run computes faster than its chips can."""

import pytest

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.economics.runs import HELD_OUT, MEASURED_MFU, POWER, PUBLISHED, Run

RUNS = (*PUBLISHED, *HELD_OUT)
BY_NAME = {run.name: run for run in RUNS}

ASKED = {  # (hours, tokens)
    "Llama 2 7B": (184_320, 2e12),
    "Llama 2 13B": (368_640, 2e12),
    "Llama 2 34B": (1_038_336, 2e12),
    "Llama 2 70B": (1_720_320, 2e12),
    "LLaMA 7B": (82_432, 1e12),
    "LLaMA 13B": (135_168, 1e12),
    "LLaMA 33B": (530_432, 1.4e12),
    "LLaMA 65B": (1_022_362, 1.4e12),
    "Llama 3 8B": (1.3e6, 15e12),
    "Llama 3 70B": (6.4e6, 15e12),
    "Llama 3.1 8B": (1.46e6, 15e12),
    "Llama 3.1 70B": (7.0e6, 15e12),
    "Llama 3.1 405B": (30.84e6, 15e12),
    "BLOOM 176B": (1_082_990, 366e9),
    "DeepSeek-V3": (2.788e6, 14.8e12),
    "TinyLlama 1.1B": (34_560, 3e12),
    "Pythia 1.0B": (4_830, 300e9),
}


def test_the_runs_to_be_checked_are_there_with_their_figures():
    assert {run.name: (run.hours, run.tokens) for run in PUBLISHED} == ASKED


def test_names_are_of_one_run():
    assert len(BY_NAME) == len(RUNS)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_is_possible(run: Run):
    assert run.active_params <= run.params
    most = run.hours * 3600 * CHIPS[run.chip].flops_per_second
    assert 0.1 < 6 * run.active_params * run.tokens / most < 0.6
    assert run.source and run.date


def test_the_mixtures_alone_have_parameters_that_rest():
    resting = {run.name for run in RUNS if run.active_params < run.params}
    assert resting == {"DeepSeek-V3", "JetMoE 8B"}


def test_outliers_are_those_that_take_much_longer_than_their_sibling():
    assert {run.name for run in RUNS if run.outlier} == {
        "Llama 3 8B", "Llama 3 70B", "Llama 3.1 8B", "Llama 3.1 70B"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "chips", "days"),
    [("TinyLlama 1.1B", 16, 90), ("MPT 7B", 440, 9.5), ("SmolLM3 3B", 384, 24),
     ("BloombergGPT 50B", 512, 53)],
)  # fmt: skip
def test_hours_of_chips_and_days_are_their_product(name: str, chips: int, days: float):
    assert BY_NAME[name].hours == chips * days * 24


def test_measured_steps_and_power_are_of_known_chips():
    for steps in MEASURED_MFU:
        assert steps.chip in CHIPS
        assert 0.2 < steps.mfu < 0.8
    for power in POWER:
        kilowatts = power.kwh / power.hours / power.pue
        assert power.chip in CHIPS
        assert 0.1 < kilowatts < 1
