"""Attention by JAX's Pallas kernels for TPU ("splash": sparse flash attention)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from nanojaxlm.model import row_split
from nanojaxlm.model.masks import AttentionMask, Band
from nanojaxlm.model.remat import ATTENTION_OUT
from nanojaxlm.sharding import active, axis_size

LANES = 128  # a block is a multiple of it
_BLOCKS = (1024, 512, 256, LANES)
_BLOCK_BYTES = 512 * 1024  # of keys, of a head: several such arrays share 16 MiB of vector memory


def serves(q_BTNH: jax.Array, k_BSKH: jax.Array, mask: AttentionMask) -> bool:
    """Whether `splash` can compute it: whole rows, no prefix, lengths that divide into blocks."""
    starts_row = isinstance(mask.q_start, int) and mask.q_start == 0
    lengths = q_BTNH.shape[1] // axis_size("length"), k_BSKH.shape[1]
    return (
        starts_row
        and mask.k_prefix_BS is None
        and all(length % LANES == 0 for length in lengths)
        and (active() is None or row_split.splits(q_BTNH, k_BSKH))
    )


def splash(
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
    interpret: bool = False,
) -> jax.Array:
    """As `attend.dense`, where it `serves`, in memory of O(T * H) a head.

    Blocks outside the band are skipped, those across its edge masked within the kernel. interpret:
    on any machine, slowly, for tests.
    """
    assert bias_1NTS is None, "splash attention has no bias"
    band = Band(causal, window)
    length, num_keys = q_BTNH.shape[1], k_BSKH.shape[1]
    num = axis_size("length")
    balanced = row_split.balances(length, causal, window, LANES)
    run = length // num // (2 if balanced else 1)
    if band.is_bounded:
        mask_of_head: masks.Mask = BandMask(band, length, num_keys, num, balanced)
    else:
        mask_of_head = masks.FullMask((length // num, num_keys))  # the same on every device
    kernel = kernels.make_splash_mha(
        masks.MultiHeadMask([mask_of_head] * q_BTNH.shape[2]),
        block_sizes=block_sizes(run, num_keys, window, k_BSKH.shape[3] * k_BSKH.dtype.itemsize),
        attn_logits_soft_cap=softcap,
        head_shards=1,
        q_seq_shards=num if band.is_bounded else 1,
        residual_checkpoint_name=ATTENTION_OUT,
        interpret=interpret,
    )
    tables, tree = jax.tree.flatten(kernel)

    def local(q, k, v, mask: AttentionMask, bias, tables) -> jax.Array:
        del bias
        segments = kernels.SegmentIds(mask.q_segments_BT, mask.k_segments_BS)
        heads_first = (jnp.swapaxes(x, 1, 2) for x in (q * scale, k, v))
        run_kernel: Any = tree.unflatten(tables)
        out = jnp.swapaxes(jax.vmap(run_kernel)(*heads_first, segments), 1, 2)
        if causal:
            return out  # a query sees itself at least
        sees_BT = (mask.q_segments_BT[:, :, None] == mask.k_segments_BS[:, None]).any(axis=-1)
        return row_split.mean_where_blind(out, v, sees_BT)

    arrays = (q_BTNH, k_BSKH, v_BSKH, mask, None, tables)
    if active() is None:
        return local(*arrays)
    # the axis of queries, of what the kernel knows of its blocks, and of its places
    queries = "length" if band.is_bounded else None
    names = [(None, queries, None) if table.ndim == 3 else (queries,) for table in tables]
    return row_split.over_devices(local, *arrays, names, balanced)


def block_sizes(run: int, num_keys: int, window: int | None, key_bytes: int) -> kernels.BlockSizes:
    """run: queries that follow one another on a device, which whole blocks must cover. key_bytes:
    of a key of a head.

    Large blocks read keys and values seldom (a block of b queries does 2b products for a number it
    reads); small ones waste less along the diagonal, so a block is an eighth of the row at most, or
    the window. Backward: the fused kernel does 5 products a block instead of 7, but leaves a copy
    of the queries' gradient for each block of keys, and visits what a window forbids: so it is
    chosen where 4 blocks of keys do, without a window.
    """
    most = max(LANES, num_keys // 8 if window is None else window)
    query = _largest(run, most)
    key = _largest(num_keys, min(most, _BLOCK_BYTES // key_bytes))
    fused = num_keys // 4
    if window is None and fused % LANES == 0 and fused * key_bytes <= _BLOCK_BYTES:
        return kernels.BlockSizes(
            block_q=query,
            block_kv=key,
            block_kv_compute=_largest(key, 512),
            block_q_dkv=query,
            block_kv_dkv=fused,
            block_kv_dkv_compute=_largest(fused, 512),
            use_fused_bwd_kernel=True,
        )
    return kernels.BlockSizes(
        block_q=query,
        block_kv=key,
        block_kv_compute=_largest(key, 512),
        block_q_dkv=query,
        block_kv_dkv=key,
        block_kv_dkv_compute=_largest(key, 512),
        block_q_dq=query,
        block_kv_dq=key,
    )


def _largest(length: int, most: int) -> int:
    return next(size for size in _BLOCKS if length % size == 0 and (size <= most or size == LANES))


@dataclass(frozen=True)
class BandMask(masks.Mask):
    """A band over queries in the order in which the devices hold them (`row_split.places`)."""

    band: Band
    length: int
    num_keys: int
    num: int
    balanced: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.length, self.num_keys

    @cached_property
    def q_sequence(self) -> np.ndarray:
        return row_split.places(self.length, self.num, self.balanced).reshape(-1)

    @property
    def mask_function(self) -> Band:
        """Computes the mask of a block within the kernel, from places."""
        return self.band

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        """A small array that has a true element, and a false one, where the block has: all that the
        kernel's tables are made from. (The block itself takes minutes at 131,072 tokens.)"""
        queries, keys = index
        first = self.q_sequence[queries.start]
        last = first + queries.stop - queries.start - 1
        some, every = self.band.meets(first, last, keys.start, keys.stop - 1)
        return np.array([some, every])
