"""Spans of documents replaced by sentinels, and what was there as targets.

The engine of SpanCorruption and MixtureOfDenoisers, over all rows at once. Of a document w0 … w9
with noise w2 w3 and w7, sentinels X Y:
    inputs  w0 w1 X w4 w5 w6 Y w8 w9      targets  X w2 w3 Y w7 EOS
"""

import math
from dataclasses import dataclass
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

LAYOUTS = ("encoder", "prefix")  # inputs to an encoder; inputs before the targets in a decoder
_SLOT_BITS, _RANDOM_BITS = 20, 22  # of the 64 of a word, the rest are the piece
_MULTIPLE = 8  # of the decoder's length, for the hardware's lanes


@dataclass(frozen=True, kw_only=True)
class Denoiser:
    """density: the part of a document's tokens that is noise. mean_length: of a span of it, tokens;
    None = one span, at the document's end. mode: the token that tells the model, "" = none."""

    density: float
    mean_length: float | None
    mode: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.density < 1:
            raise ValueError(f"density must be between 0 and 1, got {self.density}; 0.15 is usual")
        if self.mean_length is not None and not 1 <= self.mean_length < math.inf:
            raise ValueError(f"mean_length must be >= 1 token, got {self.mean_length}; 3 is usual")

    def most(self, length: int) -> tuple[int, int]:
        """The most noise tokens and spans in a document of `length` tokens."""
        noise = min(length, math.ceil(self.density * length))
        return noise, 1 if self.mean_length is None else math.ceil(noise / self.mean_length)


class Sentinels(NamedTuple):
    """Sentinel i of a document has id first + i * step, i < number."""

    first: int
    step: int
    number: int


def check_layout(layout: str, decoder_length: int | None) -> None:
    """Raises:
    ValueError: an unknown layout, or a decoder_length that it does not take.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if decoder_length is not None and layout != "encoder":
        raise ValueError(
            f"decoder_length={decoder_length} is of layout='encoder'; leave it None, "
            "sequence_length is the decoder's"
        )


def check_sentinels(num_sentinels: int, first: int | None, step: int) -> None:
    """Raises:
    ValueError: no sentinel, or one of an id below 0.
    """
    if num_sentinels < 1:
        raise ValueError(f"num_sentinels must be >= 1, got {num_sentinels}; 100 is usual")
    if step == 0 or (first is None and step != 1):
        raise ValueError(
            f"sentinel_step must not be 0, and 1 without first_sentinel, got {step}; T5's own "
            "vocabulary has -1"
        )
    if first is not None and min(first, first + (num_sentinels - 1) * step) < 0:
        raise ValueError(
            f"{num_sentinels} sentinels from first_sentinel={first} by steps of {step} fall below "
            "id 0; lower num_sentinels"
        )


def sentinel_names(num_sentinels: int, first: int | None) -> tuple[str, ...]:
    """T5's names; none where the vocabulary has the ids already."""
    return () if first is not None else tuple(f"<extra_id_{i}>" for i in range(num_sentinels))


def denoising_lengths(
    denoisers: tuple[Denoiser, ...],
    num_sentinels: int,
    layout: str,
    decoder_length: int | None,
    sequence_length: int,
) -> Lengths:
    """Sizes that any single document fits, with room for the roundings of some more.

    Raises:
        ValueError: too few sentinels or tokens.
    """
    spare = max(2, sequence_length // 32)
    row = sequence_length - any(denoiser.mode for denoiser in denoisers)
    while layout == "prefix" and row > 0:
        if row + 2 * _most_spans(denoisers, row) + spare <= sequence_length:
            break
        row -= 1
    if row < 1:
        raise ValueError(
            f"sequence_length={sequence_length} has no room for the sentinels; raise it"
        )
    if (spans := _most_spans(denoisers, row)) > num_sentinels:
        raise ValueError(
            f"num_sentinels={num_sentinels} are too few for the {spans} spans of a document of "
            f"{row} tokens; raise num_sentinels or mean_length, or lower sequence_length"
        )
    if layout == "prefix":
        return Lengths(row, 0, None, sequence_length)
    needed = max(sum(denoiser.most(row)) for denoiser in denoisers) + 1
    if decoder_length is None:
        decoder_length = -(-(needed + spare) // _MULTIPLE) * _MULTIPLE
    elif decoder_length < needed:
        raise ValueError(
            f"decoder_length={decoder_length} is below the {needed} that a document of {row} "
            "tokens takes; raise it, or leave it None"
        )
    return Lengths(row, 0, sequence_length, decoder_length)


def _most_spans(denoisers: tuple[Denoiser, ...], length: int) -> int:
    return max(denoiser.most(length)[1] for denoiser in denoisers)


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
    sentinels: Sentinels,
    mode_ids: tuple[int, ...],
    layout: str,
    lengths: Lengths,
) -> Batch:
    """The batch; each document has a denoiser drawn by weight.

    mode_ids: of each denoiser, -1 = none. A document of which nothing is noise is an input without
    targets and mode. Where the documents of a row make more than fits, spans at the end of a random
    order of the documents are left as they are: nothing is ever lost.
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
    inputs, targets = _fragments(rows, pieces, spans, modes_P, sentinels, setting.vocabulary.eos_id)
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
    ends_Q = np.append(cuts_Q[1:], 0)
    ends_Q[np.append(pieces_Q[1:] != pieces_Q[:-1], True)[: len(ends_Q)]] = noise_P[noise_P > 0]
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
        room_KB = np.stack([lengths.decoder + 1 - used_B])
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
        kept_Q[mine] = np.logical_and.accumulate(fits.all(axis=0))
    return spans.where(kept_Q)


def _fragments(
    rows: Rows,
    pieces: Pieces,
    spans: Spans,
    modes_P: np.ndarray,
    sentinels: Sentinels,
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
    ids_R = ~np.where(tail_R, eos_id, sentinels.first + which_R * sentinels.step)
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
