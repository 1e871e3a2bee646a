"""Figures that people quote of a training's cost, made again with the planner's own formula."""

from dataclasses import dataclass

from nanojaxlm.economics.chip_prices import GENERATION
from nanojaxlm.economics.compute import accelerator_hours
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.table import ASSUMPTIONS

NEAR = 0.35  # error that a central estimate may have: the worst of the published runs

_7B = "7B: about 180,000 GPU-hours"
_70B = "70B: about 1.7 million GPU-hours"
_10B = "10B: about $150,000 at $1-2 an hour"
_100B = "100B: about $1.5 million at $1-2 an hour"
_QUOTED = {_7B: 180_000.0, _70B: 1.7e6, _10B: 150_000.0, _100B: 1.5e6}
_DOLLARS_AN_HOUR = Range(1.0, 1.5, 2.0)
_CHINCHILLA = 20  # tokens a parameter, Hoffmann et al. 2022


@dataclass(frozen=True, kw_only=True)
class Case:
    """A rule in one case. quoted, planned: hours, or dollars of the final run's hire.

    planned: hours by central MFU; dollars over the prices that the rule names. Experiments, staff
    and data are in neither.
    """

    rule: str
    case: str
    params: float
    tokens: float
    chip: str
    quoted: float
    planned: Range
    published: float | None = None  # hours, where the case is a run

    @property
    def holds(self) -> bool:
        """Within NEAR of the hours, or of dollars within the prices' range."""
        low, high = self.planned.low / (1 + NEAR), self.planned.high / (1 - NEAR)
        return low <= self.quoted <= high


def rules_of_thumb(assumptions: Assumptions = ASSUMPTIONS) -> tuple[Case, ...]:
    """Each rule where it comes from, and where it is taken for more than it says."""

    def hours(
        rule: str, case: str, params: float, tokens: float, chip: str,
        published: float | None = None,
    ) -> Case:  # fmt: skip
        planned = _hours(assumptions, params, tokens, chip)
        return Case(
            rule=rule, case=case, params=params, tokens=tokens, chip=chip, quoted=_QUOTED[rule],
            planned=planned, published=published,
        )  # fmt: skip

    def dollars(rule: str, case: str, params: float, tokens: float, chip: str) -> Case:
        planned = _hours(assumptions, params, tokens, chip) * _DOLLARS_AN_HOUR
        return Case(
            rule=rule, case=case, params=params, tokens=tokens, chip=chip, quoted=_QUOTED[rule],
            planned=planned,
        )  # fmt: skip

    a100, h100 = "a100-80gb", "h100"
    return (
        hours(_7B, "Llama 2's run, its origin", 6.74e9, 2e12, a100, 184_320),
        hours(_7B, "as many tokens on H100", 6.74e9, 2e12, h100),
        hours(_7B, "15T tokens, as Llama 3's", 8.03e9, 15e12, h100, 1.46e6),
        hours(_7B, "20 tokens a parameter", 6.74e9, _CHINCHILLA * 6.74e9, a100),
        hours(_70B, "Llama 2's run, its origin", 68.98e9, 2e12, a100, 1_720_320),
        hours(_70B, "as many tokens on H100", 68.98e9, 2e12, h100),
        hours(_70B, "15T tokens, as Llama 3's", 70.55e9, 15e12, h100, 7.0e6),
        hours(_70B, "20 tokens a parameter", 68.98e9, _CHINCHILLA * 68.98e9, a100),
        dollars(_10B, "20 tokens a parameter", 10e9, _CHINCHILLA * 10e9, a100),
        dollars(_10B, "0.8T tokens", 10e9, 0.8e12, a100),
        dollars(_10B, "2T tokens, as Llama 2's", 10e9, 2e12, a100),
        dollars(_10B, "2T tokens on H100", 10e9, 2e12, h100),
        dollars(_10B, "15T tokens, as Llama 3's", 10e9, 15e12, h100),
        dollars(_100B, "0.8T tokens, 8 a parameter", 100e9, 0.8e12, a100),
        dollars(_100B, "20 tokens a parameter", 100e9, _CHINCHILLA * 100e9, a100),
        dollars(_100B, "20 tokens a parameter on H100", 100e9, _CHINCHILLA * 100e9, h100),
        dollars(_100B, "15T tokens, as Llama 3's", 100e9, 15e12, h100),
    )


def _hours(assumptions: Assumptions, params: float, tokens: float, chip: str) -> Range:
    mfu = Range.exact(assumptions[f"mfu.{GENERATION[chip]}"])
    peak = assumptions[f"{chip}.flops_per_second"]
    return accelerator_hours(6 * params * tokens, mfu, peak)
