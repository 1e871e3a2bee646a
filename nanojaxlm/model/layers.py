"""Einsum, RMSNorm, Embed and feed-forward: each parameter says its shape and its logical axes."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.model.config import FeedForwardConfig
from nanojaxlm.sharding import Named, Names, constrain

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "relu_squared": lambda x: jnp.square(jax.nn.relu(x)),  # So et al. 2021, Primer
}


def named(
    initializer: Callable[..., Any], names: Names, fan_in_axes: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """The initializer, with its result in a Named box, which Module.param takes off again."""
    return lambda *args: Named(initializer(*args), names, fan_in_axes)


class Einsum(nn.Module):
    """`jnp.einsum(eqn, x, kernel)` with a learned float32 kernel of this shape and these logical
    axes.

    Initialised normal with variance scale² / fan-in, where the fan-in is the axes the product sums
    over.
    """

    eqn: str
    shape: tuple[int, ...]
    names: Names
    scale: float = 1.0
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs, output = self.eqn.split("->")
        kernel_letters = inputs.split(",")[1]
        fan_in_axes = tuple(i for i, c in enumerate(kernel_letters) if c not in output)
        std = self.scale / math.sqrt(math.prod(self.shape[i] for i in fan_in_axes))
        init = named(nn.initializers.normal(std), self.names, fan_in_axes)
        kernel = self.param("kernel", init, self.shape, jnp.float32)
        return jnp.einsum(self.eqn, x, kernel.astype(self.dtype))


class RMSNorm(nn.Module):
    """x / rms(x) * scale over the last axis, in float32 (Zhang & Sennrich 2019)."""

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = named(nn.initializers.ones, ("norm",))
        scale = self.param("scale", init, (x.shape[-1],), jnp.float32)
        x32 = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
        scale = jnp.expand_dims(scale, tuple(range(x.ndim - 1)))
        return (x32 * jax.lax.rsqrt(mean_square + self.epsilon) * scale).astype(x.dtype)


class Embed(nn.Module):
    """Token ids to vectors, and vectors to logits where embeddings are tied."""

    vocab_size: int
    d_model: int
    dtype: jnp.dtype

    def setup(self) -> None:
        init = named(nn.initializers.normal(self.d_model**-0.5), ("vocab", "embed"))
        self.embedding_VD = self.param(
            "embedding", init, (self.vocab_size, self.d_model), jnp.float32
        )

    def __call__(self, tokens_BT: jax.Array) -> jax.Array:
        """x_BTD with elements of variance 1: rows have norm 1, so the product by sqrt(D) is
        theirs."""
        x_BTD = jnp.take(self.embedding_VD, tokens_BT, axis=0) * math.sqrt(self.d_model)
        return x_BTD.astype(self.dtype)

    def logits(self, x_BTD: jax.Array) -> jax.Array:
        """float32 logits_BTV."""
        return jnp.einsum(
            "BTD,VD->BTV",
            x_BTD,
            self.embedding_VD.astype(self.dtype),
            preferred_element_type=jnp.float32,
        )


class FeedForward(nn.Module):
    config: FeedForwardConfig
    d_model: int
    out_scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        d, f = self.d_model, self.config.hidden
        activation = ACTIVATIONS[self.config.activation]
        shape, names = (d, f), ("embed", "mlp")
        up_BTF = Einsum("BTD,DF->BTF", shape, names, dtype=self.dtype, name="up")(x_BTD)
        if self.config.gated:
            gate = Einsum("BTD,DF->BTF", shape, names, dtype=self.dtype, name="gate")
            h_BTF = activation(gate(x_BTD)) * up_BTF
        else:
            h_BTF = activation(up_BTF)
        h_BTF = constrain(h_BTF, "batch", "length", "act_mlp")
        down = Einsum(
            "BTF,FD->BTD", (f, d), ("mlp", "embed"), self.out_scale, self.dtype, name="down"
        )
        return down(h_BTF)
