"""Buying against renting."""

import pytest

from nanojaxlm.economics.ownership import chip_hour, owned_price, ownership
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.table import ASSUMPTIONS


def test_parts_add_up_to_the_price_of_an_hour():
    found = ownership(ASSUMPTIONS, "h100", 64)
    hours = 64 * 8766 * ASSUMPTIONS["owned.utilisation"]
    assert found.dollars_per_year / hours == pytest.approx(found.dollars_per_chip_hour)
    assert found.dollars_per_chip_hour == owned_price(ASSUMPTIONS, "h100")
    assert found.capital == 64 * ASSUMPTIONS["h100.capital"]


def test_at_the_break_even_utilisation_both_cost_the_same():
    found = ownership(ASSUMPTIONS, "a100-80gb", 8)
    at = found.break_even_utilisation
    a = ASSUMPTIONS.at("owned.utilisation", at)
    assert owned_price(a, "a100-80gb") == pytest.approx(a["a100-80gb.price_per_hour"])


def test_dearer_rent_lowers_the_break_even_and_dearer_power_raises_it():
    def utilisation(a):
        return ownership(a, "h100", 8).break_even_utilisation

    now = utilisation(ASSUMPTIONS)
    assert utilisation(ASSUMPTIONS.at("h100.price_per_hour", 6.0)) < now
    assert utilisation(ASSUMPTIONS.at("electricity.price_per_kwh", 0.4)) > now
    free = ASSUMPTIONS.overriding("h100.price_per_hour", Range.exact(0.01))
    assert utilisation(free) is None  # not even the electricity


def test_what_is_not_for_sale_can_only_be_rented():
    assert ownership(ASSUMPTIONS, "v5e", 256) is None
    assert chip_hour(ASSUMPTIONS, "v5e", buy=False) == ASSUMPTIONS["v5e.price_per_hour"]
