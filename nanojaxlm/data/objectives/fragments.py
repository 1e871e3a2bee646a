"""Rows put together of fragments: runs of a row's tokens, and single ids between them."""

from typing import NamedTuple

import numpy as np

from nanojaxlm.batch import Batch, Targets
from nanojaxlm.data.objectives.rows import stream_of

PADDING = 0  # the token in padding; segment 0 says that it is none

LAYOUTS = ("encoder", "prefix")  # inputs to an encoder; inputs before the targets in a decoder


class Fragments(NamedTuple):
    """In the order in which they are put together; int64 [F] each, but marks.

    rows_F: of the result and of the source. segments_F: in the result. sources_F: the place of the
    first token in the flat rows, or ~id, an id of length 1. lengths_F: may be 0. marks_F: bool.
    """

    rows_F: np.ndarray
    segments_F: np.ndarray
    sources_F: np.ndarray
    lengths_F: np.ndarray
    marks_F: np.ndarray


class Assembled(NamedTuple):
    """tokens_BW, segments_BW: int32. marks_BW: bool, of the fragments."""

    tokens_BW: np.ndarray
    segments_BW: np.ndarray
    marks_BW: np.ndarray


def assemble(tokens_BS: np.ndarray, fragments: Fragments, width: int) -> Assembled:
    """Each row's fragments, one after another from its start; the rest is padding."""
    lengths = fragments.lengths_F
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    places = np.repeat(fragments.sources_F - (ends - lengths), lengths) + np.arange(total)
    tokens = tokens_BS.reshape(-1)[np.maximum(places, 0)]
    literal = np.flatnonzero(places < 0)
    tokens[literal] = ~places[literal]
    used_B = np.bincount(fragments.rows_F, weights=lengths, minlength=len(tokens_BS))
    assert used_B.max(initial=0) <= width, (used_B.max(), width)
    inside_BW = np.arange(width) < used_B[:, None]
    result = Assembled(
        np.full(inside_BW.shape, PADDING, np.int32),
        np.zeros(inside_BW.shape, np.int32),
        np.zeros(inside_BW.shape, bool),
    )
    result.tokens_BW[inside_BW] = tokens
    result.segments_BW[inside_BW] = np.repeat(fragments.segments_F, lengths)
    result.marks_BW[inside_BW] = np.repeat(fragments.marks_F, lengths)
    return result


def interleave(*columns: np.ndarray) -> np.ndarray:
    """[a0 a1 …], [b0 b1 …] -> [a0 b0 a1 b1 …]."""
    return np.stack(np.broadcast_arrays(*columns), axis=-1).reshape(-1)


def check_layout(layout: str) -> None:
    """Raises a ValueError at an unknown one."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")


def encoder_decoder_batch(inputs: Assembled, targets: Assembled, start_id: int) -> Batch:
    """The decoder reads its targets, shifted right in each segment behind start_id."""
    segments_BT = targets.segments_BW
    begins_BT = np.ones(segments_BT.shape, bool)
    begins_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    shifted_BT = np.roll(targets.tokens_BW, 1, axis=1)
    shifted_BT[begins_BT] = start_id
    inside_BT = segments_BT != 0
    return Batch(
        encoder=stream_of(inputs.tokens_BW, inputs.segments_BW),
        decoder=stream_of(np.where(inside_BT, shifted_BT, PADDING), segments_BT),
        targets=Targets(targets.tokens_BW, inside_BT.astype(np.float32)),
    )


def next_token_batch(
    tokens_BS: np.ndarray,
    segments_BS: np.ndarray,
    counted_BS: np.ndarray | None = None,
    prefix_BS: np.ndarray | None = None,
) -> Batch:
    """A decoder that predicts each token from those before it in its segment; S = T + 1.

    counted_BS: bool, which tokens count as targets; None = all. prefix_BS: bool, see Stream.

    Two documents, then padding (w = 7 8 9 5 6 0, segments = 1 1 1 2 2 0):
        tokens 7 8 9 5 6   segments 1 1 1 2 2   positions 0 1 2 0 1
        targets 8 9 5 6 0  weights  1 1 0 1 0
    """
    prefix_BT = None if prefix_BS is None else prefix_BS[:, :-1]
    return Batch(
        decoder=stream_of(tokens_BS[:, :-1], segments_BS[:, :-1], prefix_BT),
        targets=targets_ahead(tokens_BS, segments_BS, 1, tokens_BS.shape[1] - 1, counted_BS),
    )


def targets_ahead(
    tokens_BS: np.ndarray,
    segments_BS: np.ndarray,
    ahead: int,
    length: int,
    counted_BS: np.ndarray | None = None,
) -> Targets:
    """The tokens `ahead` of the first `length`, of weight 1 where they are of the same document."""
    segments_BT, there = segments_BS[:, :length], slice(ahead, ahead + length)
    counts_BT = (segments_BT == segments_BS[:, there]) & (segments_BT != 0)
    if counted_BS is not None:
        counts_BT &= counted_BS[:, there]
    return Targets(tokens_BS[:, there].astype(np.int32, copy=False), counts_BT.astype(np.float32))
