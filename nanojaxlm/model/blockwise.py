"""Attention by blocks of queries and keys, in plain JAX: no array of all queries by all keys."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from nanojaxlm.model import row_split
from nanojaxlm.model.masks import AttentionMask, Band, visible
from nanojaxlm.model.remat import ATTENTION_OUT
from nanojaxlm.sharding import active, axis_size

BLOCK = 512  # queries and keys of a block: the logits of one are 1 MB a row and head
_LOWEST = float(np.finfo(np.float32).min) / 2  # twice this is still finite
_NO_QUERY, _NO_KEY = -1, -2  # segments of what fills the last block: they equal none


class Blocks(NamedTuple):
    """A device's queries and keys in blocks: I of queries, J of keys.

    q_index_IT: places in the row. k_prefix_JBS: as in the mask. pairs_P3: int32 (block of queries,
    block of keys, 0 = only a filler), those that may see each other, ordered by the first.
    """

    q_index_IT: jax.Array
    q_segments_IBT: jax.Array
    k_segments_JBS: jax.Array
    k_prefix_JBS: jax.Array | None
    pairs_P3: jax.Array

    def visible(self, i: jax.Array, j: jax.Array, real: jax.Array, band: Band) -> jax.Array:
        """bool[B, T, S] of blocks i and j."""
        size = self.k_segments_JBS.shape[2]
        k_index_S = j * size + jnp.arange(size, dtype=jnp.int32)
        prefix_BS = None if self.k_prefix_JBS is None else self.k_prefix_JBS[j]
        mask = AttentionMask(self.q_segments_IBT[i], self.k_segments_JBS[j], 0, prefix_BS)
        return visible(mask, band, self.q_index_IT[i], k_index_S) & (real > 0)


class Numbers(NamedTuple):
    """The static part of what is computed."""

    band: Band
    scale: float
    softcap: float | None


class Inputs(NamedTuple):
    """What has a gradient, in blocks; bias_KGTS is whole."""

    q_IBTKGH: jax.Array
    k_JBSKH: jax.Array
    v_JBSKH: jax.Array
    bias_KGTS: jax.Array | None


def blockwise(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    mask: AttentionMask,
    *,
    causal: bool,
    window: int | None,
    scale: float,
    softcap: float | None = None,
    bias_1NTS: jax.Array | None = None,
    block: int = BLOCK,
) -> jax.Array:
    """As `attend.dense`, in memory of O(T * H + block^2) a head, forward and backward.

    Blocks that neither causality nor the window lets see each other are not computed. Online
    softmax: Milakov and Gimelshein 2018; backward from the stored log-sum: Dao et al. 2022.
    """
    n = Numbers(Band(causal, window), scale, softcap)
    length, num_keys = q_BTNH.shape[1], k_BSKH.shape[1]
    is_cut = row_split.splits(q_BTNH, k_BSKH)
    num = axis_size("length") if is_cut else 1
    run = min(block, length // (2 * num))  # what two devices exchange must be whole blocks
    balanced = is_cut and row_split.balances(length, causal, window, run)
    size_q = min(block, run if balanced else length // num)
    sizes = size_q, min(block, num_keys)
    index_nT = row_split.places(length, num, balanced)
    if isinstance(mask.q_start, int) and mask.q_start == 0:
        reach = Band(causal and mask.k_prefix_BS is None, window)
    else:
        reach = Band(False, None)  # where the queries stand is not known yet
    tables = index_nT, visible_pairs(_filled(index_nT, size_q), num_keys, sizes, reach)

    def local(q, k, v, mask: AttentionMask, bias, tables) -> jax.Array:
        index_T, pairs_P3 = (table[0] for table in tables)
        return _local(n, sizes, q, k, v, mask, bias, mask.q_start + index_T, pairs_P3)

    arrays = (q_BTNH, k_BSKH, v_BSKH, mask, bias_1NTS, jax.tree.map(jnp.asarray, tables))
    if not is_cut or active() is None:
        return local(*arrays)
    names = (("length", None), ("length", None, None))
    return row_split.over_devices(local, *arrays, names, balanced)


def visible_pairs(
    q_index_nT: np.ndarray, num_keys: int, sizes: tuple[int, int], band: Band
) -> np.ndarray:
    """int32[n, P, 3] for the queries of n devices: each one's pairs (see Blocks), filled up to the
    longest.

    q_index_nT: the queries' places, those of a block in a run. sizes: of a block of queries and of
    keys. Causal, 4 blocks each: 10 pairs instead of 16.
    """
    size_q, size_k = sizes
    first_nI = q_index_nT[:, ::size_q, None]
    k_first = np.arange(0, num_keys, size_k)
    some, _ = band.meets(first_nI, first_nI + size_q - 1, k_first, k_first + size_k - 1)
    found = [np.argwhere(some_IJ) for some_IJ in some]
    pairs = np.zeros((len(found), max(map(len, found)), 3), np.int32)
    for device, pairs_P2 in enumerate(found):
        pairs[device, :, :2] = pairs_P2[-1]
        pairs[device, : len(pairs_P2)] = np.pad(pairs_P2, ((0, 0), (0, 1)), constant_values=1)
    return pairs


def _filled(index_nT: np.ndarray, size: int) -> np.ndarray:
    """With the last block filled up by the places that would follow."""
    missing = -index_nT.shape[1] % size
    last = index_nT[:, -1:] + 1 + np.arange(missing, dtype=np.int32)
    return np.concatenate((index_nT, last), axis=1)


def _local(
    n: Numbers,
    sizes: tuple[int, int],
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    mask: AttentionMask,
    bias_1NTS: jax.Array | None,
    q_index_T: jax.Array,
    pairs_P3: jax.Array,
) -> jax.Array:
    """out_BTNH of one device's arrays."""
    b, t, num_heads, h = q_BTNH.shape
    num_kv_heads, (size_q, size_k) = k_BSKH.shape[2], sizes
    q_BTKGH = q_BTNH.reshape(b, t, num_kv_heads, num_heads // num_kv_heads, h)
    bias_KGTS = None
    if bias_1NTS is not None:
        bias_KGTS = bias_1NTS.reshape(*q_BTKGH.shape[2:4], t, -1).astype(jnp.float32)
        missing = [(0, 0), (0, 0), (0, -t % size_q), (0, -k_BSKH.shape[1] % size_k)]
        bias_KGTS = jnp.pad(bias_KGTS, missing)
    prefix_BS = mask.k_prefix_BS
    blocks = Blocks(
        q_index_IT=_blocks(q_index_T[None], size_q)[:, 0],
        q_segments_IBT=_blocks(mask.q_segments_BT, size_q, _NO_QUERY),
        k_segments_JBS=_blocks(mask.k_segments_BS, size_k, _NO_KEY),
        k_prefix_JBS=None if prefix_BS is None else _blocks(prefix_BS, size_k),
        pairs_P3=pairs_P3,
    )
    inputs = Inputs(
        _blocks(q_BTKGH, size_q), _blocks(k_BSKH, size_k), _blocks(v_BSKH, size_k), bias_KGTS
    )
    out_IBTKGH, log_sum_IBKGT = _attend_blocks(n, inputs, blocks)
    out_BTNH = jnp.swapaxes(out_IBTKGH, 0, 1).reshape(b, -1, num_heads, h)[:, :t]
    sees_BT = jnp.swapaxes(log_sum_IBKGT[:, :, 0, 0] < -_LOWEST, 0, 1).reshape(b, -1)[:, :t]
    return row_split.mean_where_blind(out_BTNH, v_BSKH, sees_BT)


def _blocks(x_BT: jax.Array, size: int, filler: int = 0) -> jax.Array:
    """[B, T, …] -> [I, B, size, …], the last block filled up."""
    widths = [(0, 0), (0, -x_BT.shape[1] % size)] + [(0, 0)] * (x_BT.ndim - 2)
    x_BT = jnp.pad(x_BT, widths, constant_values=filler)
    return jnp.swapaxes(x_BT.reshape(x_BT.shape[0], -1, size, *x_BT.shape[2:]), 0, 1)


def _forward(n: Numbers, inputs: Inputs, blocks: Blocks) -> tuple[jax.Array, jax.Array]:
    """out_IBTKGH, and float32 log_sum_IBKGT: log(sum(exp(logits))), a huge number where a query
    sees no key, of which there is no gradient."""

    def add(carry: Any, pair_3: jax.Array) -> tuple[Any, None]:
        i, j = pair_3[0], pair_3[1]
        most, total, out = (a[i] for a in carry)
        logits_BKGTS, _ = _logits(n, inputs, blocks, pair_3)
        new_most = jnp.maximum(most, logits_BKGTS.max(axis=-1))
        p_BKGTS = jnp.exp(logits_BKGTS - new_most[..., None])
        kept = jnp.exp(most - new_most)
        v_BSKH = inputs.v_JBSKH[j]
        seen_BTKGH = _product("BKGTS,BSKH->BTKGH", p_BKGTS.astype(v_BSKH.dtype), v_BSKH)
        new = (new_most, total * kept + p_BKGTS.sum(axis=-1), out * _late(kept) + seen_BTKGH)
        return tuple(a.at[i].set(new_a) for a, new_a in zip(carry, new, strict=True)), None

    i, b, t, k, g, _ = inputs.q_IBTKGH.shape
    zero = jnp.zeros((i, b, k, g, t), jnp.float32)
    carry = (zero + _LOWEST, zero, jnp.zeros(inputs.q_IBTKGH.shape, jnp.float32))
    (most, total, out), _ = jax.lax.scan(add, carry, _masked_in_turn(blocks.pairs_P3, inputs))
    sees = total > 0
    total = jnp.where(sees, total, 1.0)
    out = (out / _late(total)).astype(inputs.q_IBTKGH.dtype)
    log_sum = jnp.where(sees, most + jnp.log(total), -_LOWEST)
    return checkpoint_name(out, ATTENTION_OUT), checkpoint_name(log_sum, ATTENTION_OUT)


def _forward_keeping(n: Numbers, inputs: Inputs, blocks: Blocks) -> tuple[Any, Any]:
    attended = _forward(n, inputs, blocks)
    return attended, (inputs, blocks, *attended)


def _backward(n: Numbers, kept: Any, cotangents: Any) -> tuple[Inputs, None]:
    inputs, blocks, out_IBTKGH, log_sum_IBKGT = kept
    d_out_IBTKGH, _ = cotangents
    products = out_IBTKGH.astype(jnp.float32) * d_out_IBTKGH.astype(jnp.float32)
    mean_IBKGT = jnp.moveaxis(products.sum(axis=-1), 2, -1)

    def add(carry: Inputs, pair_3: jax.Array) -> tuple[Inputs, None]:
        i, j = pair_3[0], pair_3[1]
        q_BTKGH, k_BSKH, v_BSKH = inputs.q_IBTKGH[i], inputs.k_JBSKH[j], inputs.v_JBSKH[j]
        d_out_BTKGH = d_out_IBTKGH[i]
        logits_BKGTS, slope_BKGTS = _logits(n, inputs, blocks, pair_3)
        p_BKGTS = jnp.exp(logits_BKGTS - log_sum_IBKGT[i][..., None])
        d_v_BSKH = _product("BKGTS,BTKGH->BSKH", p_BKGTS.astype(v_BSKH.dtype), d_out_BTKGH)
        d_p_BKGTS = _product("BTKGH,BSKH->BKGTS", d_out_BTKGH, v_BSKH)
        d_logits = p_BKGTS * (d_p_BKGTS - mean_IBKGT[i][..., None])
        d_bias = None
        if carry.bias_KGTS is not None:
            d_bias = _add_block(carry.bias_KGTS, d_logits.sum(axis=0), i, j)
        d_logits = (d_logits * slope_BKGTS * n.scale).astype(k_BSKH.dtype)
        d_q_BTKGH = _product("BKGTS,BSKH->BTKGH", d_logits, k_BSKH)
        d_k_BSKH = _product("BKGTS,BTKGH->BSKH", d_logits, q_BTKGH)
        return Inputs(
            carry.q_IBTKGH.at[i].add(d_q_BTKGH),
            carry.k_JBSKH.at[j].add(d_k_BSKH),
            carry.v_JBSKH.at[j].add(d_v_BSKH),
            d_bias,
        ), None

    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.float32), inputs)
    gradients, _ = jax.lax.scan(add, zeros, _masked_in_turn(blocks.pairs_P3, inputs))
    return jax.tree.map(lambda g, a: g.astype(a.dtype), gradients, inputs), None


