"""Rotary position embedding, half-split (Su et al. 2021; the layout of GPT-NeoX and of Llama in
Hugging Face)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Rotation(NamedTuple):
    """cos and sin of position * theta^(-2i/H), float32[B, T, 1, H/2]; made once, used by every
    layer."""

    cos: jax.Array
    sin: jax.Array


def make_rotation(positions_BT: jax.Array, head_dim: int, theta: float) -> Rotation:
    frequency = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angle = positions_BT.astype(jnp.float32)[:, :, None, None] * frequency[None, None, None, :]
    return Rotation(jnp.cos(angle), jnp.sin(angle))


def rotate(x_BTNH: jax.Array, rotation: Rotation) -> jax.Array:
    """Rotates each pair (i, i + H/2) of the last axis, in float32."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    rotated = (
        first * rotation.cos - second * rotation.sin,
        second * rotation.cos + first * rotation.sin,
    )
    return jnp.concatenate(rotated, axis=-1).astype(x_BTNH.dtype)
