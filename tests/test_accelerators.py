"""The table of chips hangs together; peak speed is from it, measured on a CPU, or unknown."""

from types import SimpleNamespace

import jax
import pytest

from nanojaxlm.accelerators import CHIPS, CPU, chip_of, peak_flops_per_second

KINDS = {kind: chip for chip in CHIPS.values() for kind in chip.device_kinds}


def device(kind: str) -> SimpleNamespace:
    return SimpleNamespace(platform="gpu", device_kind=kind)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_peak_of_known_devices_adds_up(kind: str):
    assert peak_flops_per_second([device(kind)] * 4) == 4 * KINDS[kind].flops_per_second


def test_an_unknown_device_has_no_peak_rather_than_a_guess():
    assert peak_flops_per_second([device("Abacus 3000")]) is None
    assert chip_of("Abacus 3000") is None


@pytest.mark.parametrize("count", [1, 8])
def test_a_cpu_is_measured(count: int):
    peak = peak_flops_per_second(jax.devices("cpu")[:count])
    assert peak is not None
    assert 1e9 < peak < 1e14  # from a weak core to any machine there is


def test_the_machine_that_tests_run_on_has_a_row():
    assert chip_of(jax.devices()[0].device_kind) is CPU


@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: chip.name)
def test_every_level_is_slower_than_the_one_within(chip):
    """memory > links > network; else a figure has slipped by a power of ten."""
    links = chip.link_bytes_per_second * max(1, 2 * chip.torus)
    assert chip.memory_bytes_per_second > links > chip.network_bytes_per_second
    # a product of square matrices of bfloat16 becomes bound by compute between these sizes
    assert 100 < chip.flops_per_second / chip.memory_bytes_per_second < 700
    assert 0.7 * chip.memory_bytes < chip.usable_bytes < 1.01 * chip.memory_bytes
    assert "read" in chip.source or "sheet" in chip.source
