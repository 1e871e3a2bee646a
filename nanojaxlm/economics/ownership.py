"""Machines bought and run, against machines rented."""

from collections.abc import Mapping
from dataclasses import dataclass

from nanojaxlm.economics.energy import kilowatts

HOURS_A_YEAR = 8766.0


@dataclass(frozen=True, kw_only=True)
class Ownership:
    """Of so many chips, bought. Per chip-hour: of an hour in which the chip works.

    break_even_utilisation: the part of its time that a chip must work for buying to cost no more
    than renting; more than 1, or None where even its electricity costs more than rent: renting is
    cheaper however much it works. parts: dollars a year.
    """

    chips: int
    capital: float
    parts: dict[str, float]
    dollars_per_chip_hour: float
    rent_per_chip_hour: float
    break_even_utilisation: float | None

    @property
    def dollars_per_year(self) -> float:
        return sum(self.parts.values())


def owned_price(assumptions: Mapping[str, float], accelerator: str) -> float:
    """Dollars a chip-hour of work, of a chip of one's own."""
    busy_hours = HOURS_A_YEAR * assumptions["owned.utilisation"]
    return _fixed(assumptions, accelerator) / busy_hours + _power(assumptions, accelerator)


def ownership(assumptions: Mapping[str, float], accelerator: str, chips: int) -> Ownership | None:
    """None where the chip is not for sale."""
    if not for_sale(assumptions, accelerator):
        return None
    a, rent = assumptions, assumptions[f"{accelerator}.price_per_hour"]
    busy_hours = HOURS_A_YEAR * a["owned.utilisation"]
    parts = {name: chips * each for name, each in _yearly(a, accelerator).items()}
    parts["electricity and cooling"] = chips * busy_hours * _power(a, accelerator)
    saved = rent - _power(a, accelerator)
    fixed = _fixed(a, accelerator)
    return Ownership(
        chips=chips,
        capital=chips * a[f"{accelerator}.capital"],
        parts=parts,
        dollars_per_chip_hour=owned_price(a, accelerator),
        rent_per_chip_hour=rent,
        break_even_utilisation=fixed / (HOURS_A_YEAR * saved) if saved > 0 else None,
    )


def for_sale(assumptions: Mapping[str, float], accelerator: str) -> bool:
    return f"{accelerator}.capital" in assumptions


def chip_hour(assumptions: Mapping[str, float], accelerator: str, buy: bool) -> float:
    """Dollars of an hour of one chip, bought or rented."""
    if buy:
        return owned_price(assumptions, accelerator)
    return assumptions[f"{accelerator}.price_per_hour"]


def _fixed(assumptions: Mapping[str, float], accelerator: str) -> float:
    return sum(_yearly(assumptions, accelerator).values())


def _yearly(assumptions: Mapping[str, float], accelerator: str) -> dict[str, float]:
    """Dollars a year and chip, whether it works or not."""
    a, capital = assumptions, assumptions[f"{accelerator}.capital"]
    rack_kilowatts = a[f"{accelerator}.watts"] * a["power.server_overhead"] / 1000
    return {
        "depreciation": capital * (1 - a["owned.residual"]) / a["owned.years"],
        "maintenance": capital * a["owned.maintenance"],
        "colocation": rack_kilowatts * a["owned.colocation_per_kw_month"] * 12,
        "staff": a["owned.staff"] * a["staff.cost_per_year"],
    }


def _power(assumptions: Mapping[str, float], accelerator: str) -> float:
    """Dollars of electricity an hour of work."""
    return kilowatts(assumptions, accelerator) * assumptions["electricity.price_per_kwh"]
