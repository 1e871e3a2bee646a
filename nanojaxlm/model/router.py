"""The choice of experts for each token, and the losses that keep a router even."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.model.config import MixtureConfig
from nanojaxlm.sharding import constrain, named


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


class RouterSums(NamedTuple):
    """float32 sums over valid tokens, of which the auxiliary loss is made; those of several parts
    of a batch add up.

    chosen_E: assignments to each expert, times load_balance * E / top_k. scores_E: its scores.
    z: (log Z)², times router_z. count: 1.
    """

    chosen_E: jax.Array
    scores_E: jax.Array
    z: jax.Array
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]


def router_sums(
    routing: Routing, logits_ME: jax.Array, valid_M: jax.Array, config: MixtureConfig
) -> RouterSums:
    weight_M = valid_M.astype(jnp.float32)
    chosen_ME = jnp.sum(jax.nn.one_hot(routing.experts_MK, config.num_experts), axis=1)
    z_M = jnp.square(jax.nn.logsumexp(logits_ME, axis=-1))
    balance = config.load_balance * config.num_experts / config.top_k
    return RouterSums(
        balance * jnp.sum(chosen_ME * weight_M[:, None], axis=0),
        jnp.sum(routing.scores_ME * weight_M[:, None], axis=0),
        config.router_z * jnp.sum(z_M * weight_M),
        jnp.sum(weight_M),
    )


def auxiliary_loss(sums: RouterSums) -> jax.Array:
    """float32: load_balance * E sum_e f_e p_e + router_z * mean (log Z)², over valid tokens; axes
    before those of the sums, such as layers, stay.

    f_e: part of the assignments that go to expert e; p_e: its mean score; 1 where all are even
    (Fedus et al. 2021, Switch Transformer, eq. 4; Zoph et al. 2022, ST-MoE, eq. 5).
    """
    count = jnp.maximum(sums.count, 1.0)
    share_E, score_E = sums.chosen_E / count[..., None], sums.scores_E / count[..., None]
    return jnp.sum(share_E * score_E, axis=-1) + sums.z / count


class Router(nn.Module):
    config: MixtureConfig
    d_model: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """float32 logits_BTE, and the choice bias where there is one."""
        c = self.config
        init = named(nn.initializers.normal(self.d_model**-0.5), ("embed", "router"), (0,))
        kernel_DE = self.param("kernel", init, (self.d_model, c.num_experts), jnp.float32)
        # a choice is not to turn on bfloat16 products, in which an accelerator multiplies float32
        x_BTD, exact = x_BTD.astype(jnp.float32), jax.lax.Precision.HIGHEST
        logits_BTE = jnp.einsum("BTD,DE->BTE", x_BTD, kernel_DE, precision=exact)
        logits_BTE = constrain(logits_BTE, "batch", "residual_length", None)
        if not c.choice_bias:
            return logits_BTE, None
        init = named(nn.initializers.zeros, ("router",))
        return logits_BTE, self.param("choice_bias", init, (c.num_experts,), jnp.float32)
