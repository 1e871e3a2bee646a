"""Peak speed of a device: a table with sources for accelerators, a measurement for a CPU."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Dense matrix products, bfloat16, FLOP/s of one device as JAX counts devices.
# TPU: cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}; GPU: NVIDIA's A100, H100 and H200 data sheets (no
# sparsity). Read 2025-06.
PEAK_FLOPS_PER_SECOND = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


def peak_flops_per_second(devices: Sequence[Any]) -> float | None:
    """Of all `jax.Device`s together; None for an accelerator that the table does not know.

    CPU: measured, the best of several 1024³ float32 products on the whole machine.
    """
    if devices[0].platform == "cpu":
        return _measured()
    peak = PEAK_FLOPS_PER_SECOND.get(devices[0].device_kind)
    return None if peak is None else peak * len(devices)


def _measured(size: int = 1024, repeats: int = 10) -> float:
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda x, y: x @ y)
    product(a, a).block_until_ready()
    best_seconds = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        product(a, a).block_until_ready()
        best_seconds = min(best_seconds, time.perf_counter() - start)
    return 2 * size**3 / best_seconds
