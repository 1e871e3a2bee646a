"""Keys and values of the tokens a decoder has seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nanojaxlm.model.config import ModelConfig


class LayerCache(NamedTuple):
    k_BSKH: jax.Array
    v_BSKH: jax.Array


class Cache(NamedTuple):
    """layers: one LayerCache with a leading axis [L]. segments_BS: 0 where nothing is written yet.
    length: int32[], how many of the S slots are written; the same for all rows (pad on the left).
    """

    layers: LayerCache
    segments_BS: jax.Array
    length: jax.Array


def empty_cache(config: ModelConfig, batch_size: int, size: int) -> Cache:
    """A cache of `size` slots, in the model's activation dtype."""
    attention = config.decoder.attention
    shape = (
        config.decoder.num_layers, batch_size, size, attention.num_kv_heads, attention.head_dim,
    )  # fmt: skip
    dtype = jnp.dtype(config.dtype)
    layers = LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))  # two: both are donated
    segments_BS = jnp.zeros((batch_size, size), jnp.int32)
    return Cache(layers, segments_BS, jnp.zeros((), jnp.int32))