_attend_blocks = jax.custom_vjp(_forward, nondiff_argnums=(0,))
_attend_blocks.defvjp(_forward_keeping, _backward)


def _masked_in_turn(pairs_P3: jax.Array, inputs: Inputs) -> jax.Array:
    """The pairs, as if they hung on the inputs. They do not, nor do the masks, which are therefore
    the same in every layer: where layers are scanned, jax would compute those of all pairs, for all
    heads, once before the scan, and keep them: an array of all queries by all keys."""
    return jax.lax.optimization_barrier((pairs_P3, inputs.q_IBTKGH))[0]


def _logits(
    n: Numbers, inputs: Inputs, blocks: Blocks, pair_3: jax.Array
) -> tuple[jax.Array, jax.Array | float]:
    """float32 logits_BKGTS of a pair of blocks, the lowest number where the mask forbids; and the
    slope of the cap, by which a gradient shrinks."""
    i, j, real = pair_3[0], pair_3[1], pair_3[2]
    logits = _product("BTKGH,BSKH->BKGTS", inputs.q_IBTKGH[i], inputs.k_JBSKH[j]) * n.scale
    slope: jax.Array | float = 1.0
    if n.softcap is not None:
        bent = jnp.tanh(logits / n.softcap)
        logits, slope = n.softcap * bent, 1 - bent**2
    if inputs.bias_KGTS is not None:
        logits = logits + _block_of(inputs.bias_KGTS, i, j, logits.shape[-2:])[None]
    visible_BTS = blocks.visible(i, j, real, n.band)
    return jnp.where(visible_BTS[:, None, None], logits, 2 * _LOWEST), slope


def _block_of(x_KGTS: jax.Array, i: jax.Array, j: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    start = (0, 0, i * sizes[0], j * sizes[1])
    return jax.lax.dynamic_slice(x_KGTS, start, (*x_KGTS.shape[:2], *sizes))


def _add_block(x_KGTS: jax.Array, block_KGTS: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    sizes = block_KGTS.shape[2:]
    total = _block_of(x_KGTS, i, j, sizes) + block_KGTS
    return jax.lax.dynamic_update_slice(x_KGTS, total, (0, 0, i * sizes[0], j * sizes[1]))


def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def _late(x_BKGT: jax.Array) -> jax.Array:
    """[…, K, G, T] -> […, T, K, G, 1]."""
    return jnp.moveaxis(x_BKGT, -1, -3)[..., None]
