"""What Pallas kernels cost, by hand: XLA's cost analysis does not see into a custom call.

A kernel is known by its name in the operation's path (…/splash_mha_fwd/pallas_call) and its
operands' shapes. A product of [m, k] and [k, n] is 2 m k n FLOPs.

splash attention (jax.experimental.pallas.ops.tpu.splash_attention), q [B, N, T, H], k [B, K, S, H]:
a product over the whole scores is 2 B N T S H. The forward pass does 2 (q k, p v); the backward
pass 3 for dq (q k and do v again, ds k), 4 for dk and dv (q k, do v, p do, ds q), or, where one
kernel gives all three, 5. Times `attended`, the part of the score blocks that the mask leaves:
others are skipped.
Its bytes: each block of queries reads the keys and values that it attends to anew, for each head
(in the kernel for dk and dv each block of keys reads the queries), everything else once.

megablox (gmm, tgmm): rows [R, K] times one of [G, K, N], or [K, R] [R, N] for the gradient of the
latter: 2 R K N, with R the rows of the buffer: tiles that hold no row are skipped, so an upper
bound where the buffer is for the worst case.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from nanojaxlm.planning.module import Instruction, Shape

_KERNEL = re.compile(r"([^/\"]+)/(?:pallas_call|tpu_custom_call)")
_SPLASH = re.compile(r"splash_m[hq]a_(fwd|dq|dkv)")
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


def cost(call: Instruction, operands: Sequence[Shape], attended: float) -> Kernel | None:
    """None for a kernel that is not known."""
    name = name_of(call)
    moved = sum(shape.bytes for shape in (*operands, *call.shapes) if shape.space == 0)
    if splash := _SPLASH.search(name):
        return Kernel(name, *_splash(splash[1], call, operands, attended, moved))
    if name in ("gmm", "tgmm"):
        left = next(shape for shape in operands if shape.dtype in ("bf16", "f32"))
        width = call.shapes[0].dims[-1]
        return Kernel(name, 2.0 * math.prod(left.dims) * width, moved)
    return None


def _splash(
    phase: str, call: Instruction, operands: Sequence[Shape], attended: float, moved: float
) -> tuple[float, float]:
    """(FLOPs, bytes)."""
    q, k, v, *_ = (shape for shape in operands if shape.dtype in ("bf16", "f32"))
    products = 5 if phase == "dkv" and _FUSED_BACKWARD.search(call.attributes) else _PRODUCTS[phase]
    flops = attended * products * 2.0 * math.prod(q.dims) * k.dims[-2]
    blocks = {name: int(size) for name, size in _BLOCK.findall(call.attributes)}
    if phase == "dkv":
        # the queries and the gradient of the output
        reread, times = (q, q), k.dims[-2] / blocks.get("block_kv_dkv", 128)
    else:
        key = "block_q" if phase == "fwd" else "block_q_dq"
        groups = math.prod(q.dims[:-2]) / math.prod(k.dims[:-2])  # query heads a key head
        reread, times = (k, v), groups * q.dims[-2] / blocks.get(key, 128)
    again = max(attended * times - 1, 0.0)
    return flops, moved + again * sum(shape.bytes for shape in reread if shape.space == 0)
