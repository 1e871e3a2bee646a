"""Who may attend to whom, as a specification; `dense` spells it out."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Band:
    """What the places of a query and a key alone allow: a band along the diagonal.

    causal: no key after the query. window: only keys at a distance below this; None = all.
    Hashable, and works on numpy's and JAX's arrays alike: kernels take it as a static argument.
    """

    causal: bool
    window: int | None

    @property
    def least(self) -> int | None:
        """The least difference of a query's and a key's place; None = without bounds."""
        return 0 if self.causal else None if self.window is None else 1 - self.window

    @property
    def is_bounded(self) -> bool:
        return self.least is not None

    def __call__(self, q_index: Any, k_index: Any) -> Any:
        """True = may attend; the two broadcast. Only of a bounded band."""
        ahead = q_index - k_index
        seen = ahead >= self.least
        return seen if self.window is None else seen & (ahead < self.window)

    def meets(self, q_first: Any, q_last: Any, k_first: Any, k_last: Any) -> tuple[Any, Any]:
        """(some, all): does it allow some, does it allow all of the pairs of a query and a key in
        two runs of places, both ends included. Exact, as the differences leave no gap."""
        nearest, furthest = q_first - k_last, q_last - k_first
        some = every = nearest <= furthest
        if self.least is not None:
            some, every = furthest >= self.least, nearest >= self.least
        if self.window is not None:
            some, every = some & (nearest < self.window), every & (furthest < self.window)
        return some, every


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
        q_index_T = self.q_start + jnp.arange(self.q_segments_BT.shape[1], dtype=jnp.int32)
        k_index_S = jnp.arange(self.k_segments_BS.shape[1], dtype=jnp.int32)
        return visible(self, Band(causal, window), q_index_T, k_index_S)[:, None]


def visible(
    mask: AttentionMask, band: Band, q_index_T: jax.Array, k_index_S: jax.Array
) -> jax.Array:
    """bool[B, T, S] of a part of a mask: of the queries and keys whose segments it has, at these
    places in the row."""
    seen_BTS = mask.q_segments_BT[:, :, None] == mask.k_segments_BS[:, None, :]
    q_index_T1, k_index_1S = q_index_T[:, None], k_index_S[None, :]
    if band.causal and mask.k_prefix_BS is not None:
        earlier_BTS = (k_index_1S <= q_index_T1)[None] | (mask.k_prefix_BS[:, None, :] > 0)
        seen_BTS, band = seen_BTS & earlier_BTS, Band(False, band.window)
    if band.is_bounded:
        seen_BTS &= band(q_index_T1, k_index_1S)[None]
    return seen_BTS
