"""Spans of documents replaced by sentinels, and what was there as targets.

The engine of SpanCorruption and MixtureOfDenoisers, over all rows at once. Of a document w0 … w9
with noise w2 w3 and w7, sentinels X Y:
    inputs  w0 w1 X w4 w5 w6 Y w8 w9      targets  X w2 w3 Y w7 EOS
"""

from typing import NamedTuple

import numpy as np

from nanojaxlm.batch import Batch
from nanojaxlm.data.draws import Draws, Purpose
from nanojaxlm.data.objectives.fragments import (
    Fragments,
    assemble,
    encoder_decoder_batch,
    interleave,
    next_token_batch,
)
from nanojaxlm.data.objectives.rows import (
    Bodies,
    Lengths,
    Pieces,
    Rows,
    Setting,
    find_bodies,
    find_pieces,
)
from nanojaxlm.data.objectives.sentinels import Denoiser

_SLOT_BITS, _RANDOM_BITS = 20, 22  # of the 64 of a word, the rest are the piece


class Spans(NamedTuple):
    """Noise, in order: int64 [Q] each. pieces_Q: of which piece. columns_Q: of the first token."""

    pieces_Q: np.ndarray
    columns_Q: np.ndarray
    lengths_Q: np.ndarray

    def where(self, kept_Q: np.ndarray) -> "Spans":
        return Spans(*(array[kept_Q] for array in self))


def denoise(
    rows: Rows,
    setting: Setting,
    denoisers: tuple[Denoiser, ...],
    weights: tuple[float, ...],
    sentinels_K: np.ndarray,
    mode_ids: tuple[int, ...],
    layout: str,
    lengths: Lengths,
) -> Batch:
    """The batch; each document has a denoiser drawn by weight.

    sentinels_K: ids. mode_ids: of each denoiser, -1 = none.

    A document of which nothing is noise is an input without targets and mode. Where the documents
    of a row make more than fits, spans late in a random order of the documents are left as they
    are: nothing is ever lost.
    """
    pieces = find_pieces(rows.segments_BS)
    bodies = find_bodies(pieces, rows.tokens_BS, setting.vocabulary)
    which_P = np.zeros(len(pieces.rows_P), np.int64)
    if len(denoisers) > 1:
        bounds = np.cumsum(weights)[:-1] / np.sum(weights)
        draws_P = rows.draws.uniform(Purpose.DENOISER, pieces.rows_P, pieces.columns_P)
        which_P = np.searchsorted(bounds, draws_P, side="right")
    modes_P = np.array(mode_ids, np.int64)[which_P]
    spans = _draw_spans(rows, pieces, bodies, denoisers, which_P)
    spans = _fitting(rows, pieces, spans, modes_P, layout, lengths)
    inputs, targets = _fragments(
        rows, pieces, spans, modes_P, sentinels_K, setting.vocabulary.eos_id
    )
    if layout == "prefix":
        both = Fragments(*map(np.concatenate, zip(inputs[0], targets[0], strict=True)))
        order = np.argsort(np.concatenate([inputs[1], targets[1]]), kind="stable")
        both = Fragments(*(array[order] for array in both))
        width = setting.sequence_length + 1
        tokens_BS, segments_BS, counted_BS = assemble(rows.tokens_BS, both, width)
        prefix_BS = ~counted_BS & (segments_BS != 0)
        return next_token_batch(tokens_BS, segments_BS, counted_BS, prefix_BS)
    assert lengths.encoder is not None and lengths.decoder is not None
    return encoder_decoder_batch(
        assemble(rows.tokens_BS, inputs[0], lengths.encoder),
        assemble(rows.tokens_BS, targets[0], lengths.decoder),
        setting.vocabulary.start_id,
    )


