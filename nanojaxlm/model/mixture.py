"""A mixture of experts: each token goes through a few of many feed-forwards, and none is dropped.

Tokens are sorted by expert, and one ragged product a matrix does all experts
(Gale et al. 2022, MegaBlocks).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.model.config import MixtureConfig
from nanojaxlm.model.layers import ACTIVATIONS, Einsum, FeedForward
from nanojaxlm.sharding import constrain, named

LOSSES = "losses"  # the collection that the auxiliary losses are sown into


class Routing(NamedTuple):
    """experts_MK: int32, the experts of each of M tokens. weights_MK: float32, of their outputs.
    scores_ME: float32, all scores, each token's summing to 1."""

    experts_MK: jax.Array
    weights_MK: jax.Array
    scores_ME: jax.Array


def route(logits_ME: jax.Array, choice_bias_E: jax.Array | None, config: MixtureConfig) -> Routing:
    """The choice of top_k experts a token, from float32 router logits.

    Softmax: Mixtral, Qwen-MoE. Sigmoid, with a bias for the choice and groups of experts scored by
    the sum of their two best: DeepSeek-V3 (arXiv 2412.19437, section 2.1.2).
    """
    c = config
    if c.scores == "softmax":
        scores_ME = jax.nn.softmax(logits_ME, axis=-1)
    else:
        scores_ME = jax.nn.sigmoid(logits_ME)
    choice_ME = scores_ME
    if choice_bias_E is not None:
        choice_ME = choice_ME + jax.lax.stop_gradient(choice_bias_E)[None]
    if c.num_groups > 1:
        grouped_MGE = choice_ME.reshape(-1, c.num_groups, c.num_experts // c.num_groups)
        best_MG2, _ = jax.lax.top_k(grouped_MGE, min(2, grouped_MGE.shape[-1]))
        _, groups = jax.lax.top_k(jnp.sum(best_MG2, axis=-1), c.top_groups)
        open_MG = jnp.sum(jax.nn.one_hot(groups, c.num_groups), axis=1) > 0
        choice_ME = jnp.where(open_MG[:, :, None], grouped_MGE, -jnp.inf).reshape(choice_ME.shape)
    _, experts_MK = jax.lax.top_k(choice_ME, c.top_k)
    weights_MK = jnp.take_along_axis(scores_ME, experts_MK, axis=-1)
    if c.normalize:
        weights_MK = weights_MK / (jnp.sum(weights_MK, axis=-1, keepdims=True) + 1e-20)
    if c.scores == "sigmoid":
        scores_ME = scores_ME / jnp.sum(scores_ME, axis=-1, keepdims=True)
    return Routing(experts_MK, weights_MK * c.scale, scores_ME)


def auxiliary_loss(
    routing: Routing, logits_ME: jax.Array, valid_M: jax.Array, config: MixtureConfig
) -> jax.Array:
    """float32[]: load_balance * E sum_e f_e p_e + router_z * mean (log Z)², over valid tokens.

    f_e: part of the assignments that go to expert e; p_e: its mean score; 1 where all are even
    (Fedus et al. 2021, Switch Transformer, eq. 4; Zoph et al. 2022, ST-MoE, eq. 5).
    """
    weight_M = valid_M.astype(jnp.float32)
    count = jnp.maximum(jnp.sum(weight_M), 1.0)
    chosen_ME = jnp.sum(jax.nn.one_hot(routing.experts_MK, config.num_experts), axis=1)
    share_E = jnp.sum(chosen_ME * weight_M[:, None], axis=0) / (count * config.top_k)
    score_E = jnp.sum(routing.scores_ME * weight_M[:, None], axis=0) / count
    balance = config.num_experts * jnp.sum(share_E * score_E)
    z = jnp.sum(jnp.square(jax.nn.logsumexp(logits_ME, axis=-1)) * weight_M) / count
    return config.load_balance * balance + config.router_z * z


class Router(nn.Module):
    config: MixtureConfig
    d_model: int

    @nn.compact
    def __call__(self, x_MD: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """float32 logits_ME, and the choice bias where there is one."""
        c = self.config
        init = named(nn.initializers.normal(self.d_model**-0.5), ("embed", "router"), (0,))
        kernel_DE = self.param("kernel", init, (self.d_model, c.num_experts), jnp.float32)
        logits_ME = jnp.einsum("MD,DE->ME", x_MD.astype(jnp.float32), kernel_DE)
        if not c.choice_bias:
            return logits_ME, None
        init = named(nn.initializers.zeros, ("router",))
        return logits_ME, self.param("choice_bias", init, (c.num_experts,), jnp.float32)


class Experts(nn.Module):
    """num_experts feed-forwards, their kernels in one array each."""

    config: MixtureConfig
    d_model: int
    out_scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_MD: jax.Array, sizes_E: jax.Array) -> jax.Array:
        """Rows sorted by expert, sizes_E (int32) of them for each."""
        expert = self.config.expert
        e, d, f = self.config.num_experts, self.d_model, expert.hidden

        def product(name: str, x: jax.Array, fan_in: int, out: int, scale: float) -> jax.Array:
            names = ("expert", "mlp", "embed") if name == "down" else ("expert", "embed", "mlp")
            kernel = ExpertKernel((e, fan_in, out), names, scale, name=name)()
            return jax.lax.ragged_dot(x, kernel.astype(self.dtype), sizes_E)

        h_MF = product("up", x_MD, d, f, 1.0)
        activation = ACTIVATIONS[expert.activation]
        if expert.gated:
            h_MF = activation(product("gate", x_MD, d, f, 1.0)) * h_MF
        else:
            h_MF = activation(h_MF)
        return product("down", h_MF, f, d, self.out_scale)


class ExpertKernel(nn.Module):
    shape: tuple[int, int, int]
    names: tuple[str, str, str]
    scale: float

    @nn.compact
    def __call__(self) -> jax.Array:
        init = nn.initializers.normal(self.scale * self.shape[1] ** -0.5)
        return self.param("kernel", named(init, self.names, (1,)), self.shape, jnp.float32)


class Mixture(nn.Module):
    config: MixtureConfig
    d_model: int
    out_scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BTD: jax.Array, valid_BT: jax.Array) -> jax.Array:
        """The weighted sum of each token's experts; sows the auxiliary loss of valid tokens."""
        c, d = self.config, self.d_model
        x_MD = x_BTD.reshape(-1, d)
        logits_ME, choice_bias_E = Router(c, d, name="router")(x_MD)
        routing = route(logits_ME, choice_bias_E, c)
        loss = auxiliary_loss(routing, logits_ME, valid_BT.reshape(-1), c)
        self.sow(LOSSES, "router_loss", loss)
        expert_of = routing.experts_MK.reshape(-1)
        order = jnp.argsort(expert_of, stable=True)
        sizes_E = jnp.bincount(expert_of, length=c.num_experts).astype(jnp.int32)
        experts = Experts(c, d, self.out_scale, self.dtype, name="experts")
        sorted_out = experts(jnp.take(x_MD, order // c.top_k, axis=0), sizes_E)
        out_MKD = jnp.take(sorted_out, jnp.argsort(order), axis=0).reshape(-1, c.top_k, d)
        out_MD = jnp.einsum("MKD,MK->MD", out_MKD, routing.weights_MK.astype(out_MKD.dtype))
        out_BTD = constrain(out_MD.reshape(x_BTD.shape), "batch", "length", "act_embed")
        if c.shared is None:
            return out_BTD
        shared_BTD = FeedForward(c.shared, d, self.out_scale, self.dtype, name="shared")(x_BTD)
        if c.shared_gate:
            names = ("embed", None)
            gate = Einsum("BTD,DE->BTE", (d, 1), names, dtype=self.dtype, name="shared_gate")
            shared_BTD = jax.nn.sigmoid(gate(x_BTD)) * shared_BTD
        return out_BTD + shared_BTD
