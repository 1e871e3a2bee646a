"""The answer in words: what to do, why, how sure that is, and what would turn it around."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nanojaxlm.economics.alternatives import API, BUILD, TUNE, Alternative, Project
from nanojaxlm.economics.break_even import BreakEven
from nanojaxlm.economics.constants import FRACTION, Assumptions
from nanojaxlm.economics.fitting import Fit
from nanojaxlm.economics.means import Means
from nanojaxlm.economics.needs import Needs
from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.scaling import TRAINING_FLOPS, Law
from nanojaxlm.economics.sensitivity import Flip

MOST_FLIPS = 5
# Hoffmann et al. 2022, abstract: what the published law was fitted to; and how far it is believed.
FITTED_PARAMS, FITTED_TOKENS = (7e7, 1.6e10), (5e9, 5e11)
BEYOND_FIT = 50
_DO = {
    BUILD: "Build your own model",
    TUNE: "Fine-tune an open model; do not build one",
    API: "Use an API; do not build a model",
}
_PLAIN = {"ratio": "", "multiple": " times"}
NAMES = {BUILD: "building", TUNE: "fine-tuning an open model", API: "an API"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """choice: build, fine-tune or api; None: nothing is left to choose. sure: no plausible value of
    one assumption alone changes it."""

    choice: str | None
    sure: bool
    headline: str
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]
    flips: tuple[str, ...]


def verdict(
    project: Project,
    found: Sequence[Alternative],
    turning: Sequence[Flip],
    odds: Mapping[str, float],
    break_evens: Sequence[BreakEven],
    quality: Sequence[str],
    limits: Sequence[str],
) -> Verdict:
    """quality: how good the models would be, in words; limits: what stands in the way of a run."""
    possible = [one for one in found if one.excluded is None]
    excluded = tuple(f"{NAMES[one.name]} is out: {one.excluded}" for one in found if one.excluded)
    order = sorted(possible, key=lambda one: one.totals[-1].central)
    best = order[0]
    years = f"{project.years} year{'s' if project.years > 1 else ''}"
    reasons = [f"over {years} {NAMES[best.name]} costs {_cost(best)}"]
    if len(order) > 1:
        second = order[1]
        reasons[0] += f", {NAMES[second.name]} {_cost(second)}"
        reasons[0] += f": {money(second.totals[-1].central - best.totals[-1].central)} more"
        if len(order) > 2:
            reasons[0] += f"; {NAMES[order[2].name]} {_cost(order[2])}"
    else:
        reasons.append("it is the only way that the constraints leave")
    if len(order) > 1:
        reasons.append(
            f"with all assumptions drawn at random from their ranges, {NAMES[best.name]} is the "
            f"cheapest in {odds.get(best.name, 0.0):.0%} of draws"
        )
    reasons += excluded
    reasons += [words for one in break_evens if (words := break_even_words(one, found))]
    plausible = [flip for flip in turning if flip.plausible]
    headline = _DO[best.name]
    if plausible:
        headline += f", but {NAMES[plausible[0].to]} is within reach"
    return Verdict(
        choice=best.name,
        sure=not plausible,
        headline=headline,
        reasons=tuple(reasons),
        caveats=(*limits, *quality),
        flips=(*_sooner(possible, best.name), *map(flip_words, turning[:MOST_FLIPS])),
    )


def _sooner(possible: Sequence[Alternative], best: str) -> list[str]:
    """Shorter times of use, over which another is the cheapest."""
    words, last = [], best
    for year in range(len(possible[0].totals) - 1, 0, -1):
        cheapest = min(possible, key=lambda one: one.totals[year - 1].central).name
        if cheapest != last:
            words.append(f"over {year} year{'s' if year > 1 else ''} {NAMES[cheapest]} is cheapest")
        last = cheapest
    return words


def break_even_words(one: BreakEven, found: Sequence[Alternative]) -> str | None:
    """None where one of the two is no choice."""
    excluded = {alternative.name for alternative in found if alternative.excluded}
    if excluded & {one.dearer_below, one.other}:
        return None
    first, other = NAMES[one.dearer_below], NAMES[one.other]
    if one.queries_per_month is None:
        return f"{first} costs more than {other} at every volume"
    if one.queries_per_month == 0:
        return f"{first} costs less than {other} at every volume"
    return f"{first} beats {other} from {amount(one.queries_per_month)} queries a month on"


def flip_words(flip: Flip) -> str:
    side = "less" if flip.at < flip.value else "more"
    likely = "" if flip.plausible else " (beyond its plausible range)"
    return (
        f"{NAMES[flip.to]} would be cheapest with {flip.name} ({flip.what}) at "
        f"{quantity(flip.at, flip.unit)} or {side}, now {quantity(flip.value, flip.unit)}{likely}"
    )


def quantity(value: float, unit: str) -> str:
    """A constant's value as people read it: money with its sign, fractions as percent."""
    if unit.startswith(FRACTION):
        return f"{100 * value:.3g}%{unit.removeprefix(FRACTION)}"
    if unit.startswith("$"):
        return money(value) + unit.removeprefix("$")
    if unit in _PLAIN:
        return f"{amount(value)}{_PLAIN[unit]}"
    return f"{amount(value)} {unit}"


