"""Who may attend to whom, as a specification; `dense` spells it out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class AttentionMask(NamedTuple):
    """q_segments_BT, k_segments_BS: int32, only equal segments attend; 0 is padding.
    q_start: the index, among the keys, of the first query (0 without a cache).
    k_prefix_BS: int32, 1 where a key is visible to earlier queries too; None = nowhere.
    """

    q_segments_BT: jax.Array
    k_segments_BS: jax.Array
    q_start: jax.Array | int = 0
    k_prefix_BS: jax.Array | None = None

    def dense(self, causal: bool, window: int | None) -> jax.Array:
        """bool[B, 1, T, S], True = may attend.

        window: attend where the distance is below this; None = all. Two packed documents, causal:
        segments [1,1,2] -> [[1,0,0],[1,1,0],[0,0,1]].
        """
        q_index = self.q_start + jnp.arange(self.q_segments_BT.shape[1], dtype=jnp.int32)[:, None]
        k_index = jnp.arange(self.k_segments_BS.shape[1], dtype=jnp.int32)[None, :]
        visible_BTS = self.q_segments_BT[:, :, None] == self.k_segments_BS[:, None, :]
        if causal:
            seen_BTS = (k_index <= q_index)[None]
            if self.k_prefix_BS is not None:
                seen_BTS = seen_BTS | (self.k_prefix_BS[:, None, :] > 0)
            visible_BTS &= seen_BTS
        if window is not None:
            visible_BTS &= (jnp.abs(k_index - q_index) < window)[None]
        return visible_BTS[:, None]
