"""Einsum, norms, Embed, feed-forward, Head: each parameter says its shape and its logical axes."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from nanojaxlm.batch import Stream
from nanojaxlm.model.config import (
    EmbedConfig,
    FeedForwardConfig,
    LayerNormConfig,
    ModelConfig,
    NormConfig,
    RMSNormConfig,
)
from nanojaxlm.sharding import (
    Names,
    axis_size,
    constrain,
    mesh_axes,
    named,
    per_device,
    splits_evenly,
)

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "relu_squared": lambda x: jnp.square(jax.nn.relu(x)),  # So et al. 2021, Primer
}


class Einsum(nn.Module):
    """`jnp.einsum(eqn, x, kernel)` with a learned float32 kernel of this shape and these logical
    axes, plus a bias where asked for.

    Initialised normal with variance scale² / fan-in, where the fan-in is the axes the product sums
    over; the bias at 0. Remat knows the product by the module's name.
    """

    eqn: str
    shape: tuple[int, ...]
    names: Names
    scale: float = 1.0
    dtype: jnp.dtype = jnp.dtype("float32")
    bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs, output = self.eqn.split("->")
        kernel_letters = inputs.split(",")[1]
        fan_in_axes = tuple(i for i, c in enumerate(kernel_letters) if c not in output)
        std = self.scale / math.sqrt(math.prod(self.shape[i] for i in fan_in_axes))
        init = named(nn.initializers.normal(std), self.names, fan_in_axes)
        kernel = self.param("kernel", init, self.shape, jnp.float32)
        y = checkpoint_name(jnp.einsum(self.eqn, x, kernel.astype(self.dtype)), str(self.name))
        if not self.bias:
            return y
        kept = [i for i in range(len(self.shape)) if i not in fan_in_axes]
        # "embed" is split over fsdp only in matrices
        names = tuple("norm" if self.names[i] == "embed" else self.names[i] for i in kept)
        init = named(nn.initializers.zeros, names)
        bias = self.param("bias", init, tuple(self.shape[i] for i in kept), jnp.float32)
        return y + jnp.expand_dims(bias.astype(self.dtype), tuple(range(y.ndim - len(kept))))


class RMSNorm(nn.Module):
    """x / rms(x) * scale over the last axes, in float32 (Zhang & Sennrich 2019).

    names: the logical axes of the scale, one for each axis that is normed together.
    """

    config: RMSNormConfig
    names: Names = ("norm",)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n = len(self.names)
        start = nn.initializers.zeros if self.config.centered else nn.initializers.ones
        scale = self.param("scale", named(start, self.names), x.shape[-n:], jnp.float32)
        if self.config.centered:
            scale = 1.0 + scale
        x32 = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x32), axis=tuple(range(-n, 0)), keepdims=True)
        scale = jnp.expand_dims(scale, tuple(range(x.ndim - n)))
        return (x32 * jax.lax.rsqrt(mean_square + self.config.epsilon) * scale).astype(x.dtype)


class LayerNorm(nn.Module):
    """(x - mean) / std * scale + bias over the last axis, in float32 (Ba et al. 2016)."""

    config: LayerNormConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", named(nn.initializers.ones, ("norm",)), shape, jnp.float32)
        x32 = x.astype(jnp.float32)
        x32 = x32 - jnp.mean(x32, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
        leading = tuple(range(x.ndim - 1))
        y = x32 * jax.lax.rsqrt(variance + self.config.epsilon) * jnp.expand_dims(scale, leading)
        if self.config.bias:
            bias = self.param("bias", named(nn.initializers.zeros, ("norm",)), shape, jnp.float32)
            y = y + jnp.expand_dims(bias, leading)
        return y.astype(x.dtype)


def norm(config: NormConfig, name: str | None = None) -> nn.Module:
    """The norm that a config asks for, over the last axis."""
    if isinstance(config, RMSNormConfig):
        return RMSNorm(config, name=name)
    return LayerNorm(config, name=name)


class Embed(nn.Module):
    """A stream's tokens to vectors, and vectors to logits where embeddings are tied."""

    vocab_size: int
    d_model: int
    config: EmbedConfig
    norm_config: NormConfig
    dtype: jnp.dtype

    def setup(self) -> None:
        c = self.config
        init = nn.initializers.normal(self.d_model**-0.5)

        def table(name: str, rows: int, axis: str | None) -> jax.Array:
            return self.param(name, named(init, (axis, "embed")), (rows, self.d_model), jnp.float32)

        self.embedding_VD = table("embedding", self.vocab_size, "vocab")
        if c.num_positions is not None:
            self.positions_PD = table("positions", c.num_positions, None)
        if c.num_types is not None:
            self.types_ZD = table("types", c.num_types, None)
        if c.norm:
            self.norm = norm(self.norm_config)

    def __call__(self, stream: Stream) -> jax.Array:
        """x_BTD. Scaled by sqrt(D), the default, elements begin with variance 1.

        A position beyond the table gives NaN.
        """
        c = self.config
        scale = math.sqrt(self.d_model) if c.scale is None else c.scale
        x_BTD = look_up(self.embedding_VD, jnp.asarray(stream.tokens_BT)) * scale
        if c.num_positions is not None:
            rows_BT = jnp.asarray(stream.positions_BT) + c.first_position
            x_BTD = x_BTD + jnp.take(self.positions_PD, rows_BT, axis=0)
        if c.num_types is not None:
            x_BTD = x_BTD + self.types_ZD[:1][None]
        if c.norm:
            x_BTD = self.norm(x_BTD)
        return x_BTD.astype(self.dtype)

    def logits(self, x_BTD: jax.Array) -> jax.Array:
        """float32 logits_BTV."""
        return jnp.einsum(
            "BTD,VD->BTV",
            x_BTD,
            self.embedding_VD.astype(self.dtype),
            preferred_element_type=jnp.float32,
        )


