"""Peak speed: from the table where a device is known, measured on a CPU, else unknown."""

from types import SimpleNamespace

import jax
import pytest

from nanojaxlm.accelerators import PEAK_FLOPS_PER_SECOND, peak_flops_per_second


def device(kind: str) -> SimpleNamespace:
    return SimpleNamespace(platform="gpu", device_kind=kind)


@pytest.mark.parametrize("kind", sorted(PEAK_FLOPS_PER_SECOND))
def test_the_peak_of_known_devices_adds_up(kind: str):
    assert peak_flops_per_second([device(kind)] * 4) == 4 * PEAK_FLOPS_PER_SECOND[kind]


def test_an_unknown_device_has_no_peak_rather_than_a_guess():
    assert peak_flops_per_second([device("Abacus 3000")]) is None


@pytest.mark.parametrize("count", [1, 8])
def test_a_cpu_is_measured(count: int):
    peak = peak_flops_per_second(jax.devices("cpu")[:count])
    assert peak is not None
    assert 1e9 < peak < 1e14  # from a weak core to any machine there is
