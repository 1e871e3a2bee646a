"""Attention of rows that are split along their length: each device along the context axis computes
some of a row's queries, and sees all of its keys and values."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.sharding import CONTEXT_AXIS, Names, axis_size, per_device, splits_evenly

_QUERY: Names = ("batch", "length", "act_heads", None)
_KEY: Names = ("batch", "length", "act_kv_heads", None)
_BIAS: Names = (None, "act_heads", "length", None)


def splits(q_BTNH: jax.Array, k_BSKH: jax.Array) -> bool:
    """Whether `over_devices` can cut these."""
    return splits_evenly(q_BTNH.shape, _QUERY) and splits_evenly(k_BSKH.shape, _KEY)


def balances(length: int, causal: bool, window: int | None, multiple: int = 1) -> bool:
    """Whether the devices should exchange queries: where later ones see more keys.

    multiple: of how many tokens each of the two runs must be.
    """
    num = axis_size("length")
    return num > 1 and causal and window is None and length % (2 * num * multiple) == 0


def places(length: int, num: int, balanced: bool) -> np.ndarray:
    """int32[num, T/num]: which of a row's queries each of num devices computes.

    Balanced: of 2 num runs, device d has runs d and 2 num - 1 - d, the even one first, so that
    under a causal mask all have the same work. 8 queries, 2 devices: [[0,1,6,7],[4,5,2,3]].
    """
    index = np.arange(length, dtype=np.int32)
    if not balanced:
        return index.reshape(num, -1)
    runs = index.reshape(2 * num, -1)
    device = np.arange(num)
    pairs = np.sort(np.stack((device, 2 * num - 1 - device)), axis=0)
    even_first = np.where(pairs[0] % 2 == 0, pairs, pairs[::-1])
    return runs[even_first.T].reshape(num, -1)


def exchange(x: jax.Array, axis: int, *, back: bool = False) -> jax.Array:
    """A device's part of the queries as they lie in the row -> those of its balanced `places`.

    Of runs d and 2n-1-d one is even and one odd, and a device holds the runs 2d and 2d+1: so the
    even ones move by one permutation, the odd ones by another. back: the reverse.
    """
    num = jax.lax.axis_size(CONTEXT_AXIS)
    halves = []
    for odd, half in enumerate(jnp.split(x, 2, axis=axis)):
        moves = [(d, min(2 * d + odd, 2 * num - 1 - 2 * d - odd)) for d in range(num)]
        if back:
            moves = [(target, source) for source, target in moves]
        halves.append(jax.lax.ppermute(half, CONTEXT_AXIS, moves))
    return jnp.concatenate(halves, axis=axis)


def over_devices(
    local: Callable[..., jax.Array],
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    mask: AttentionMask,
    bias_1NTS: jax.Array | None,
    tables: Any,
    table_names: Any,
    balanced: bool,
) -> jax.Array:
    """out_BTNH of `local(q, k, v, mask, bias, tables)` on each device of the active mesh.

    local sees its rows, its heads, the queries of its `places`, and all keys; keys and values are
    gathered over the context axis here, so that their gradients are scattered back and not summed
    everywhere. tables: what local reads besides, of these names.
    """
    is_split = axis_size("length") > 1

    def on_device(q, k, v, mask: AttentionMask, bias, tables) -> jax.Array:
        if is_split:
            k = jax.lax.all_gather(k, CONTEXT_AXIS, axis=1, tiled=True)
            v = jax.lax.all_gather(v, CONTEXT_AXIS, axis=1, tiled=True)
        if not balanced:
            return local(q, k, v, mask, bias, tables)
        mask = mask._replace(q_segments_BT=exchange(mask.q_segments_BT, 1))
        bias = None if bias is None else exchange(bias, 2)
        return exchange(local(exchange(q, 1), k, v, mask, bias, tables), 1, back=True)

    queries: Any = ("batch", "length")
    keys: Any = ("batch", "key_length")
    start: Any = ()
    mask_names = AttentionMask(queries, keys, start, None if mask.k_prefix_BS is None else keys)
    bias_names = None if bias_1NTS is None else _BIAS
    in_names = (_QUERY, _KEY, _KEY, mask_names, bias_names, table_names)
    f = per_device(on_device, in_names, _QUERY)
    mask = mask._replace(q_start=jnp.asarray(mask.q_start, jnp.int32))
    return f(q_BTNH, k_BSKH, v_BSKH, mask, bias_1NTS, tables)


def mean_where_blind(out_BTNH: jax.Array, v_BSKH: jax.Array, sees_BT: jax.Array) -> jax.Array:
    """The mean of all values for queries that see no key, as a softmax over equal logits gives."""
    mean_B1KH = v_BSKH.mean(axis=1, keepdims=True, dtype=jnp.float32).astype(v_BSKH.dtype)
    mean_B1NH = jnp.repeat(mean_B1KH, out_BTNH.shape[2] // v_BSKH.shape[2], axis=2)
    return jnp.where(sees_BT[:, :, None, None], out_BTNH, mean_B1NH)
