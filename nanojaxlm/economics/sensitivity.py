"""Which assumptions matter, and which of them would turn the verdict around."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nanojaxlm.economics.alternatives import Project, cheapest, costs
from nanojaxlm.economics.constants import FRACTION, Assumptions, Constant

BEYOND = 10.0  # times its value, up and down, that an assumption is tried within


@dataclass(frozen=True, kw_only=True)
class Swing:
    """A bar of the tornado: the dollars at the low and at the high end of one assumption."""

    name: str
    what: str
    unit: str
    low: float
    value: float
    high: float
    at_low: float
    at_high: float

    @property
    def size(self) -> float:
        return abs(self.at_high - self.at_low)


@dataclass(frozen=True, kw_only=True)
class Flip:
    """With the assumption at `at`, or further from `value`, the cheapest is `to`. plausible: `at`
    lies within the assumption's own range."""

    name: str
    what: str
    unit: str
    value: float
    at: float
    to: str
    plausible: bool


def tornado(
    assumptions: Assumptions, dollars: Callable[[Assumptions], float], most: int = 12
) -> tuple[Swing, ...]:
    """The assumptions that move `dollars` most, the greatest first."""
    central = dollars(assumptions)
    swings = []
    for row in assumptions.rows:
        if row.low == row.high:
            continue
        at_low = dollars(assumptions.at(row.name, row.low)) if row.low != row.value else central
        at_high = dollars(assumptions.at(row.name, row.high)) if row.high != row.value else central
        swings.append(
            Swing(
                name=row.name,
                what=row.what,
                unit=row.unit,
                low=row.low,
                value=row.value,
                high=row.high,
                at_low=at_low,
                at_high=at_high,
            )
        )
    swings = [swing for swing in swings if swing.size > 1e-6 * max(1.0, abs(central))]
    return tuple(sorted(swings, key=lambda swing: -swing.size)[:most])


def flips(project: Project, assumptions: Assumptions) -> tuple[Flip, ...]:
    """Each assumption that, alone, makes another choice the cheapest; nearest to its value first.

    Fractions are tried from 0 to 1, all else from a tenth of the value to ten times it.
    """
    now = cheapest(project, assumptions)
    found = []
    for row in assumptions.rows:
        tried = [_flip(project, assumptions, row, end, now) for end in _ends(row)]
        found += [flip for flip in tried if flip is not None]
    return tuple(sorted(found, key=_distance))


def odds(
    project: Project, assumptions: Assumptions, draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """How often each way is the cheapest, all assumptions drawn anew and independently each time.

    A draw is triangular, its peak at the value and its ends at low and high; by ratio rather than
    by difference where low is above 0.
    """
    generator = np.random.default_rng(seed)
    rows = [row for row in assumptions.rows if row.low < row.high]
    places = generator.triangular(-1.0, 0.0, 1.0, (draws, len(rows)))
    wins: dict[str, int] = {}
    for drawn in places:
        values = dict(assumptions)
        for row, place in zip(rows, drawn, strict=True):
            values[row.name] = _between(row, float(place))
        best = cheapest(project, values)
        if best is not None:
            wins[best] = wins.get(best, 0) + 1
    return {name: number / draws for name, number in wins.items()}


def _between(row: Constant, place: float) -> float:
    """-1: low; 0: the value; 1: high."""
    end = row.low if place < 0 else row.high
    if row.low > 0:
        return row.value * (end / row.value) ** abs(place)
    return row.value + (end - row.value) * abs(place)


def other_than(project: Project, assumptions: Assumptions, name: str) -> float:
    """The dollars by which a way is cheaper than the cheapest other that is a choice; where there
    is none, what it costs, as a loss."""
    totals = {key: parts.total() for key, parts in costs(project, assumptions).items()}
    others = [total for key, total in totals.items() if key not in {name, *project.excluded()}]
    return (min(others) if others else 0.0) - totals[name]


def _ends(row: Constant) -> tuple[float, ...]:
    if row.value == 0:
        return (row.high,) if row.high else ()
    least, most = row.value / BEYOND, row.value * BEYOND
    if row.unit.startswith(FRACTION):
        most = min(1.0, most)
    return tuple(end for end in (least, most) if end != row.value)


def _flip(
    project: Project, assumptions: Assumptions, row: Constant, end: float, now: str | None
) -> Flip | None:
    """Bisects from the value to where the choice changes first seen from `end`."""
    if cheapest(project, assumptions.at(row.name, end)) == now:
        return None
    kept, changed = row.value, end
    for _ in range(50):
        middle = math.sqrt(kept * changed) if kept > 0 and changed > 0 else (kept + changed) / 2
        if cheapest(project, assumptions.at(row.name, middle)) == now:
            kept = middle
        else:
            changed = middle
    to = cheapest(project, assumptions.at(row.name, changed))
    assert to is not None
    return Flip(
        name=row.name, what=row.what, unit=row.unit, value=row.value, at=changed, to=to,
        plausible=row.low <= changed <= row.high,
    )  # fmt: skip


def _distance(flip: Flip) -> tuple[bool, float]:
    """Plausible ones first, then by the ratio that it takes."""
    if flip.value <= 0 or flip.at <= 0:
        return (not flip.plausible, math.inf)
    return (not flip.plausible, abs(math.log(flip.at / flip.value)))
