"""One pre-norm layer: attention, then feed-forward, each added to the residual stream."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.model.attention import Attention
from nanojaxlm.model.cache import LayerCache
from nanojaxlm.model.config import StackConfig
from nanojaxlm.model.layers import FeedForward, RMSNorm
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import Rotation
from nanojaxlm.sharding import constrain


class Block(nn.Module):
    config: StackConfig
    d_model: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, cache: LayerCache | None, mask: AttentionMask, rotation: Rotation
    ) -> tuple[jax.Array, LayerCache | None]:
        c = self.config
        out_scale = (2 * c.num_layers) ** -0.5  # 2L branches add up: GPT-2's scaling
        attention_norm = RMSNorm(c.norm_epsilon, name="attention_norm")
        feed_forward_norm = RMSNorm(c.norm_epsilon, name="feed_forward_norm")
        attention = Attention(
            c.attention, self.d_model, c.norm_epsilon, out_scale, self.dtype, name="attention"
        )
        branch_BTD, cache = attention(attention_norm(x_BTD), mask, rotation, cache)
        x_BTD = constrain(x_BTD + branch_BTD, "batch", "length", "act_embed")
        feed_forward = FeedForward(
            c.feed_forward, self.d_model, out_scale, self.dtype, name="feed_forward"
        )
        x_BTD = x_BTD + feed_forward(feed_forward_norm(x_BTD))
        return constrain(x_BTD, "batch", "length", "act_embed"), cache
