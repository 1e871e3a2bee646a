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

    CPU: measured, the best of several 1024³ float32 products on all of them at once.
    """
    if devices[0].platform == "cpu":
        return _measured(devices)
    peak = PEAK_FLOPS_PER_SECOND.get(devices[0].device_kind)
    return None if peak is None else peak * len(devices)


def _measured(devices: Sequence[Any], size: int = 1024, repeats: int = 10) -> float:
    """Of all devices at work at once: virtual ones share the machine's cores."""
    ones = jnp.ones((size, size), jnp.float32)
    arrays = [jax.device_put(ones, device) for device in devices]
    product = jax.jit(lambda x: x @ x)
    best_seconds = float("inf")
    for _ in range(1 + repeats):  # the first compiles
        start = time.perf_counter()
        jax.block_until_ready([product(array) for array in arrays])
        best_seconds = min(best_seconds, time.perf_counter() - start)
    return 2 * size**3 * len(devices) / best_seconds
