"""Grouped-query self-attention with rotary positions."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.model.attend import attend
from nanojaxlm.model.cache import LayerCache
from nanojaxlm.model.config import AttentionConfig
from nanojaxlm.model.layers import Einsum, RMSNorm
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import Rotation, rotate
from nanojaxlm.model.shift import Shift
from nanojaxlm.sharding import constrain


class Attention(nn.Module):
    config: AttentionConfig
    d_model: int
    norm_epsilon: float
    out_scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, mask: AttentionMask, rotation: Rotation, cache: LayerCache | None
    ) -> tuple[jax.Array, LayerCache | None]:
        """With a cache, the new keys and values go to its slots from mask.q_start on."""
        c, d = self.config, self.d_model
        q_BTNH = self._project("q", c.num_heads, "heads")(x_BTD)
        k_BTKH = self._project("k", c.num_kv_heads, "kv_heads")(x_BTD)
        v_BTKH = self._project("v", c.num_kv_heads, "kv_heads")(x_BTD)
        q_BTNH = constrain(q_BTNH, "batch", "length", "act_heads", None)
        k_BTKH = constrain(k_BTKH, "batch", "length", "act_kv_heads", None)
        v_BTKH = constrain(v_BTKH, "batch", "length", "act_kv_heads", None)
        if c.qk_norm:
            q_BTNH = RMSNorm(self.norm_epsilon, name="q_norm")(q_BTNH)
            k_BTKH = RMSNorm(self.norm_epsilon, name="k_norm")(k_BTKH)
        q_BTNH, k_BTKH = rotate(q_BTNH, rotation), rotate(k_BTKH, rotation)
        if cache is not None:
            start = (0, mask.q_start, 0, 0)
            cache = LayerCache(
                jax.lax.dynamic_update_slice(cache.k_BSKH, k_BTKH, start),
                jax.lax.dynamic_update_slice(cache.v_BSKH, v_BTKH, start),
            )
            k_BTKH, v_BTKH = cache.k_BSKH, cache.v_BSKH
        if c.kv_shift:
            k_BTKH = Shift(name="k_shift")(k_BTKH, mask.k_segments_BS)
            v_BTKH = Shift(name="v_shift")(v_BTKH, mask.k_segments_BS)
        out_BTNH = attend(q_BTNH, k_BTKH, v_BTKH, mask)
        shape, names = (c.num_heads, c.head_dim, d), ("heads", "head_dim", "embed")
        out = Einsum("BTNH,NHD->BTD", shape, names, self.out_scale, self.dtype, name="out")
        return out(out_BTNH), cache

    def _project(self, name: str, heads: int, axis: str) -> Einsum:
        shape = (self.d_model, heads, self.config.head_dim)
        eqn = "BTD,DNH->BTNH"
        return Einsum(eqn, shape, ("embed", axis, "head_dim"), dtype=self.dtype, name=name)
