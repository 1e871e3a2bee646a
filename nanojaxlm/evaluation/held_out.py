"""Loss and bits per byte on held-out text."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax

from nanojaxlm.batch import Batch
from nanojaxlm.metrics import bits_per_byte
from nanojaxlm.step import EvalStep


class HeldOut(NamedTuple):
    """loss: nats a token. num_bytes: UTF-8 bytes that the num_tokens targets stand for."""

    loss: float
    bits_per_byte: float
    num_tokens: int
    num_bytes: int


def evaluate(
    eval_step: EvalStep, params: Any, batches: Iterable[Batch], limit: int | None = None
) -> HeldOut:
    """Sums over all batches, or the first `limit`, and divides once, in float64 on the host."""
    nll = count = num_bytes = 0.0
    for batch in itertools.islice(batches, limit):
        sums = jax.device_get(eval_step(params, batch))
        nll += float(sums.nll)
        count += float(sums.count)
        num_bytes += float(sums.num_bytes)
    assert count > 0 and num_bytes > 0, "validation_batches refuses an empty split"
    return HeldOut(nll / count, bits_per_byte(nll, num_bytes), round(count), round(num_bytes))
