"""Energy against what published runs state."""

import pytest

from nanojaxlm.economics.energy import energy, kilowatts
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.table import ASSUMPTIONS


def at_board_power(pue):
    """As papers count: all of the board's power, nothing of the server."""
    a = ASSUMPTIONS
    for name, value in (
        ("power.utilisation", 1.0),
        ("power.server_overhead", 1.0),
        ("power.pue", pue),
    ):
        a = a.overriding(name, Range.exact(value))
    return a


@pytest.mark.parametrize(
    ("hours", "pue", "megawatt_hours"),
    [(1_022_362, 1.1, 449), (82_432, 1.1, 36)],  # LLaMA 65B and 7B, Touvron et al. 2023, table 15
)
def test_llama_1_is_reproduced(hours, pue, megawatt_hours):
    found = energy(at_board_power(pue), "a100-80gb", hours, 2048)
    assert found.kwh / 1000 == pytest.approx(megawatt_hours, rel=0.02)


def test_bloom_is_reproduced_in_kwh_and_in_tonnes():
    """433 MWh, 24.7 t at 57 g a kWh (Luccioni et al. 2023, table 3); PUE not counted there."""
    a = at_board_power(1.0).overriding("carbon.kg_per_kwh", Range.exact(0.057))
    found = energy(a, "a100-80gb", 1_082_990, 384)
    assert found.kwh / 1000 == pytest.approx(433, rel=0.01)
    assert found.co2e_kg / 1000 == pytest.approx(24.7, rel=0.01)


def test_it_is_proportional_to_hours_and_costs_what_the_kwh_costs():
    one, two = (energy(ASSUMPTIONS, "h100", hours, 8) for hours in (1e4, 2e4))
    assert two.kwh == pytest.approx(2 * one.kwh)
    assert one.dollars == pytest.approx(one.kwh * ASSUMPTIONS["electricity.price_per_kwh"])
    assert one.mean_kilowatts == pytest.approx(8 * kilowatts(ASSUMPTIONS, "h100"))
