"""The number of queries at which one way to have a model becomes cheaper than another."""

import math
from dataclasses import dataclass

from nanojaxlm.economics.alternatives import Project, at_volume, costs
from nanojaxlm.economics.constants import Assumptions

MOST_QUERIES = 1e12  # a month
_POINTS = 121


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """From queries_per_month on `dearer_below` is the cheaper of the two; None: it never is, up to
    MOST_QUERIES. Below it, the other is."""

    dearer_below: str
    other: str
    queries_per_month: float | None


@dataclass(frozen=True, kw_only=True)
class VolumeCurve:
    """Totals over the years, in dollars, by queries a month."""

    queries_per_month: tuple[float, ...]
    totals: dict[str, tuple[float, ...]]


def break_even(project: Project, assumptions: Assumptions, one: str, other: str) -> BreakEven:
    """Where `one`, dear at first, meets `other`, which costs more a query.

    The difference need not be monotone, since least numbers of replicas make steps; the greatest
    volume at which it changes its sign is taken, so that the statement holds beyond it.
    """

    def difference(log_queries: float) -> float:
        found = costs(project, at_volume(assumptions, math.exp(log_queries)))
        return found[one].total() - found[other].total()

    top = math.log(MOST_QUERIES)
    grid = [top * i / (_POINTS - 1) for i in range(_POINTS)]
    values = [difference(x) for x in grid]
    if values[-1] >= 0:
        return BreakEven(dearer_below=one, other=other, queries_per_month=None)
    above = [i for i, value in enumerate(values) if value >= 0]
    if not above:
        return BreakEven(dearer_below=one, other=other, queries_per_month=0.0)
    low, high = grid[above[-1]], grid[above[-1] + 1]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if difference(middle) >= 0 else (low, middle)
    return BreakEven(dearer_below=one, other=other, queries_per_month=math.exp(high))


def volume_curve(
    project: Project, assumptions: Assumptions, least: float, most: float, points: int = 60
) -> VolumeCurve:
    """On a grid whose steps are equal ratios; least > 0."""
    grid = [least * (most / least) ** (i / (points - 1)) for i in range(points)]
    totals: dict[str, list[float]] = {}
    for queries in grid:
        for name, parts in costs(project, at_volume(assumptions, queries)).items():
            totals.setdefault(name, []).append(parts.total())
    return VolumeCurve(
        queries_per_month=tuple(grid),
        totals={name: tuple(values) for name, values in totals.items()},
    )
