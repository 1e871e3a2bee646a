"""The batch: the contract in memory between the data, the model and the loss.

Letters in names, the same as jax.nn.dot_product_attention:
    B batch   T query length   S key length   D model width   N heads   K key/value heads   G = N/K
      H head width
    F feed-forward width   V vocabulary   L layers   C chunks
`x_BTD` has shape [B, T, D].
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


class Stream(NamedTuple):
    """What one stack reads.

    tokens_BT: int32 token ids.
    positions_BT: int32, from 0 at the start of each document's piece in the row.
    segments_BT: int32, 1, 2, … a document each; 0 is padding. Attention never crosses segments;
        a decoder's segment reads the encoder's of the same number.
    prefix_BT: int32, 1 where a decoder's token is visible to all of its segment, the earlier ones
        too; None = nowhere.
    """

    tokens_BT: Array
    positions_BT: Array
    segments_BT: Array
    prefix_BT: Array | None = None


class Targets(NamedTuple):
    """tokens_BT: int32 ids to predict. weights_BT: float32, the weight of each in the loss; 0 = no
    target."""

    tokens_BT: Array
    weights_BT: Array


class Batch(NamedTuple):
    """What a step reads: it never learns which objective made it.

    targets: what the last stack predicts: the decoder where there is one, else the encoder.
    future: what its extra heads predict, tokens 2, 3, … ahead; empty without such heads.
    """

    targets: Targets
    decoder: Stream | None = None
    encoder: Stream | None = None
    future: tuple[Targets, ...] = ()


def fingerprint(batch: Batch) -> jax.Array:
    """A 2 x 32-bit hash of a whole global batch, as uint32[2].

    A sum, modulo 2^32, over all elements of a mix of (array, row, column, value), so it does not
    depend on how the
    batch is spread over devices and processes. The mix is the finalizer of MurmurHash3 (Appleby,
    public domain).
    """
    with jax.numpy_dtype_promotion("standard"):
        halves = []
        for seed in (0x9E3779B9, 0x85EBCA6B):
            total = jnp.uint32(0)
            for i, array in enumerate(jax.tree.leaves(batch)):
                value = jax.lax.bitcast_convert_type(jnp.asarray(array), jnp.uint32)
                row = jax.lax.broadcasted_iota(jnp.uint32, value.shape, 0)
                column = jax.lax.broadcasted_iota(jnp.uint32, value.shape, 1)
                mixed = _mix(value ^ jnp.uint32((seed * (i + 1)) & 0xFFFFFFFF))
                mixed = _mix(mixed + row * jnp.uint32(0xC2B2AE35) + column * jnp.uint32(0x27D4EB2F))
                total = total + jnp.sum(mixed, dtype=jnp.uint32)
            halves.append(total)
        return jnp.stack(halves)


def fingerprint_hex(halves: Any) -> str:
    """uint32[2] as 16 hex digits, as metrics.jsonl shows it."""
    return "".join(f"{int(half):08x}" for half in np.asarray(halves))


def _mix(h: jax.Array) -> jax.Array:
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