def _draw_spans(
    rows: Rows,
    pieces: Pieces,
    bodies: Bodies,
    denoisers: tuple[Denoiser, ...],
    which_P: np.ndarray,
) -> Spans:
    """Numbers of tokens and spans are the denoiser's, rounded at random, so right in the mean; the
    spans' lengths and places are uniform over all ways to have that many, none touching."""
    draws, rows_P, columns_P = rows.draws, pieces.rows_P, bodies.columns_P
    density_P = np.array([denoiser.density for denoiser in denoisers])[which_P]
    mean_P = np.array([denoiser.mean_length or np.inf for denoiser in denoisers])[which_P]
    at = (rows_P, columns_P)
    noise_P = np.floor(density_P * bodies.lengths_P + draws.uniform(Purpose.NOISE, *at))
    noise_P = np.minimum(noise_P, bodies.lengths_P).astype(np.int64)
    number_P = np.floor(noise_P / mean_P + draws.uniform(Purpose.SPANS, *at)).astype(np.int64)
    number_P = np.minimum(np.maximum(number_P, 1), noise_P)
    kept_P = bodies.lengths_P - noise_P
    number_P = np.minimum(number_P, kept_P + 1)
    # Of the noise's tokens, which begin a span; of the places between kept tokens, which get one.
    first_P, last_P = np.zeros_like(kept_P), np.where(np.isinf(mean_P), kept_P, -1)
    places_P = np.where(noise_P > 0, kept_P + 1, 0)
    pieces_Q, cuts_Q = _choose(draws, Purpose.CUTS, at, noise_P, number_P, first_P)
    _, gaps_Q = _choose(draws, Purpose.GAPS, at, places_P, number_P, last_P)
    last_Q = np.diff(pieces_Q, append=-1) != 0
    ends_Q = np.where(last_Q, noise_P[pieces_Q], np.roll(cuts_Q, -1))
    return Spans(pieces_Q, columns_P[pieces_Q] + gaps_Q + cuts_Q, ends_Q - cuts_Q)