def quality_words(
    project: Project,
    assumptions: Assumptions,
    law: Law,
    params: float,
    tokens: float,
    loss: float,
    fitted: Fit | None,
) -> list[str]:
    """How a model of one's own compares with the open model that could be tuned."""
    if fitted is not None:
        most = max(point.flops for point in fitted.points)
        times = TRAINING_FLOPS * params * tokens / most
        return [
            f"the loss of {loss:.3f} nats a token is by a law fitted to your own runs; it cannot "
            "be compared with an open model's, whose tokens are others; the largest of those runs "
            f"took {most:.2g} FLOPs, this one takes {times:.2g} times as much: mind the interval"
        ]
    if not _near(params, FITTED_PARAMS) or not _near(tokens, FITTED_TOKENS):
        return [
            f"the scaling law was fitted to models of {amount(FITTED_PARAMS[0])} to "
            f"{amount(FITTED_PARAMS[1])} parameters on {amount(FITTED_TOKENS[0])} to "
            f"{amount(FITTED_TOKENS[1])} tokens: so far from that its losses mean little; fit your "
            "own (python -m configs.scaling_law)"
        ]
    base = law.loss(assumptions["tune.base_params"], assumptions["tune.base_tokens"])
    size = f"{amount(assumptions['tune.base_params'])} parameters"
    read = f"{amount(assumptions['tune.base_tokens'])} tokens"
    words = [
        f"by the same scaling law your model would come to a loss of {loss:.2f} on general text, "
        f"an open model of {size} trained on {read} to {base:.2f}: "
        + (
            "yours would know less of the world, and has to win by fitting your domain"
            if loss > base + 0.01
            else "yours would be as good or better"
        )
    ]
    if project.domain_specific and not project.no_open_model:
        words.append(
            "costs are compared, not quality: try a tuned open model on your own questions before "
            "building, it is the cheapest experiment there is"
        )
    return words


def _near(value: float, fitted: tuple[float, float]) -> bool:
    return fitted[0] / BEYOND_FIT <= value <= fitted[1] * BEYOND_FIT


def limit_words(
    question: Question,
    available: Means,
    required: Needs,
    flops: float,
    hours: float,
    hours_are_published: bool,
) -> list[str]:
    """What budget, days, corpus and unsaid things stand in the way of."""
    words = []
    if flops > available.flops * 1.001:
        words.append(
            f"the final run takes {amount(hours)} chip-hours, {flops / available.flops:.2g} times "
            f"what there is: {available.why}"
        )
    if required.most_tokens is not None and required.tokens > required.most_tokens:
        words.append(required.words)
    if hours_are_published:
        words.append(
            "hours are by the MFU of published runs, most of them by one large lab; smaller teams' "
            "took a fifth to two thirds more (economics/CALIBRATION.md): measure yours (--measured)"
        )
    if question.queries_per_month == 0:
        words.append("no use was given (--queries, a month): the costs of answering are left out")
    return words


def _cost(one: Alternative) -> str:
    total = one.totals[-1]
    return f"{money(total.central)} ({money(total.low)} to {money(total.high)})"
