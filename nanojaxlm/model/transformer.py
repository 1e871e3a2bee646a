"""The decoder: embed, stack, norm, head."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.batch import Stream
from nanojaxlm.model.cache import Cache
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.layers import Einsum, Embed, RMSNorm
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import make_rotation
from nanojaxlm.model.stack import Stack
from nanojaxlm.sharding import constrain


class Transformer(nn.Module):
    """A Llama-style decoder-only Transformer. `config.vocab_size` is set by now."""

    config: ModelConfig

    def setup(self) -> None:
        c = self.config
        assert c.vocab_size is not None
        dtype = jnp.dtype(c.dtype)
        self.embed = Embed(c.vocab_size, c.d_model, dtype)
        self.decoder = Stack(c.decoder, c.d_model, dtype)
        self.final_norm = RMSNorm(c.decoder.norm_epsilon)
        if not c.tie_embeddings:
            shape, names = (c.d_model, c.vocab_size), ("embed", "vocab")
            self.head = Einsum("BTD,DV->BTV", shape, names, dtype=dtype)

    @property
    def head_params(self) -> tuple[str, ...]:
        """The parameters that `logits` needs."""
        return ("embed",) if self.config.tie_embeddings else ("head",)

    def __call__(self, stream: Stream) -> jax.Array:
        """float32 logits_BTV of a whole stream; training asks `hidden` and `logits` apart
        instead."""
        return self.logits(self.hidden(stream)[0])

    def hidden(self, stream: Stream, cache: Cache | None = None) -> tuple[jax.Array, Cache | None]:
        """The normed last residual, x_BTD, and the cache with this stream's keys and values
        added."""
        c = self.config.decoder
        tokens_BT, positions_BT, segments_BT = (jnp.asarray(array) for array in stream)
        x_BTD = constrain(self.embed(tokens_BT), "batch", "length", "act_embed")
        attention = c.attention
        rotation = make_rotation(positions_BT, attention.head_dim, attention.rope_theta)
        if cache is None:
            mask = AttentionMask(segments_BT, segments_BT, window=attention.window)
            x_BTD, _ = self.decoder(x_BTD, None, mask, rotation)
            return self.final_norm(x_BTD), None
        segments_BS = jax.lax.dynamic_update_slice(
            cache.segments_BS, segments_BT, (0, cache.length)
        )
        mask = AttentionMask(segments_BT, segments_BS, cache.length, attention.window)
        x_BTD, layers = self.decoder(x_BTD, cache.layers, mask, rotation)
        assert layers is not None
        length = cache.length + segments_BT.shape[1]
        return self.final_norm(x_BTD), Cache(layers, segments_BS, length)

    def logits(self, x_BTD: jax.Array) -> jax.Array:
        """float32 logits_BTV of the normed residual."""
        c = self.config
        logits_BTV = self.embed.logits(x_BTD) if c.tie_embeddings else self.head(x_BTD)
        logits_BTV = constrain(logits_BTV.astype(jnp.float32), "batch", "length", "act_vocab")
        if c.logit_softcap is not None:
            logits_BTV = c.logit_softcap * jnp.tanh(logits_BTV / c.logit_softcap)
        return logits_BTV