def _choose(
    draws: Draws,
    purpose: Purpose,
    at: tuple[np.ndarray, np.ndarray],
    sizes_P: np.ndarray,
    number_P: np.ndarray,
    sure_P: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """number of the slots 0 … size - 1 of each piece, uniformly, in order: (pieces, slots) [Q].

    sure_P: the slot that is always among them, -1 = none. One sort of (piece, random, slot) words.
    """
    owners = np.repeat(np.arange(len(sizes_P)), sizes_P)
    starts_P = np.cumsum(sizes_P) - sizes_P
    slots = np.arange(len(owners)) - starts_P[owners]
    assert slots.max(initial=0) < 2**_SLOT_BITS
    low, high = np.uint64(_SLOT_BITS), np.uint64(_SLOT_BITS + _RANDOM_BITS)
    random = draws.bits(purpose, at[0][owners], at[1][owners] + slots) >> np.uint64(
        64 - _RANDOM_BITS
    )
    random[slots == sure_P[owners]] = 0
    words = (owners.astype(np.uint64) << high) | (random << low) | slots.astype(np.uint64)
    words.sort()
    chosen = words[slots < number_P[owners]]  # sorted, each piece's words lie where they lay
    slot_mask = np.uint64(2**_SLOT_BITS - 1)
    chosen = np.sort(((chosen >> high) << low) | (chosen & slot_mask))
    return (chosen >> low).astype(np.int64), (chosen & slot_mask).astype(np.int64)


def _fitting(
    rows: Rows,
    pieces: Pieces,
    spans: Spans,
    modes_P: np.ndarray,
    layout: str,
    lengths: Lengths,
) -> Spans:
    """Those spans that there is room for."""
    first_Q = np.append(True, spans.pieces_Q[1:] != spans.pieces_Q[:-1])[: len(spans.pieces_Q)]
    modes_Q = first_Q & (modes_P[spans.pieces_Q] >= 0)
    rows_Q = pieces.rows_P[spans.pieces_Q]
    used_B = np.count_nonzero(rows.segments_BS, axis=1)
    if layout == "prefix":  # a sentinel in the inputs and one in the targets, and the EOS at last
        assert lengths.decoder is not None
        costs_KQ = np.stack([2 + first_Q + modes_Q])
        room_KB = np.stack([lengths.decoder - used_B])
    else:  # inputs become no more, but by modes
        assert lengths.encoder is not None and lengths.decoder is not None
        costs_KQ = np.stack([modes_Q + 1 - spans.lengths_Q, spans.lengths_Q + 1 + first_Q])
        room_KB = np.stack([lengths.encoder - used_B, np.full_like(used_B, lengths.decoder)])
    total_KB = np.stack([np.bincount(rows_Q, costs, len(used_B)) for costs in costs_KQ])
    kept_Q = np.ones(len(rows_Q), bool)
    order_P = rows.draws.bits(Purpose.ORDER, pieces.rows_P, pieces.columns_P)
    for row in np.flatnonzero((total_KB > room_KB).any(axis=0)):
        mine = np.flatnonzero(rows_Q == row)
        mine = mine[np.argsort(order_P[spans.pieces_Q[mine]], kind="stable")]
        fits = np.cumsum(costs_KQ[:, mine], axis=1) <= room_KB[:, row, None]
        kept_Q[mine] = fits.all(axis=0)
    return spans.where(kept_Q)


def _fragments(
    rows: Rows,
    pieces: Pieces,
    spans: Spans,
    modes_P: np.ndarray,
    sentinels_K: np.ndarray,
    eos_id: int,
) -> tuple[tuple[Fragments, np.ndarray], tuple[Fragments, np.ndarray]]:
    """Inputs and targets, each with the pieces that the fragments are of; targets are marked.

    Each piece's spans are followed by an empty one at its end, an entry R as the others: its inputs
    are what is kept before it, and its target is EOS.
    """
    number_P = np.bincount(spans.pieces_Q, minlength=len(pieces.rows_P))
    pieces_R = np.repeat(np.arange(len(number_P)), number_P + 1)
    starts_P = np.cumsum(number_P + 1) - number_P - 1
    which_R = np.arange(len(pieces_R)) - starts_P[pieces_R]  # of its piece
    tail_R = which_R == number_P[pieces_R]
    ends_P = pieces.columns_P + pieces.lengths_P
    columns_R, lengths_R = ends_P[pieces_R], np.zeros(len(pieces_R), np.int64)
    columns_R[~tail_R], lengths_R[~tail_R] = spans.columns_Q, spans.lengths_Q
    kept_from_R = np.append(0, columns_R[:-1] + lengths_R[:-1])[: len(pieces_R)]
    kept_from_R[starts_P] = pieces.columns_P
    corrupted_R = number_P[pieces_R] > 0
    ids_R = ~np.where(tail_R, eos_id, sentinels_K[np.where(tail_R, 0, which_R)])
    row_R = pieces.rows_P[pieces_R]
    base_R = row_R * rows.tokens_BS.shape[1]
    modes_R = modes_P[pieces_R]
    has_mode_R = (which_R == 0) & corrupted_R & (modes_R >= 0)
    segments_R = pieces.segments_P[pieces_R]

    def fragments(
        sources: list[np.ndarray], sizes: list[np.ndarray], target: bool
    ) -> tuple[Fragments, np.ndarray]:
        times = len(sources)
        made = Fragments(
            np.repeat(row_R, times),
            np.repeat(segments_R, times),
            interleave(*sources),
            interleave(*sizes).astype(np.int64),
            np.full(times * len(row_R), target),
        )
        return made, np.repeat(pieces_R, times)

    return (
        fragments(
            [~modes_R, base_R + kept_from_R, ids_R],
            [has_mode_R, columns_R - kept_from_R, ~tail_R],
            False,
        ),
        fragments([ids_R, base_R + columns_R], [corrupted_R, lengths_R], True),
    )
