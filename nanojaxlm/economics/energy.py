"""Electricity and CO2e of accelerator-hours."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Of the final run, the data centre's cooling included; experiments come on top."""

    kwh: float
    dollars: float  # which a cloud's price includes
    co2e_kg: float  # of the electricity; making the machines is not counted
    mean_kilowatts: float


def kilowatts(assumptions: Mapping[str, float], accelerator: str) -> float:
    """Mean draw of one chip at work, with its share of the server and of the cooling."""
    return (
        assumptions[f"{accelerator}.watts"]
        * assumptions["power.utilisation"]
        * assumptions["power.server_overhead"]
        * assumptions["power.pue"]
        / 1000
    )


def energy(assumptions: Mapping[str, float], accelerator: str, hours: float, chips: int) -> Energy:
    """hours: of all chips together, lost work included."""
    each = kilowatts(assumptions, accelerator)
    kwh = hours * each
    return Energy(
        kwh=kwh,
        dollars=kwh * assumptions["electricity.price_per_kwh"],
        co2e_kg=kwh * assumptions["carbon.kg_per_kwh"],
        mean_kilowatts=each * chips,
    )