def look_up(table_VD: jax.Array, tokens_BT: jax.Array) -> jax.Array:
    """The tokens' rows, float32 x_BTD.

    On a mesh each device has a part of the width for all tokens, and wants the whole of it for its
    own: the tokens are gathered, and an all-to-all brings each its row. The table itself, and its
    gradient, are never whole.
    """
    axes, vocab_axes = mesh_axes("embed"), mesh_axes("vocab")
    if axis_size("embed") * axis_size("vocab") == 1:
        return jnp.take(table_VD, tokens_BT, axis=0)
    if not splits_evenly(tokens_BT.shape, ("batch", "length")):  # all, to every device
        return constrain(jnp.take(table_VD, tokens_BT, axis=0), None, None, None)

    def own(part_VD: jax.Array, tokens_BT: jax.Array) -> jax.Array:
        rows = part_VD.shape[0]
        index_PBT = jax.lax.all_gather(tokens_BT, axes) - jax.lax.axis_index(vocab_axes) * rows
        parts_PBTD = jnp.take(part_VD, jnp.clip(index_PBT, 0, rows - 1), axis=0)
        here_PBT1 = ((index_PBT >= 0) & (index_PBT < rows))[..., None]
        parts_PBTD = jax.lax.psum(jnp.where(here_PBT1, parts_PBTD, 0.0), vocab_axes)
        return jax.lax.all_to_all(parts_PBTD, axes, split_axis=0, concat_axis=3, tiled=True)[0]

    in_names = (("vocab", "embed"), ("batch", "length"))
    return per_device(own, in_names, ("batch", "length", None))(table_VD, tokens_BT)


class FeedForward(nn.Module):
    config: FeedForwardConfig
    d_model: int
    out_scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        d, f, bias = self.d_model, self.config.hidden, self.config.bias
        activation = ACTIVATIONS[self.config.activation]

        def inward(name: str) -> Einsum:
            names = ("embed", "mlp")
            return Einsum("BTD,DF->BTF", (d, f), names, 1.0, self.dtype, bias, name=name)

        up_BTF = inward("up")(x_BTD)
        if self.config.gated:
            h_BTF = activation(inward("gate")(x_BTD)) * up_BTF
        else:
            h_BTF = activation(up_BTF)
        h_BTF = constrain(h_BTF, "batch", "length", "act_mlp")
        names = ("mlp", "embed")
        down = Einsum("BTF,FD->BTD", (f, d), names, self.out_scale, self.dtype, bias, name="down")
        return down(h_BTF)


class Head(nn.Module):
    """The last residual to float32 logits: a transform, a product, a scale, a bias, a cap.

    `config.vocab_size` is set by now. The product is the embedding's where they are tied.
    """

    config: ModelConfig

    def setup(self) -> None:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        assert c.vocab_size is not None
        if c.head_transform is not None:
            shape, names = (c.d_model, c.d_model), ("embed", None)
            bias = c.head_transform.bias
            self.transform = Einsum("BTD,DE->BTE", shape, names, dtype=dtype, bias=bias)
            self.norm = norm(c.last.norm)
        if not c.tie_embeddings:
            init = named(nn.initializers.normal(c.d_model**-0.5), ("embed", "vocab"), (0,))
            self.kernel_DV = self.param("kernel", init, (c.d_model, c.vocab_size), jnp.float32)
        if c.head_bias:
            init = named(nn.initializers.zeros, ("vocab",))
            self.bias_V = self.param("bias", init, (c.vocab_size,), jnp.float32)

    def __call__(self, x_BTD: jax.Array, embed: Embed) -> jax.Array:
        c = self.config
        if c.head_transform is not None:
            x_BTD = self.norm(ACTIVATIONS[c.head_transform.activation](self.transform(x_BTD)))
        if c.tie_embeddings:
            logits_BTV = embed.logits(x_BTD)
        else:
            kernel_DV = self.kernel_DV.astype(c.dtype)
            logits_BTV = jnp.einsum("BTD,DV->BTV", x_BTD, kernel_DV).astype(jnp.float32)
        if c.logit_scale != 1.0:
            logits_BTV = logits_BTV * c.logit_scale
        if c.head_bias:
            logits_BTV = logits_BTV + self.bias_V[None, None]
        logits_BTV = constrain(logits_BTV, "batch", "length", "act_vocab")
        if c.logit_softcap is not None:
            logits_BTV = c.logit_softcap * jnp.tanh(logits_BTV / c.logit_softcap)
        return logits_BTV
