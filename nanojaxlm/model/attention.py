"""Grouped-query attention: of a stack to itself, and of a decoder to its encoder."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.model.attend import attend
from nanojaxlm.model.cache import LayerCache
from nanojaxlm.model.config import AttentionConfig, RMSNormConfig
from nanojaxlm.model.layers import Einsum, RMSNorm
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import Rotation, rotate
from nanojaxlm.model.shift import Shift
from nanojaxlm.sharding import constrain


class Projections(nn.Module):
    """What both attentions share: the four products, and the norms of queries and keys."""

    config: AttentionConfig
    d_model: int
    norm: RMSNormConfig
    out_scale: float
    dtype: jnp.dtype

    def query(self, x_BTD: jax.Array) -> jax.Array:
        q_BTNH = self._inward("q", self.config.num_heads, "heads")(x_BTD)
        return self._normed("q_norm", constrain(q_BTNH, "batch", "length", "act_heads", None))

    def key_value(self, x_BSD: jax.Array) -> tuple[jax.Array, jax.Array]:
        k_BSKH, v_BSKH = (
            constrain(
                self._inward(name, self.config.num_kv_heads, "kv_heads")(x_BSD),
                "batch", "length", "act_kv_heads", None,
            )
            for name in ("k", "v")
        )  # fmt: skip
        return self._normed("k_norm", k_BSKH), v_BSKH

    def attend(
        self,
        q_BTNH: jax.Array,
        k_BSKH: jax.Array,
        v_BSKH: jax.Array,
        mask: AttentionMask,
        *,
        causal: bool = False,
        window: int | None = None,
        bias_1NTS: jax.Array | None = None,
    ) -> jax.Array:
        """The attended values, projected back to out_BTD."""
        c = self.config
        out_BTNH = attend(
            q_BTNH, k_BSKH, v_BSKH, mask,
            causal=causal, window=window, softcap=c.softcap, bias_1NTS=bias_1NTS,
            scale=c.head_dim**-0.5 if c.scale is None else c.scale,
        )  # fmt: skip
        out_BTNH = constrain(out_BTNH, "batch", "length", "act_heads", None)
        shape, names = (c.num_heads, c.head_dim, self.d_model), ("heads", "head_dim", "embed")
        out = Einsum(
            "BTNH,NHD->BTD", shape, names, self.out_scale, self.dtype, c.out_bias, name="out"
        )
        return out(out_BTNH)

    def _inward(self, name: str, heads: int, axis: str) -> Einsum:
        shape, names = (self.d_model, heads, self.config.head_dim), ("embed", axis, "head_dim")
        bias = self.config.qkv_bias
        return Einsum("BTD,DNH->BTNH", shape, names, 1.0, self.dtype, bias, name=name)

    def _normed(self, name: str, x_BTNH: jax.Array) -> jax.Array:
        if self.config.qk_norm is None:
            return x_BTNH
        axis = "heads" if name == "q_norm" else "kv_heads"
        names = ("norm",) if self.config.qk_norm == "head" else (axis, "head_dim")
        return RMSNorm(self.norm, names, name=name)(x_BTNH)


class SelfAttention(Projections):
    causal: bool = True

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        mask: AttentionMask,
        rotation: Rotation | None,
        bias_1NTS: jax.Array | None,
        cache: LayerCache | None,
    ) -> tuple[jax.Array, LayerCache | None]:
        """With a cache, the new keys and values go to its slots from mask.q_start on."""
        c = self.config
        q_BTNH = self.query(x_BTD)
        k_BSKH, v_BSKH = self.key_value(x_BTD)
        if rotation is not None:
            q_BTNH, k_BSKH = rotate(q_BTNH, rotation), rotate(k_BSKH, rotation)
        if cache is not None:
            start = (0, mask.q_start, 0, 0)
            cache = cache._replace(
                k_BSKH=jax.lax.dynamic_update_slice(cache.k_BSKH, k_BSKH, start),
                v_BSKH=jax.lax.dynamic_update_slice(cache.v_BSKH, v_BSKH, start),
            )
            k_BSKH, v_BSKH = cache.k_BSKH, cache.v_BSKH
        if c.kv_shift:
            k_BSKH = Shift(name="k_shift")(k_BSKH, mask.k_segments_BS)
            v_BSKH = Shift(name="v_shift")(v_BSKH, mask.k_segments_BS)
        if cache is None:
            mask = mask._replace(q_start=0)  # known at compile time again: scan and remat hide it
        options = {"causal": self.causal, "window": c.window, "bias_1NTS": bias_1NTS}
        return self.attend(q_BTNH, k_BSKH, v_BSKH, mask, **options), cache


class CrossAttention(Projections):
    """Without positions and windows: a decoder's token sees all of its document's encoder text."""

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        memory_BSD: jax.Array | None,
        mask: AttentionMask,
        cache: LayerCache | None,
    ) -> tuple[jax.Array, LayerCache | None]:
        """Keys and values are those of memory_BSD, kept in the cache, or, where it is None, those
        that the cache keeps."""
        q_BTNH = self.query(x_BTD)
        if memory_BSD is not None:
            k_BSKH, v_BSKH = self.key_value(memory_BSD)
            if cache is not None:
                cache = cache._replace(memory_k_BSKH=k_BSKH, memory_v_BSKH=v_BSKH)
        else:
            assert cache is not None, "a decoder with an encoder needs its memory or a cache"
            k_BSKH, v_BSKH = cache.memory_k_BSKH, cache.memory_v_BSKH
            assert k_BSKH is not None and v_BSKH is not None
        return self.attend(q_BTNH, k_BSKH, v_BSKH, mask), cache
