"""Predict the rest of a document from its beginning, all of which is seen at once."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nanojaxlm.batch import Batch
from nanojaxlm.data.draws import Purpose
from nanojaxlm.data.objectives.fragments import (
    Fragments,
    assemble,
    check_layout,
    encoder_decoder_batch,
    next_token_batch,
)
from nanojaxlm.data.objectives.rows import Lengths, Rows, Setting, find_pieces


@dataclass(frozen=True, kw_only=True)
class PrefixLM:
    """Predict what follows a prefix of each document (Raffel et al. 2019, section 3.2.1).

    layout: "prefix", in a decoder whose prefix sees all of itself; "encoder", the prefix to an
    encoder and the rest to a decoder. A document's piece of one token has no target.
    """

    split: float | None = None  # the part that is the prefix; None = any, uniformly
    layout: str = "prefix"

    extra_tokens: ClassVar[tuple[str, ...]] = ()
    num_future: ClassVar[int] = 0
    decodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.split is not None and not 0 < self.split < 1:
            raise ValueError(
                f"split must be between 0 and 1, or None for any split, got {self.split}"
            )
        check_layout(self.layout)

    @property
    def encodes(self) -> bool:
        return self.layout == "encoder"

    def lengths(self, sequence_length: int) -> Lengths:
        if self.layout == "prefix":
            return Lengths(sequence_length, 1, None, sequence_length)
        rest = sequence_length * (1 - (self.split or 0))
        return Lengths(sequence_length, 0, sequence_length, max(1, int(rest)))

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """Of w0 w1 w2 w3 with the prefix w0 w1, in a decoder: tokens w0 w1 w2, prefix 1 1 0,
        targets w1 w2 w3, weights 0 1 1."""
        pieces = find_pieces(rows.segments_BS)
        lengths_P = pieces.lengths_P
        if self.split is None:
            draws_P = rows.draws.uniform(Purpose.SPLIT, pieces.rows_P, pieces.columns_P)
            prefixes_P = 1 + (draws_P * (lengths_P - 1)).astype(np.int64)
        else:
            prefixes_P = np.ceil(self.split * lengths_P).astype(np.int64)
        if self.layout == "prefix":
            begins_P = np.cumsum(lengths_P) - lengths_P
            offsets = np.arange(lengths_P.sum()) - np.repeat(begins_P, lengths_P)
            prefix_BS = rows.segments_BS != 0
            prefix_BS[prefix_BS] = offsets < np.repeat(prefixes_P, lengths_P)
            return next_token_batch(rows.tokens_BS, rows.segments_BS, ~prefix_BS, prefix_BS)
        places_P = pieces.rows_P * rows.tokens_BS.shape[1] + pieces.columns_P
        marks_P = np.zeros(len(places_P), bool)
        prefixes = Fragments(pieces.rows_P, pieces.segments_P, places_P, prefixes_P, marks_P)
        rests = prefixes._replace(sources_F=places_P + prefixes_P, lengths_F=lengths_P - prefixes_P)
        sizes = self.lengths(setting.sequence_length)
        assert sizes.encoder is not None and sizes.decoder is not None
        return encoder_decoder_batch(
            assemble(rows.tokens_BS, prefixes, sizes.encoder),
            assemble(rows.tokens_BS, rests, sizes.decoder),
            setting.vocabulary.start_id,
        )
