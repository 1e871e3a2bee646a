"""The Transformer: an encoder, a decoder, or both, whichever its config has."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.batch import Batch, Stream, Targets
from nanojaxlm.model.block import Block, Context
from nanojaxlm.model.cache import Cache
from nanojaxlm.model.config import ModelConfig, StackConfig
from nanojaxlm.model.layers import Embed, Head, norm
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import make_rotation
from nanojaxlm.model.stack import Stack
from nanojaxlm.sharding import constrain


class Transformer(nn.Module):
    """`config.vocab_size` is set by now."""

    config: ModelConfig

    def setup(self) -> None:
        c = self.config
        assert c.vocab_size is not None
        dtype = jnp.dtype(c.dtype)

        vocab_size = c.vocab_size

        def embed(stack: StackConfig) -> Embed:
            return Embed(vocab_size, c.d_model, c.embed, stack.norm, dtype)

        self.embed = embed(c.last)
        if c.encoder is not None:
            self.encoder = Stack(c.encoder, c.d_model, False, dtype)
            if not c.share_embeddings:
                self.encoder_embed = embed(c.encoder)
        if c.decoder is not None:
            self.decoder = Stack(c.decoder, c.d_model, True, dtype)
            futures = [Future(c.decoder, c.d_model, dtype) for _ in range(c.num_future)]
            for ahead, future in enumerate(futures, start=2):
                setattr(self, f"future_{ahead}", future)
        self.head = Head(c)

    def __call__(self, decoder: Stream | None = None, encoder: Stream | None = None) -> jax.Array:
        """float32 logits_BTV of the last stack's stream; training asks `hidden` and `logits` apart
        instead."""
        x_BTD, _ = self.hidden(decoder, encoder)
        if self.is_initializing() and decoder is not None:
            self.futures(x_BTD, decoder)
        return self.logits(x_BTD)

    def hidden(
        self,
        decoder: Stream | None = None,
        encoder: Stream | None = None,
        cache: Cache | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        """The last residual of the last stack, x_BTD, and the cache with the decoder's keys and
        values added.

        With a cache, the encoder's stream is given in the first call only.
        """
        memory_BSD = memory_segments_BS = None
        if encoder is not None:
            memory_BSD, memory_segments_BS = self._encode(_on_device(encoder))
            if self.config.decoder is None:
                return memory_BSD, None
        assert decoder is not None, "a decoder reads a stream"
        own = _on_device(decoder)
        segments_BT = own.segments_BT
        x_BTD = constrain(self.embed(own), "batch", "residual_length", "act_embed")
        if cache is None:
            mask = AttentionMask(segments_BT, segments_BT, 0, own.prefix_BT)
        else:
            memory_segments_BS = cache.memory_segments_BS if encoder is None else memory_segments_BS
            mask = _cached_mask(own, cache)
        memory_mask = None
        if memory_segments_BS is not None:
            memory_mask = AttentionMask(segments_BT, memory_segments_BS)
        layers = None if cache is None else cache.layers
        x_BTD, layers = self.decoder(x_BTD, own, mask, layers, memory_BSD, memory_mask)
        if cache is None:
            return x_BTD, None
        assert layers is not None
        length = cache.length + segments_BT.shape[1]
        return x_BTD, Cache(layers, mask.k_segments_BS, length, memory_segments_BS)

    def _encode(self, stream: Any) -> tuple[jax.Array, jax.Array]:
        """The encoder's last residual x_BSD, and its segments_BS."""
        embed = self.embed if self.config.share_embeddings else self.encoder_embed
        x_BSD = constrain(embed(stream), "batch", "residual_length", "act_embed")
        mask = AttentionMask(stream.segments_BT, stream.segments_BT)
        x_BSD, _ = self.encoder(x_BSD, stream, mask)
        return x_BSD, stream.segments_BT

    def logits(self, x_BTD: jax.Array) -> jax.Array:
        """float32 logits_BTV of the last residual."""
        return self.head(x_BTD, self.embed)

    def futures(self, x_BTD: jax.Array, decoder: Stream) -> tuple[jax.Array, ...]:
        """What the extra heads make of the decoder's last residual, x_BTD each, for `logits`."""
        own = _on_device(decoder)
        ahead = range(2, 2 + self.config.num_future)
        return tuple(getattr(self, f"future_{k}")(x_BTD, own) for k in ahead)


class Future(nn.Module):
    """One more layer on the decoder's output, for a token further ahead (Gloeckle et al. 2024)."""

    config: StackConfig
    d_model: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BTD: jax.Array, stream: Any) -> jax.Array:
        c = self.config
        mask = AttentionMask(stream.segments_BT, stream.segments_BT, 0, stream.prefix_BT)
        layer = c.layer(c.num_layers - 1)
        rotation, rope = None, layer.attention.rope
        if rope is not None:
            rotation = make_rotation(stream.positions_BT, rope, layer.attention.rotated)
        context = Context(mask, rotation, rotation, None, None, None)
        x_BTD, _ = Block(c, layer, self.d_model, True, self.dtype, name="layer")(
            x_BTD, None, context
        )
        return norm(c.norm, "final_norm")(x_BTD) if c.final_norm else x_BTD


def head_params(config: ModelConfig, params: Any) -> dict[str, Any]:
    """The part of the parameters that `logits` needs."""
    names = ("embed", "head") if config.tie_embeddings else ("head",)
    return {name: params[name] for name in names if name in params}


def example_batch(config: ModelConfig) -> Batch:
    """Streams of one token, numpy-free, of the kinds that the model reads: for its shapes."""
    one = jnp.ones((1, 1), jnp.int32)
    stream = Stream(one, one, one)
    decoder = None if config.decoder is None else stream
    encoder = None if config.encoder is None else stream
    return Batch(Targets(one, one.astype(jnp.float32)), decoder, encoder)


def _on_device(stream: Stream) -> Any:
    """The stream with numpy's arrays made JAX's."""
    return jax.tree.map(jnp.asarray, stream)


def _cached_mask(stream: Any, cache: Cache) -> AttentionMask:
    """Of queries that come after what the cache holds, over all its slots."""
    start = (0, cache.length)
    segments_BS = jax.lax.dynamic_update_slice(cache.segments_BS, stream.segments_BT, start)
    prefix_BS = None
    if stream.prefix_BT is not None:
        zeros_BS = jnp.zeros_like(segments_BS)
        prefix_BS = jax.lax.dynamic_update_slice(zeros_BS, stream.prefix_BT, start)
    return AttentionMask(stream.segments_BT, segments_BS, cache.length, prefix_BS)
