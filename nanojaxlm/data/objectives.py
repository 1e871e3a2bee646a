"""Objectives: what the model reads, what it predicts, and which predictions count."""

import dataclasses

import numpy as np

from nanojaxlm.batch import Batch, Stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class CausalLM:
    """Predict each token from those before it in its document."""

    def __call__(self, tokens_BS: np.ndarray, segments_BS: np.ndarray) -> Batch:
        """Rows of S = T + 1 tokens as a Batch of numpy arrays [B, T].

        Args:
            tokens_BS: int32 token ids.
            segments_BS: int32, which document of the row each token is of; 0 = padding.

        Two documents, then padding (w = 7 8 9 5 6 0, segments = 1 1 1 2 2 0):
            tokens 7 8 9 5 6   segments 1 1 1 2 2   positions 0 1 2 0 1
            targets 8 9 5 6 0  weights  1 1 0 1 0
        """
        segments_BT, next_BT = segments_BS[:, :-1], segments_BS[:, 1:]
        tokens_BS = tokens_BS.astype(np.int32, copy=False)
        stream = Stream(
            tokens_BT=tokens_BS[:, :-1],
            positions_BT=_positions(segments_BT),
            segments_BT=segments_BT.astype(np.int32, copy=False),
        )
        counts_BT = (segments_BT == next_BT) & (next_BT != 0)
        return Batch(
            decoder=stream, targets_BT=tokens_BS[:, 1:], weights_BT=counts_BT.astype(np.float32)
        )


def _positions(segments_BT: np.ndarray) -> np.ndarray:
    """[[1, 1, 2, 2, 2]] -> [[0, 1, 0, 1, 2]], int32."""
    index_T = np.arange(segments_BT.shape[1], dtype=np.int32)
    begins_BT = np.zeros(segments_BT.shape, bool)
    begins_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return index_T - np.maximum.accumulate(np.where(begins_BT, index_T, 0), axis=1)
