"""Chips that answer queries with a model of one's own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

SECONDS_A_MONTH = 30.44 * 86_400
HOURS_A_MONTH = SECONDS_A_MONTH / 3600
FOR_CACHE = 0.3  # of a chip's memory, that is left for keys and values of requests


@dataclass(frozen=True, kw_only=True)
class Served:
    """params: that lie in memory. active_params: that one token meets."""

    params: float
    active_params: float


def chip_seconds_per_query(
    assumptions: Mapping[str, float], accelerator: str, model: Served
) -> float:
    """Of one query's tokens, 2 FLOPs a parameter each (Kaplan et al. 2020).

    The prompt is bound by products. A token that is written is bound by reading the parameters once
    for all requests that are decoded together, or by products where that takes longer.
    """
    a = assumptions
    peak = a[f"{accelerator}.flops_per_second"] * a["serving.prefill_mfu"]
    bandwidth = a[f"{accelerator}.memory_bytes_per_second"] * a["serving.bandwidth_utilisation"]
    products = 2 * model.active_params / peak
    reading = model.params * a["serving.bytes_per_param"] / bandwidth / a["serving.batch"]
    return a["use.input_tokens"] * products + a["use.output_tokens"] * max(products, reading)


def chips_per_replica(assumptions: Mapping[str, float], accelerator: str, model: Served) -> int:
    """That hold the model's parameters and room for requests."""
    size = model.params * assumptions["serving.bytes_per_param"]
    return math.ceil(size / (assumptions[f"{accelerator}.memory_bytes"] * (1 - FOR_CACHE)))


def chips_to_serve(
    assumptions: Mapping[str, float], accelerator: str, model: Served, queries_per_month: float
) -> float:
    """Chips that must run for the peak of the queries; at least the least number of replicas.

    Not rounded to whole chips beyond that: a fleet grows and shrinks with its load.
    """
    if queries_per_month == 0:
        return 0.0
    at_peak = queries_per_month / SECONDS_A_MONTH / assumptions["serving.utilisation"]
    needed = at_peak * chip_seconds_per_query(assumptions, accelerator, model)
    least = assumptions["serving.min_replicas"] * chips_per_replica(assumptions, accelerator, model)
    return max(needed, least)
