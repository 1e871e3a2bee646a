"""Each key and value mixed with the one before it."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.sharding import named


class Shift(nn.Module):
    """x_t + rate * (x_{t-1} - x_t), one learned rate a head; nothing comes from another document.

    KV shifting attention (Xu et al. 2024, arXiv 2411.19574): a single layer can find what followed
    an earlier copy of a token, which takes two otherwise. Rates start uniform in [0, 1), as there;
    unlike there, keys are rotated before, so that a cache of rotated keys is all that decoding
    needs. A window reaches one token further.
    """

    @nn.compact
    def __call__(self, x_BSKH: jax.Array, segments_BS: jax.Array) -> jax.Array:
        """Segments [1,1,2], rate r: [(1-r) x0, x1 + r (x0 - x1), (1-r) x2]."""
        init = named(nn.initializers.uniform(1.0), ("kv_heads",))
        rate_K = self.param("rate", init, (x_BSKH.shape[2],), jnp.float32)
        rate_11K1 = rate_K.astype(x_BSKH.dtype)[None, None, :, None]
        follows_BS = jnp.pad(segments_BS[:, 1:] == segments_BS[:, :-1], ((0, 0), (1, 0)))
        zero = jnp.zeros((), x_BSKH.dtype)
        previous_BSKH = jnp.where(follows_BS[:, :, None, None], jnp.roll(x_BSKH, 1, axis=1), zero)
        return x_BSKH + rate_11K1 * (previous_BSKH - x_BSKH)
