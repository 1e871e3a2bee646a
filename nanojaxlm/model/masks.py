"""Who may attend to whom, as a specification; `dense` spells it out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class AttentionMask(NamedTuple):
    """q_segments_BT, k_segments_BS: int32, only equal segments attend; 0 is padding.
    q_start: the index, among the keys, of the first query (0 without a cache).
    window: keys to the left that a query sees, self included; None = all. Both causal.
    """

    q_segments_BT: jax.Array
    k_segments_BS: jax.Array
    q_start: jax.Array | int = 0
    window: int | None = None

    def dense(self) -> jax.Array:
        """bool[B, 1, T, S], True = may attend.

        Two packed documents: segments [1,1,2] -> [[1,0,0],[1,1,0],[0,0,1]].
        """
        q_index = self.q_start + jnp.arange(self.q_segments_BT.shape[1], dtype=jnp.int32)[:, None]
        k_index = jnp.arange(self.k_segments_BS.shape[1], dtype=jnp.int32)[None, :]
        visible_TS = k_index <= q_index
        if self.window is not None:
            visible_TS &= k_index > q_index - self.window
        same_BTS = self.q_segments_BT[:, :, None] == self.k_segments_BS[:, None, :]
        return (same_BTS & visible_TS[None])[:, None]
