"""Keys and values of the tokens a decoder has seen, and of the text its encoder has read."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.partition import partition


class LayerCache(NamedTuple):
    """memory_k_BSKH, memory_v_BSKH: of the encoder's output; None without an encoder."""

    k_BSKH: jax.Array
    v_BSKH: jax.Array
    memory_k_BSKH: jax.Array | None = None
    memory_v_BSKH: jax.Array | None = None


class StackCache(NamedTuple):
    """One LayerCache for each layer of the parts of a Partition; those of `repeated` have a leading
    axis, one entry a repeat."""

    first: tuple[LayerCache, ...]
    repeated: tuple[LayerCache, ...]
    rest: tuple[LayerCache, ...]


class Cache(NamedTuple):
    """segments_BS: 0 where nothing is written yet. memory_segments_BS: of the encoder's text.
    length: int32[], how many of the S slots are written; the same for all rows (pad on the left).
    """

    layers: StackCache
    segments_BS: jax.Array
    length: jax.Array
    memory_segments_BS: jax.Array | None = None


def empty_cache(config: ModelConfig, batch_size: int, size: int, memory_size: int = 0) -> Cache:
    """A cache of `size` slots, in the model's activation dtype.

    memory_size: tokens that the encoder will read; 0 without an encoder.
    """
    stack = config.decoder
    assert stack is not None, "an encoder alone has no cache"
    heads = (stack.attention.num_kv_heads, stack.attention.head_dim)
    dtype = jnp.dtype(config.dtype)

    def layer(*leading: int) -> LayerCache:
        def zeros(length: int) -> jax.Array:  # each its own buffer: all are donated
            return jnp.zeros((*leading, batch_size, length, *heads), dtype)

        if config.encoder is None:
            return LayerCache(zeros(size), zeros(size))
        return LayerCache(zeros(size), zeros(size), zeros(memory_size), zeros(memory_size))

    parts = partition(stack)
    layers = StackCache(
        first=tuple(layer() for _ in range(parts.num_first)),
        repeated=tuple(layer(parts.repeats) for _ in range(parts.period)),
        rest=tuple(layer() for _ in range(parts.num_rest)),
    )
    memory_segments_BS = None
    if config.encoder is not None:
        memory_segments_BS = jnp.zeros((batch_size, memory_size), jnp.int32)
    segments_BS = jnp.zeros((batch_size, size), jnp.int32)
    return Cache(layers, segments_BS, jnp.zeros((), jnp.int32), memory_segments_BS)
