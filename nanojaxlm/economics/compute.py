"""FLOPs of a training run, and the accelerator-hours that they take."""

from dataclasses import dataclass

from nanojaxlm.config import Config
from nanojaxlm.economics.ranges import Range
from nanojaxlm.metrics import train_flops_per_row

SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Of the whole run, forward and backward, nothing computed twice.

    six_nd: 6 · active parameters · tokens (Kaplan et al. 2020, table 1). exact: of the config,
    attention included as if not causal (metrics.py). attention: of `exact`, what grows with the
    row's length. counted: the one that hours are of, in the convention of the published runs.
    """

    six_nd: float
    exact: float
    attention: float
    counted: float


def flops_of(
    config: Config, active_params: float, tokens: float, exact_over_6nd: float | None
) -> Flops:
    """exact_over_6nd: of the runs that the MFU is calibrated on, for a config whose own count is to
    be taken; None for a typical config that stands for a number of parameters: 6ND is."""
    six_nd = 6.0 * active_params * tokens
    exact = exact_per_token(config) * tokens
    # a row's attention grows with the square of its length, all else with the length
    attention = 2.0 * (exact - exact_per_token(config, 0.5) * tokens)
    counted = six_nd if exact_over_6nd is None else exact / exact_over_6nd
    return Flops(six_nd=six_nd, exact=exact, attention=attention, counted=counted)


def exact_per_token(config: Config, shortened: float = 1.0) -> float:
    """FLOPs a token of text, forward and backward; of rows cut to a part of their length."""
    lengths = config.data.lengths
    encoder = round((lengths.encoder or 0) * shortened)
    decoder = round((lengths.decoder or 0) * shortened)
    return train_flops_per_row(config.model, encoder, decoder) / (lengths.row * shortened)


def accelerator_hours(flops: float, mfu: Range, flops_per_second: float) -> Range:
    """Hours of one chip: FLOPs over peak times MFU. `mfu` is of 6ND and of the dense bfloat16 peak.

    6.74e9 parameters, 2e12 tokens on an A100 (312e12) at 40%: 8.09e22 / 1.248e14 / 3600 = 180,000.
    """
    return Range.exact(flops / flops_per_second / SECONDS_AN_HOUR) / mfu
