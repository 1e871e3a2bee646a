"""A mixture of experts: each token goes through a few of many feed-forwards.

Tokens are sorted by expert, and one grouped product a matrix does all experts (Gale et al. 2022,
MegaBlocks). On a mesh each device routes its own tokens, and nothing is gathered but kernels over
FSDP: an all-to-all brings a token to the devices of its experts (dispatch.py).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from nanojaxlm.model.config import MixtureConfig
from nanojaxlm.model.dispatch import buffer_rows, through_experts, through_owners
from nanojaxlm.model.grouped import grouped_product
from nanojaxlm.model.layers import ACTIVATIONS, Einsum, FeedForward
from nanojaxlm.model.router import Router, RouterSums, route, router_sums
from nanojaxlm.sharding import (
    active,
    axis_size,
    constrain,
    mesh_axes,
    named,
    per_device,
    splits_evenly,
)

LOSSES = "losses"  # the collection that what auxiliary losses are made of is sown into
COUNTS = "counts"  # and the one for how many assignments were dropped


class Kernels(NamedTuple):
    """Of all experts together; gate: None where they have none."""

    up_EDF: jax.Array
    gate_EDF: jax.Array | None
    down_EFD: jax.Array


class Experts(nn.Module):
    """num_experts feed-forwards, their kernels in one array each."""

    config: MixtureConfig
    d_model: int
    out_scale: float

    @nn.compact
    def __call__(self) -> Kernels:
        """float32."""
        e, d, f = self.config.num_experts, self.d_model, self.config.expert.hidden
        inward, outward = (e, d, f), (e, f, d)
        return Kernels(
            ExpertKernel(inward, _INWARD, 1.0, name="up")(),
            ExpertKernel(inward, _INWARD, 1.0, name="gate")() if self.config.expert.gated else None,
            ExpertKernel(outward, _OUTWARD, self.out_scale, name="down")(),
        )


class ExpertKernel(nn.Module):
    shape: tuple[int, int, int]
    names: tuple[str, str, str]
    scale: float

    @nn.compact
    def __call__(self) -> jax.Array:
        init = nn.initializers.normal(self.scale * self.shape[1] ** -0.5)
        return self.param("kernel", named(init, self.names, (1,)), self.shape, jnp.float32)


_INWARD = ("expert", "expert_embed", "mlp")
_OUTWARD = ("expert", "mlp", "expert_embed")


class Routed(NamedTuple):
    """What one device knows after its tokens went through their experts.

    out_PBTD: a sum over the part of the experts' hidden axis that the device has; P = 1. sums_BT,
    dropped_BT: over its tokens; B = T = 1, so that the sums of all devices are the whole batch's.
    """

    out_PBTD: jax.Array
    sums_BT: RouterSums
    dropped_BT: jax.Array


class Mixture(nn.Module):
    config: MixtureConfig
    d_model: int
    out_scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BTD: jax.Array, valid_BT: jax.Array) -> jax.Array:
        """The weighted sum of each token's experts; padding goes to none.

        Sows the RouterSums of valid tokens and, with a capacity, how many of their assignments were
        dropped and how many there were: float32[2].
        """
        c, d = self.config, self.d_model
        logits_BTE, choice_bias_E = Router(c, d, name="router")(x_BTD)
        kernels = Experts(c, d, self.out_scale, name="experts")()
        kernels = jax.tree.map(lambda kernel: kernel.astype(self.dtype), kernels)
        routed = _run(c, x_BTD, logits_BTE, valid_BT, choice_bias_E, kernels)
        sums = jax.tree.map(lambda part: jnp.sum(part, axis=(0, 1)), routed.sums_BT)
        self.sow(LOSSES, "router_sums", sums)
        if c.capacity is not None:
            counts = jnp.stack([jnp.sum(routed.dropped_BT), sums.count * c.top_k])
            self.sow(COUNTS, "dropped", counts)
        out_BTD = jnp.sum(routed.out_PBTD, axis=0)
        out_BTD = constrain(out_BTD, "batch", "residual_length", "act_embed")
        if c.shared is None:
            return out_BTD
        shared_BTD = FeedForward(c.shared, d, self.out_scale, self.dtype, name="shared")(x_BTD)
        if c.shared_gate:
            names = ("embed", None)
            gate = Einsum("BTD,DE->BTE", (d, 1), names, dtype=self.dtype, name="shared_gate")
            shared_BTD = jax.nn.sigmoid(gate(x_BTD)) * shared_BTD
        return out_BTD + shared_BTD


def _run(
    config: MixtureConfig,
    x_BTD: jax.Array,
    logits_BTE: jax.Array,
    valid_BT: jax.Array,
    choice_bias_E: jax.Array | None,
    kernels: Kernels,
) -> Routed:
    """`_run_on_device` on each device of the mesh, if there is one that the tokens split over."""
    arrays = (x_BTD, logits_BTE, valid_BT, choice_bias_E, kernels)
    tokens = ("batch", "length")
    if active() is None or not splits_evenly(x_BTD.shape[:2], tokens):
        return _run_on_device(config, 1, (), *arrays)
    bias = None if choice_bias_E is None else (None,)
    gate = None if kernels.gate_EDF is None else _INWARD
    kernel_names = Kernels._make((_INWARD, gate, _OUTWARD))
    sums = RouterSums._make(((*tokens, None), (*tokens, None), tokens, tokens))
    run = per_device(
        partial(_run_on_device, config, axis_size("expert"), mesh_axes("expert_embed")),
        in_names=((*tokens, None), (*tokens, None), tokens, bias, kernel_names),
        out_names=Routed._make((("mlp", *tokens, None), sums, tokens)),
    )
    return run(*arrays)


def _run_on_device(
    config: MixtureConfig,
    num_owners: int,
    kernel_axes: tuple[str, ...],
    x_BTD: jax.Array,
    logits_BTE: jax.Array,
    valid_BT: jax.Array,
    choice_bias_E: jax.Array | None,
    kernels: Kernels,
) -> Routed:
    """num_owners: devices that the experts are split over. kernel_axes: mesh axes that the embed
    axis of the kernels is split over; it is gathered here, and its gradient scattered."""
    c, d = config, x_BTD.shape[-1]
    x_MD, valid_M = x_BTD.reshape(-1, d), valid_BT.reshape(-1)
    logits_ME = logits_BTE.reshape(-1, c.num_experts)
    routing = route(logits_ME, choice_bias_E, c)
    sums = router_sums(routing, logits_ME, valid_M, c)
    experts_MK = jnp.where(valid_M[:, None], routing.experts_MK, c.num_experts)

    if kernel_axes:
        gather = partial(jax.lax.all_gather, axis_name=kernel_axes, tiled=True)
        up_EDF, gate_EDF, down_EFD = kernels
        gate_EDF = None if gate_EDF is None else gather(gate_EDF, axis=1)
        kernels = Kernels(gather(up_EDF, axis=1), gate_EDF, gather(down_EFD, axis=2))
    experts = partial(_feed_forwards, ACTIVATIONS[c.expert.activation], kernels)
    if num_owners == 1:
        out_MKD = through_experts(x_MD, experts_MK, experts, c.num_experts)
        dropped = jnp.zeros((), jnp.float32)
    else:
        rows = buffer_rows(len(x_MD), c.top_k, c.num_experts, num_owners, c.capacity)
        owners = (c.num_experts, num_owners, rows)
        out_MKD, dropped = through_owners(x_MD, experts_MK, experts, *owners)
    out_MKD = checkpoint_name(out_MKD, "down")
    out_MD = jnp.einsum("MKD,MK->MD", out_MKD, routing.weights_MK.astype(out_MKD.dtype))
    sums, dropped = jax.tree.map(lambda part: part[None, None], (sums, dropped))
    return Routed(out_MD.reshape(1, *x_BTD.shape), sums, dropped)


def _feed_forwards(
    activation: Callable[[jax.Array], jax.Array],
    kernels: Kernels,
    x_RD: jax.Array,
    sizes_E: jax.Array,
) -> jax.Array:
    """Each expert's feed-forward of its own rows."""
    h_RF = checkpoint_name(grouped_product(x_RD, kernels.up_EDF, sizes_E), "up")
    if kernels.gate_EDF is None:
        h_RF = activation(h_RF)
    else:
        gate_RF = grouped_product(x_RD, kernels.gate_EDF, sizes_E)
        h_RF = activation(checkpoint_name(gate_RF, "gate")) * h_RF
    return grouped_product(h_RF, kernels.down_EFD, sizes_E)
