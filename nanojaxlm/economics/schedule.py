"""Wall time of a run on many chips, with what failures and saving cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nanojaxlm.economics.compute import SECONDS_AN_HOUR
from nanojaxlm.economics.ranges import Range

HOURS_A_DAY = 24.0


@dataclass(frozen=True, kw_only=True)
class WallTime:
    """goodput: the part of the time in which steps are done that count."""

    days: Range
    goodput: float
    hours_between_failures: float
    failures: float  # that the run will meet, in the mean
    checkpoint_minutes: float  # between saves, where least is lost


def goodput(assumptions: Mapping[str, float], chips: int) -> float:
    """1 / (1 + what is lost an hour of work): saving, and after a failure the work since the last
    save and a restart.

    With M hours between failures and saves of d hours each, saving every sqrt(2 d M) hours loses
    least (Young 1974); then d / interval + (interval / 2 + restart) / M is lost.
    """
    between = assumptions["failure.chip_hours"] / chips
    save = assumptions["checkpoint.seconds"] / SECONDS_AN_HOUR
    restart = assumptions["failure.restart_hours"]
    interval = _interval(save, between)
    lost = (save / interval if interval else 0.0) + (interval / 2 + restart) / between
    return 1 / (1 + lost)


def wall_time(assumptions: Mapping[str, float], hours: Range, chips: int) -> WallTime:
    """hours: of all chips, of work that counts."""
    part = goodput(assumptions, chips)
    between = assumptions["failure.chip_hours"] / chips
    interval = _interval(assumptions["checkpoint.seconds"] / SECONDS_AN_HOUR, between)
    days = hours * (1 / (chips * part * HOURS_A_DAY))
    return WallTime(
        days=days,
        goodput=part,
        hours_between_failures=between,
        failures=days.central * HOURS_A_DAY / between,
        checkpoint_minutes=60 * interval,
    )


def _interval(save_hours: float, between_hours: float) -> float:
    return math.sqrt(2 * save_hours * between_hours)
