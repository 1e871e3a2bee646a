"""One layer: attention, attention to the encoder where there is one, feed-forward; each is added to
the residual, with norms before, after, or over the sum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from nanojaxlm.model.attention import CrossAttention, SelfAttention
from nanojaxlm.model.cache import LayerCache
from nanojaxlm.model.config import LayerConfig, MixtureConfig, RMSNormConfig, StackConfig
from nanojaxlm.model.layers import FeedForward, norm
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.mixture import Mixture
from nanojaxlm.model.positions import Rotation
from nanojaxlm.model.remat import RESIDUAL
from nanojaxlm.sharding import constrain


class Context(NamedTuple):
    """What all layers of a stack read besides the residual.

    local_rotation: of the local layers. memory_BSD: the encoder's output; None where there is no
    encoder or its keys and values are in the cache. memory_mask: None without an encoder.
    """

    mask: AttentionMask
    rotation: Rotation | None
    local_rotation: Rotation | None
    bias_1NTS: jax.Array | None
    memory_BSD: jax.Array | None
    memory_mask: AttentionMask | None


class Block(nn.Module):
    """stack: what all layers share. layer: what is this one's own. causal: a decoder's."""

    stack: StackConfig
    layer: LayerConfig
    d_model: int
    causal: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, cache: LayerCache | None, context: Context
    ) -> tuple[jax.Array, LayerCache | None]:
        c = self.stack
        x_BTD = checkpoint_name(x_BTD, RESIDUAL)
        has_memory = context.memory_mask is not None
        branches = (3 if has_memory else 2) * c.num_layers
        out_scale = branches**-0.5  # so many branches add up: GPT-2's scaling
        centered = isinstance(c.norm, RMSNormConfig) and c.norm.centered
        qk_norm = RMSNormConfig(epsilon=c.norm.epsilon, centered=centered)
        projections = (self.layer.attention, self.d_model, qk_norm, out_scale, self.dtype)

        attention = SelfAttention(*projections, causal=self.causal, name="attention")
        rotation = context.local_rotation if self.layer.is_local else context.rotation
        h_BTD = self._before("attention", x_BTD, self.layer.attention_norm)
        h_BTD, cache = attention(h_BTD, context.mask, rotation, context.bias_1NTS, cache)
        x_BTD = self._add("attention", x_BTD, h_BTD)

        if context.memory_mask is not None:
            cross = CrossAttention(*projections, name="cross_attention")
            h_BTD = self._before("cross", x_BTD, c.pre_norm)
            h_BTD, cache = cross(h_BTD, context.memory_BSD, context.memory_mask, cache)
            x_BTD = self._add("cross", x_BTD, h_BTD)

        h_BTD = self._before("feed_forward", x_BTD, c.pre_norm)
        feed_forward = self.layer.feed_forward
        shape = (self.d_model, out_scale, self.dtype)
        if isinstance(feed_forward, MixtureConfig):
            mixture = Mixture(feed_forward, *shape, name="feed_forward")
            h_BTD = mixture(h_BTD, context.mask.q_segments_BT > 0)
        else:
            h_BTD = FeedForward(feed_forward, *shape, name="feed_forward")(h_BTD)
        return self._add("feed_forward", x_BTD, h_BTD), cache

    def _before(self, branch: str, x_BTD: jax.Array, normed: bool) -> jax.Array:
        """What a branch reads, whole along the length where the residual is split over tensor."""
        h_BTD = norm(self.stack.norm, f"{branch}_norm")(x_BTD) if normed else x_BTD
        return constrain(h_BTD, "batch", "length", "act_embed")

    def _add(self, branch: str, x_BTD: jax.Array, h_BTD: jax.Array) -> jax.Array:
        if self.stack.post_norm:
            h_BTD = norm(self.stack.norm, f"{branch}_post_norm")(h_BTD)
        x_BTD = x_BTD + h_BTD
        if self.stack.sum_norm:
            x_BTD = norm(self.stack.norm, f"{branch}_sum_norm")(x_BTD)
        return constrain(x_BTD, "batch", "residual_length", "act_embed")
