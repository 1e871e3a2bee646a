"""Where a token stands: rotary embedding and its extensions, and the bucketed bias of T5.

Half-split everywhere: the layout of GPT-NeoX, and of Llama in Hugging Face.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from nanojaxlm.model.config import (
    BandScaling,
    LinearScaling,
    RelativeBiasConfig,
    Rope,
    YarnScaling,
)
from nanojaxlm.sharding import named


class Rotation(NamedTuple):
    """cos and sin of position * frequency, float32[B, T, 1, R/2] for R rotated dimensions; made
    once, used by every layer."""

    cos: jax.Array
    sin: jax.Array


def make_rotation(positions_BT: jax.Array, rope: Rope, rotated: int) -> Rotation:
    """The angles of `rotated` dimensions of each head."""
    frequency = frequencies(rope, rotated)[None, None, None, :]
    angle = positions_BT.astype(jnp.float32)[:, :, None, None] * frequency
    factor = np.float32(_attention_factor(rope))
    return Rotation(jnp.cos(angle) * factor, jnp.sin(angle) * factor)


def frequencies(rope: Rope, rotated: int) -> np.ndarray:
    """float32[R/2]: radians a token of each rotated pair."""
    pairs = np.arange(0, rotated, 2)
    frequency = rope.theta ** -(pairs / rotated)
    scaling = rope.scaling
    if isinstance(scaling, LinearScaling):
        frequency = frequency / scaling.factor
    elif isinstance(scaling, BandScaling):
        turns = scaling.original_length * frequency / (2 * math.pi)
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        kept = np.clip((turns - low) / (high - low), 0, 1)
        frequency = (kept + (1 - kept) / scaling.factor) * frequency
    elif isinstance(scaling, YarnScaling):

        def pair_of(turns: float) -> float:
            """The (fractional) pair that turns so often within original_length."""
            length = scaling.original_length / (turns * 2 * math.pi)
            return rotated * math.log(length) / (2 * math.log(rope.theta))

        first = max(math.floor(pair_of(scaling.beta_fast)), 0)
        last = min(math.ceil(pair_of(scaling.beta_slow)), rotated - 1)
        last = last + 0.001 if first == last else last
        divided = np.clip((np.arange(rotated // 2) - first) / (last - first), 0, 1)
        frequency = (1 - divided + divided / scaling.factor) * frequency
    return frequency.astype(np.float32)


def rotate(x_BTNH: jax.Array, rotation: Rotation) -> jax.Array:
    """Rotates each pair (i, i + R/2) of the first R dimensions of a head, in float32."""
    half = rotation.cos.shape[-1]
    first, second, rest = jnp.split(x_BTNH.astype(jnp.float32), (half, 2 * half), axis=-1)
    rotated = (
        first * rotation.cos - second * rotation.sin,
        second * rotation.cos + first * rotation.sin,
        rest,
    )
    return jnp.concatenate(rotated, axis=-1).astype(x_BTNH.dtype)


class RelativeBias(nn.Module):
    """A learned number for each head and bucket of the distance (Raffel et al. 2020)."""

    config: RelativeBiasConfig
    num_heads: int
    causal: bool

    @nn.compact
    def __call__(
        self, query_length: int, key_length: int, q_start: jax.Array | int = 0
    ) -> jax.Array:
        """float32 bias_1NTS, to add to the logits of attention."""
        init = named(nn.initializers.normal(0.02), (None, "heads"))
        shape = (self.config.num_buckets, self.num_heads)
        table = self.param("table", init, shape, jnp.float32)
        q_index = q_start + jnp.arange(query_length, dtype=jnp.int32)[:, None]
        distance_TS = jnp.arange(key_length, dtype=jnp.int32)[None, :] - q_index
        bias_TSN = jnp.take(table, buckets(distance_TS, self.config, self.causal), axis=0)
        return jnp.moveaxis(bias_TSN, -1, 0)[None]


def buckets(distance: jax.Array, config: RelativeBiasConfig, causal: bool) -> jax.Array:
    """int32 bucket of key index - query index: one each for near ones, then ever wider ones.

    Bidirectional: half of the buckets for keys before the query, half for those after. Causal: all
    for those before; later ones count as distance 0.
    """
    num, first = config.num_buckets, jnp.int32(0)
    if causal:
        distance = jnp.maximum(-distance, 0)
    else:
        num //= 2
        first = jnp.where(distance > 0, num, 0).astype(jnp.int32)
        distance = jnp.abs(distance)
    exact = num // 2
    ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / np.float32(exact))
    ratio = ratio / np.float32(math.log(config.max_distance / exact)) * np.float32(num - exact)
    wide = jnp.minimum(exact + ratio.astype(jnp.int32), num - 1)
    return first + jnp.where(distance < exact, distance, wide)


def _attention_factor(rope: Rope) -> float:
    if not isinstance(rope.scaling, YarnScaling):
        return 1.0
    if rope.scaling.attention_factor is not None:
        return rope.scaling.attention_factor
    return 1.0 if rope.scaling.factor <= 1 else 0.1 * math.log(rope.scaling.factor) + 1.0
