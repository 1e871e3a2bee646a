"""What it costs to build a model, to fine-tune an open one, and to use an API, over years."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nanojaxlm.economics.compute import accelerator_hours
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.ownership import chip_hour
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.schedule import goodput
from nanojaxlm.economics.serving import HOURS_A_MONTH, Served, chips_to_serve

BUILD, TUNE, API = "build", "fine-tune", "api"
QUERIES = "use.queries_per_month"
_MILLION = 1e6
Values = Mapping[str, float]  # of constants, by name: Assumptions, or one draw of them


@dataclass(frozen=True, kw_only=True)
class Project:
    """What is weighed, fixed while the assumptions vary.

    flops: of the final run, 6ND-like. corpus_tokens: of one's own text, on which an open model is
    trained further where the use is domain-specific.
    """

    accelerator: str
    generation: str  # whose MFU counts
    chips: int
    flops: float
    model: Served
    corpus_tokens: float | None
    years: int
    buy: bool
    data_stays: bool
    domain_specific: bool
    no_open_model: bool

    def excluded(self) -> dict[str, str]:
        """What is no choice, and why."""
        reasons = {}
        if self.data_stays:
            reasons[API] = "the data must not leave the house"
        if self.no_open_model:
            reasons[TUNE] = "there is no open model to start from"
        return reasons


class Parts(NamedTuple):
    """once: dollars before the first day of use, by part. yearly: for each year of use, by part."""

    once: Mapping[str, float]
    yearly: tuple[Mapping[str, float], ...]

    def total(self, years: int | None = None) -> float:
        return sum(self.once.values()) + sum(sum(y.values()) for y in self.yearly[:years])

    def by_part(self) -> dict[str, float]:
        summed = dict(self.once)
        for year in self.yearly:
            for name, dollars in year.items():
                summed[name] = summed.get(name, 0.0) + dollars
        return summed


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """totals: dollars over 1, 2, ... years of use. excluded: why it is no choice, or None."""

    name: str
    excluded: str | None
    parts: dict[str, float]
    once: float
    totals: tuple[Range, ...]
    dollars_per_query: float | None


def final_run_hours(project: Project, assumptions: Values) -> float:
    """Chip-hours paid for, lost work included."""
    return _hours(project, assumptions, project.flops, project.chips)


def costs(project: Project, assumptions: Values) -> dict[str, Parts]:
    """Of all three, excluded or not, at the central values."""
    return {
        BUILD: _build(project, assumptions),
        TUNE: _tune(project, assumptions),
        API: _api(project, assumptions),
    }


def _build(project: Project, a: Values) -> Parts:
    run = final_run_hours(project, a) * _price(project, a)
    once = {
        "final run": run,
        "experiments": run * a["build.experiments"],
        "data": a["build.data_cost"],
        "staff until launch": _staff(a, "build"),
    }
    yearly = []
    for year in range(project.years):
        parts = _running(project, a, "build", project.model, year)
        parts["training again"] = run * a["build.refresh"] if year else 0.0
        yearly.append(parts)
    return Parts(once, tuple(yearly))


def _tune(project: Project, a: Values) -> Parts:
    base = Served(params=a["tune.base_params"], active_params=a["tune.base_params"])
    tokens = a["tune.tokens"]
    if project.domain_specific and project.corpus_tokens:
        tokens += project.corpus_tokens
    flops = 6.0 * base.active_params * tokens
    tuning = _hours(project, a, flops, 1) * _price(project, a)
    once = {
        "tuning": tuning,
        "experiments": tuning * a["tune.experiments"],
        "data": a["tune.data_cost"],
        "staff until launch": _staff(a, "tune"),
    }
    yearly = tuple(_running(project, a, "tune", base, year) for year in range(project.years))
    return Parts(once, yearly)


def _api(project: Project, a: Values) -> Parts:
    factor = a["api.tuned_factor"] if project.domain_specific else 1.0
    tokens = a["use.input_tokens"] * a["api.input_price"]
    tokens += a["use.output_tokens"] * a["api.output_price"]
    yearly = []
    for year in range(project.years):
        bill = 12 * _queries(a, year) * factor * tokens / _MILLION
        upkeep = a["api.upkeep_staff"] * a["staff.cost_per_year"]
        yearly.append({"tokens": bill, "upkeep": upkeep})
    return Parts({"staff until launch": _staff(a, "api")}, tuple(yearly))


def _running(project: Project, a: Values, kind: str, model: Served, year: int) -> dict:
    """A year of serving one's own model, and of the people who look after it."""
    chips = chips_to_serve(a, project.accelerator, model, _queries(a, year))
    return {
        "serving": 12 * HOURS_A_MONTH * chips * _price(project, a),
        "upkeep": a[f"{kind}.upkeep_staff"] * a["staff.cost_per_year"],
    }


def _hours(project: Project, a: Values, flops: float, chips: int) -> float:
    peak = a[f"{project.accelerator}.flops_per_second"]
    mfu = Range.exact(a[f"mfu.{project.generation}"])
    return accelerator_hours(flops, mfu, peak).central / goodput(a, chips)


def _price(project: Project, a: Values) -> float:
    return chip_hour(a, project.accelerator, project.buy)


def _staff(a: Values, kind: str) -> float:
    return a[f"{kind}.staff"] * a[f"{kind}.months"] / 12 * a["staff.cost_per_year"]


def _queries(a: Values, year: int) -> float:
    return a[QUERIES] * (1 + a["use.growth"]) ** year


def alternatives(project: Project, assumptions: Assumptions) -> tuple[Alternative, ...]:
    """All three with ranges.

    A range: each assumption alone goes to its low and its high end; the ratios that it raises the
    total by are put together as independent errors are, the root of the sum of the squares of their
    logarithms, and likewise those that lower it.
    """
    central = costs(project, assumptions)
    squares = {name: ([0.0] * project.years, [0.0] * project.years) for name in central}
    for changed in one_at_a_time(assumptions):
        for name, parts in costs(project, changed).items():
            for year in range(project.years):
                before, after = central[name].total(year + 1), parts.total(year + 1)
                if before > 0 and after > 0:
                    squares[name][after > before][year] += math.log(after / before) ** 2
    excluded = project.excluded()
    found = []
    for name, parts in central.items():
        totals = []
        for year in range(project.years):
            total, (down, up) = parts.total(year + 1), squares[name]
            low, high = math.exp(-math.sqrt(down[year])), math.exp(math.sqrt(up[year]))
            totals.append(Range(total * low, total, total * high))
        queries = sum(12 * _queries(assumptions, year) for year in range(project.years))
        found.append(
            Alternative(
                name=name,
                excluded=excluded.get(name),
                parts=parts.by_part(),
                once=sum(parts.once.values()),
                totals=tuple(totals),
                dollars_per_query=parts.total() / queries if queries else None,
            )
        )
    return tuple(found)


def one_at_a_time(assumptions: Assumptions):
    """The assumptions with one at an end of its range, for each that has one."""
    for row in assumptions.rows:
        for value in {row.low, row.high} - {row.value}:
            yield assumptions.at(row.name, value)


def cheapest(project: Project, assumptions: Values) -> str | None:
    """Of those that are a choice; None: there is none."""
    excluded = project.excluded()
    totals = {
        name: parts.total()
        for name, parts in costs(project, assumptions).items()
        if name not in excluded
    }
    return min(totals, key=lambda name: totals[name]) if totals else None


def at_volume(assumptions: Assumptions, queries_per_month: float) -> Assumptions:
    return assumptions.at(QUERIES, queries_per_month)
