"""Each token to its experts and back: rows are sorted by expert, and experts that live on other
devices get theirs by an all-to-all."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nanojaxlm.sharding import EXPERT_AXIS

# (rows_RD sorted by expert, int32 sizes_E: rows of each) -> rows_RD; rows beyond are undefined
ExpertsFunction = Callable[[jax.Array, jax.Array], jax.Array]


class Layout(NamedTuple):
    """Which row each of A assignments (a token and one of its experts) takes.

    row_A: int32, R where it takes none. assignment_R: int32, the way back, A where a row is empty.
    """

    row_A: jax.Array
    assignment_R: jax.Array


def sort_by(key_A: jax.Array, num_keys: int) -> tuple[Layout, jax.Array]:
    """One row for each assignment, in the order of its key, and int32 sizes: rows of each key.

    Key num_keys is none: its assignments take no row, and the last rows are empty. Keys [1, 2, 0,
    1] of 2 -> row_A [1, 4, 0, 2], assignment_R [2, 0, 3, 4], sizes [1, 2].
    """
    num = key_A.size
    order_A = jnp.argsort(key_A, stable=True).astype(jnp.int32)
    sizes = jnp.bincount(key_A, length=num_keys).astype(jnp.int32)
    full_A = jnp.arange(num, dtype=jnp.int32) < jnp.sum(sizes)
    row_A = jnp.where(key_A < num_keys, _inverse(order_A), num)
    return Layout(row_A, jnp.where(full_A, order_A, num)), sizes


def buffers(key_A: jax.Array, num_keys: int, rows: int) -> Layout:
    """A buffer of `rows` rows for each key; assignments beyond the first `rows` take none.

    Keys [1, 0, 1, 1] of 2, 2 rows -> row_A [2, 0, 3, 4], assignment_R [1, 4, 0, 2].
    """
    num = key_A.size
    order_A = jnp.argsort(key_A, stable=True).astype(jnp.int32)
    sizes = jnp.bincount(key_A, length=num_keys + 1).astype(jnp.int32)
    starts = jnp.cumsum(sizes) - sizes
    place_A = _inverse(order_A) - starts[key_A]
    fits_A = (key_A < num_keys) & (place_A < rows)
    row_A = jnp.where(fits_A, key_A * rows + place_A, num_keys * rows)
    place_R = jnp.arange(rows, dtype=jnp.int32)[None]
    source_PR = jnp.where(place_R < sizes[:num_keys, None], starts[:num_keys, None] + place_R, num)
    assignment_R = jnp.take(order_A, source_PR.reshape(-1), mode="fill", fill_value=num)
    return Layout(row_A, assignment_R)


def buffer_rows(num_tokens: int, top_k: int, experts: int, owners: int, capacity: float | None):
    """Rows that a device sends each owner of `experts / owners` experts.

    capacity None: enough for any choice, as a token has no two assignments to one expert; a factor:
    so many times what an even choice needs, though never more than enough.
    """
    enough = num_tokens * min(top_k, experts // owners)
    if capacity is None:
        return enough
    return min(enough, math.ceil(capacity * num_tokens * top_k / owners))


def through_experts(
    x_MD: jax.Array, experts_MK: jax.Array, experts: ExpertsFunction, num_experts: int
) -> jax.Array:
    """What each token's experts make of it, out_MKD; zeros where experts_MK is num_experts."""
    top_k = experts_MK.shape[1]
    layout, sizes_E = sort_by(experts_MK.reshape(-1), num_experts)
    back_MK = layout.row_A.reshape(experts_MK.shape)
    rows_RD = experts(take_rows(x_MD, layout.assignment_R // top_k, back_MK), sizes_E)
    out_AD = take_rows(rows_RD, layout.row_A, layout.assignment_R[:, None])
    return out_AD.reshape(*experts_MK.shape, -1)


def through_owners(
    x_MD: jax.Array,
    experts_MK: jax.Array,
    experts: ExpertsFunction,
    num_experts: int,
    num_owners: int,
    rows: int,
) -> tuple[jax.Array, jax.Array]:
    """`through_experts` within `per_device`, where device j of the expert axis has the j-th part of
    the experts, and float32[]: the assignments for which a buffer of `rows` rows had no place.

    Those give zeros. The tokens of each device go to the owners in one all-to-all and come back in
    another; their experts' numbers go along (GShard, Lepikhin et al. 2020, section 3.2).
    """
    top_k, num_local = experts_MK.shape[1], num_experts // num_owners
    expert_A = experts_MK.reshape(-1)
    layout = buffers(expert_A // num_local, num_owners, rows)
    back_MK = layout.row_A.reshape(experts_MK.shape)
    sent_RD = take_rows(x_MD, layout.assignment_R // top_k, back_MK)
    sent_R = jnp.take(expert_A % num_local, layout.assignment_R, mode="fill", fill_value=num_local)
    received_RD, expert_R = _exchange(sent_RD), _exchange(sent_R)
    out_RD = through_experts(received_RD, expert_R[:, None], experts, num_local)[:, 0]
    out_AD = take_rows(_exchange(out_RD), layout.row_A, layout.assignment_R[:, None])
    lost_A = (expert_A < num_experts) & (layout.row_A == num_owners * rows)
    dropped = jnp.sum(lost_A.astype(jnp.float32))
    return out_AD.reshape(*experts_MK.shape, -1), dropped


@jax.custom_vjp
def take_rows(x_RD: jax.Array, index_S: jax.Array, back_RN: jax.Array) -> jax.Array:
    """x_RD[index_S], zeros where the index is R; back_RN: the places in S where each row went.

    The places make the gradient a sum of N rows rather than a scatter, which accelerators are slow
    at.
    """
    return _take(x_RD, index_S)


def _take_forward(x_RD: jax.Array, index_S: jax.Array, back_RN: jax.Array):
    return _take(x_RD, index_S), back_RN


def _take_backward(back_RN: jax.Array, gradient_SD: jax.Array):
    return jnp.sum(_take(gradient_SD, back_RN), axis=1), None, None


take_rows.defvjp(_take_forward, _take_backward)


def _take(x_RD: jax.Array, index: jax.Array) -> jax.Array:
    return jnp.take(x_RD, index, axis=0, mode="fill", fill_value=0)


def _inverse(order_A: jax.Array) -> jax.Array:
    return jnp.argsort(order_A).astype(jnp.int32)


def _exchange(rows: jax.Array) -> jax.Array:
    """The j-th part of the rows to device j of the expert axis; from it, its part for this one."""
    return jax.lax.all_to_all(rows, EXPERT_AXIS, split_axis=0, concat_axis=0, tiled=True)
