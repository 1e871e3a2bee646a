"""One product for many matrices: rows sorted by group, each group's with its own matrix."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.megablox.gmm import gmm, tgmm

from nanojaxlm.sharding import MESH_AXES, active, platform

_LANES = 128  # the rows and columns that a TPU works on at once


def grouped_product(x_RK: jax.Array, kernel_GKN: jax.Array, sizes_G: jax.Array) -> jax.Array:
    """Rows R, sorted by group, sizes_G (int32) of them for each, times their group's matrix.

    Rows beyond the last group come out undefined, and so does their gradient.
    """
    now = active()
    is_whole = now is None or len(now.manual) == len(MESH_AXES)  # XLA cannot split a kernel of ours
    if platform() != "tpu":
        return looped_product(x_RK, kernel_GKN, sizes_G)
    if is_whole:
        return megablox_product(x_RK, kernel_GKN, sizes_G)
    return jax.lax.ragged_dot(x_RK, kernel_GKN, sizes_G)


@jax.custom_vjp
def looped_product(x_RK: jax.Array, kernel_GKN: jax.Array, sizes_G: jax.Array) -> jax.Array:
    """The same, one group's matrix after another, all rows with each.

    Where XLA has no grouped product, it spells ragged_dot out as the same products, but all at
    once, with a masked copy of all rows for each group.
    """

    def put(out_RN: jax.Array, group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        kernel_KN, is_own_R = group
        return jnp.where(is_own_R[:, None], x_RK @ kernel_KN, out_RN), None

    empty_RN = jnp.zeros((x_RK.shape[0], kernel_GKN.shape[2]), x_RK.dtype)
    return jax.lax.scan(put, empty_RN, (kernel_GKN, _own_rows(x_RK, sizes_G)))[0]


def _looped_forward(x_RK: jax.Array, kernel_GKN: jax.Array, sizes_G: jax.Array):
    return looped_product(x_RK, kernel_GKN, sizes_G), (x_RK, kernel_GKN, sizes_G)


def _looped_backward(kept: tuple[jax.Array, ...], gradient_RN: jax.Array):
    x_RK, kernel_GKN, sizes_G = kept

    def put(to_x_RK: jax.Array, group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        kernel_KN, is_own_R = group
        to_x_RK = jnp.where(is_own_R[:, None], gradient_RN @ kernel_KN.T, to_x_RK)
        return to_x_RK, jnp.where(is_own_R[:, None], x_RK, 0).T @ gradient_RN

    groups = kernel_GKN, _own_rows(x_RK, sizes_G)
    return *jax.lax.scan(put, jnp.zeros_like(x_RK), groups), None


looped_product.defvjp(_looped_forward, _looped_backward)


def _own_rows(x_RK: jax.Array, sizes_G: jax.Array) -> jax.Array:
    """bool[G, R]."""
    ends_G1 = jnp.cumsum(sizes_G)[:, None]
    rows_1R = jnp.arange(x_RK.shape[0], dtype=sizes_G.dtype)[None]
    return (rows_1R >= ends_G1 - sizes_G[:, None]) & (rows_1R < ends_G1)


def megablox_product(
    x_RK: jax.Array, kernel_GKN: jax.Array, sizes_G: jax.Array, interpret: bool = False
) -> jax.Array:
    """The same by a Pallas kernel for TPU (Gale et al. 2022, MegaBlocks), which visits only tiles
    with rows of a group: empty buffers cost memory, not time.

    XLA for TPU makes ragged_dot one product of all rows with all groups under a mask, for which its
    cost model counts as many times the FLOPs as there are groups.
    """
    num_rows = x_RK.shape[0]
    x_RK = jnp.pad(x_RK, ((0, -num_rows % _LANES), (0, 0)))
    out_RN: Any = _product(x_RK, kernel_GKN, sizes_G, interpret)
    return out_RN[:num_rows]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _product(
    x_RK: jax.Array, kernel_GKN: jax.Array, sizes_G: jax.Array, interpret: bool
) -> jax.Array:
    with _loose_promotion():
        tiling = _TILINGS[x_RK.dtype.itemsize]
        return gmm(x_RK, kernel_GKN, sizes_G, x_RK.dtype, tiling, interpret=interpret)


def _forward(x_RK: jax.Array, kernel_GKN: jax.Array, sizes_G: jax.Array, interpret: bool):
    return _product(x_RK, kernel_GKN, sizes_G, interpret), (x_RK, kernel_GKN, sizes_G)


def _backward(interpret: bool, kept: tuple[jax.Array, ...], gradient_RN: jax.Array):
    x_RK, kernel_GKN, sizes_G = kept
    how = {"tiling": _TILINGS[x_RK.dtype.itemsize], "interpret": interpret}
    with _loose_promotion():
        to_x = gmm(gradient_RN, kernel_GKN, sizes_G, x_RK.dtype, transpose_rhs=True, **how)
        to_kernel = tgmm(x_RK.swapaxes(0, 1), gradient_RN, sizes_G, kernel_GKN.dtype, **how)
    return to_x, to_kernel, None


_product.defvjp(_forward, _backward)


@contextlib.contextmanager
def _loose_promotion() -> Iterator[None]:
    """What megablox is written for, whatever the caller holds itself to."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _tile_sizes(largest: int, rows: int, inner: int, outer: int) -> tuple[int, int, int]:
    """Of a product [rows, inner] x [inner, outer].

    Large ones read the matrices less often: at 512 rows a tile a v5e has 512 FLOPs for each byte of
    a bfloat16 matrix, twice what it needs to be bound by its speed (197 TFLOP/s, 819 GB/s).
    """

    def tile(size: int, largest: int) -> int:
        if size <= largest:
            return size
        even = [t for t in range(largest, largest // 2, -_LANES) if size % t == 0]
        return even[0] if even else largest

    of_rows = next(t for t in (512, 256, _LANES) if rows % t == 0)
    return of_rows, tile(inner, largest), tile(outer, largest)


# By the bytes of an element: two of each tile and a float32 sum fit the 16 MB of VMEM that XLA
# gives a kernel.
_TILINGS = {2: partial(_tile_sizes, 1024), 4: partial(_tile_sizes, 512)}
