"""What Pallas kernels cost, by hand: XLA's cost analysis does not see into a custom call.

A kernel is known by its name in the operation's path (…/splash_mha_fwd/pallas_call) and its
operands' shapes. A product of [m, k] and [k, n] is 2 m k n FLOPs.

splash attention (jax.experimental.pallas.ops.tpu.splash_attention), q [B, N, T, H], k [B, K, S, H]:
a product over the whole scores is 2 B N T S H. The forward pass does 2 (q k, p v); the backward
pass 3 for dq (q k and do v again, ds k), 4 for dk and dv (q k, do v, p do, ds q), or, where one
kernel gives all three, 5. Times the part of the blocks of scores in which the layer's band allows
anything: the others are skipped. Which layer a call is of, the text does not say: where bands
differ, the mean.
Its bytes: each block of queries reads the keys and values that it attends to anew, for each head
(in the kernel for dk and dv each block of keys reads the queries), everything else once.

megablox (gmm, tgmm): rows [R, K] times one of [G, K, N], or [K, R] [R, N] for the gradient of the
latter: 2 R K N, with R the rows of the buffer: tiles that hold no row are skipped, so an upper
bound where the buffer is for the worst case.
"""

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from nanojaxlm.model.masks import Band
from nanojaxlm.planning.module import Instruction, Shape

_KERNEL = re.compile(r"([^/\"]+)/(?:pallas_call|tpu_custom_call)")
_SPLASH = re.compile(r"splash_m[hq]a_(fwd|dq|dkv)")
_MEGABLOX = re.compile(r"\bt?gmm\b")  # jit(gmm) too
_BLOCK = re.compile(r'\\?"(block_\w+)\\?": (\d+)')
_PRODUCTS = {"fwd": 2, "dq": 3, "dkv": 4}
_FUSED_BACKWARD = re.compile(r'use_fused_bwd_kernel\\?": true')


class Kernel(NamedTuple):
    """Of one execution on one device; bytes: of the device's main memory."""

    name: str
    flops: float
    bytes: float


def name_of(call: Instruction) -> str:
    """Of the kernel, or else the custom call's target."""
    found = _KERNEL.findall(call.attributes)
    target = (call.attribute("custom_call_target") or "").strip('"')
    return found[-1] if found and target == "tpu_custom_call" else target


def cost(call: Instruction, operands: Sequence[Shape], bands: Sequence[Band]) -> Kernel | None:
    """None for a kernel that is not known."""
    name = name_of(call)
    moved = sum(shape.bytes for shape in (*operands, *call.shapes) if shape.space == 0)
    if splash := _SPLASH.search(name):
        return Kernel(name, *_splash(splash[1], call, operands, bands, moved))
    if _MEGABLOX.search(name):
        left = next(shape for shape in operands if shape.dtype in ("bf16", "f32"))
        width = call.shapes[0].dims[-1]
        return Kernel(name, 2.0 * math.prod(left.dims) * width, moved)
    return None


@cache
def attended_part(bands: tuple[Band, ...], length: int, query: int, key: int) -> float:
    """Of the blocks of [query, key] places in [length, length], those that a band meets; the mean
    over the bands. Without bands all: 1.

    Causal, in n square blocks a side: (n + 1) / 2n.
    """
    if not bands:
        return 1.0
    q_BX = np.arange(0, length, query)[:, None]
    k_XB = np.arange(0, length, key)[None, :]
    parts = []
    for band in bands:
        some, _ = band.meets(q_BX, q_BX + query - 1, k_XB, k_XB + key - 1)
        parts.append(float(np.broadcast_to(some, (q_BX.size, k_XB.size)).mean()))
    return sum(parts) / len(parts)


def _splash(
    phase: str, call: Instruction, operands: Sequence[Shape], bands: Sequence[Band], moved: float
) -> tuple[float, float]:
    """(FLOPs, bytes)."""
    q, k, v, *_ = (shape for shape in operands if shape.dtype in ("bf16", "f32"))
    products = 5 if phase == "dkv" and _FUSED_BACKWARD.search(call.attributes) else _PRODUCTS[phase]
    blocks = {name: int(size) for name, size in _BLOCK.findall(call.attributes)}
    ending = "" if phase == "fwd" else f"_{phase}"
    query, key = (blocks.get(f"block_{side}{ending}", 128) for side in ("q", "kv"))
    attended = attended_part(tuple(bands), k.dims[-2], query, key)
    flops = attended * products * 2.0 * math.prod(q.dims) * k.dims[-2]
    if phase == "dkv":
        # the queries and the gradient of the output
        reread, times = (q, q), k.dims[-2] / key
    else:
        groups = math.prod(q.dims[:-2]) / math.prod(k.dims[:-2])  # query heads a key head
        reread, times = (k, v), groups * q.dims[-2] / query
    again = max(attended * times - 1, 0.0)
    return flops, moved + again * sum(shape.bytes for shape in reread if shape.space == 0)
