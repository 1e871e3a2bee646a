"""What a budget in dollars or days buys: chip-hours and FLOPs, experiments and lost work paid."""

import math
from dataclasses import dataclass

from nanojaxlm.economics.compute import SECONDS_AN_HOUR
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.ownership import chip_hour
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.schedule import HOURS_A_DAY, goodput
from nanojaxlm.errors import UserError

LEAST_FLOPS = 1e12  # of a model of a hundred thousand parameters on a million tokens


@dataclass(frozen=True, kw_only=True)
class Means:
    """flops: that the final run may take; inf: no bound is known. why: in words."""

    flops: float
    why: str


def means(question: Question, assumptions: Assumptions, generation: str) -> Means:
    """The tighter of budget and days.

    The budget pays for all accelerator time, so that 1 + build.experiments runs' worth is shared.
    Days bound FLOPs only where the number of chips is known too.

    Raises:
        UserError: it buys nothing that could be called a model.
    """
    a, name = assumptions, question.accelerator
    flops_per_hour = a[f"{name}.flops_per_second"] * a[f"mfu.{generation}"] * SECONDS_AN_HOUR
    bounds = []
    if question.budget is not None:
        part = goodput(a, question.chips or 1)
        price = chip_hour(a, name, question.buy)
        hours = question.budget / (1 + a["build.experiments"]) / price * part
        why = (
            f"{money(question.budget)} buys {amount(hours)} chip-hours of {name} for the final "
            f"run, at {money(price)} each, and {a['build.experiments']:g} times as many for "
            "experiments"
        )
        bounds.append(Means(flops=hours * flops_per_hour, why=why))
    if question.days is not None and question.chips is not None:
        part = goodput(a, question.chips)
        hours = question.days * HOURS_A_DAY * question.chips * part
        why = (
            f"{question.days:g} days of {question.chips} {name} are {amount(hours)} chip-hours of "
            f"work that counts"
        )
        bounds.append(Means(flops=hours * flops_per_hour, why=why))
    if not bounds:
        return Means(flops=math.inf, why="no budget was given")
    tightest = min(bounds, key=lambda bound: bound.flops)
    if tightest.flops < LEAST_FLOPS:
        raise UserError(
            f"the budget buys nothing: {tightest.why}, that is {tightest.flops:.1e} FLOPs, and "
            f"even a toy of 100k parameters on a million tokens takes {LEAST_FLOPS:.0e}; raise "
            "--budget or --days, or choose a cheaper --accelerator"
        )
    return tightest
