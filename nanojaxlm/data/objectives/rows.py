"""What an objective is given, and the documents in it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nanojaxlm.batch import Stream
from nanojaxlm.data.draws import Draws
from nanojaxlm.data.vocabulary import Vocabulary


class Rows(NamedTuple):
    """Packed documents, cut from the split.

    tokens_BS: int32 token ids. segments_BS: int32, which document of the row, from 1; 0 = padding,
    at the end only. draws: the rows' random numbers.
    """

    tokens_BS: np.ndarray
    segments_BS: np.ndarray
    draws: Draws

    def at(self, rows: np.ndarray) -> "Rows":
        """Some of the rows."""
        return Rows(self.tokens_BS[rows], self.segments_BS[rows], self.draws.at(rows))

    def first(self, width: int) -> "Rows":
        """The first `width` columns."""
        return Rows(self.tokens_BS[:, :width], self.segments_BS[:, :width], self.draws)


class Lengths(NamedTuple):
    """Tokens: from one row to the next; that a row has more than that, and shares with the next;
    that the encoder reads; that the decoder reads (None: there is no such stream)."""

    row: int
    ahead: int
    encoder: int | None
    decoder: int | None


class Setting(NamedTuple):
    """What the batches are for: the tokenizer, ids of the objective's extra tokens, and
    DataConfig.sequence_length."""

    vocabulary: Vocabulary
    extra_ids: Mapping[str, int]
    sequence_length: int


class Pieces(NamedTuple):
    """The documents' pieces in rows, in order: int64 [P] each; column of the first token."""

    rows_P: np.ndarray
    columns_P: np.ndarray
    lengths_P: np.ndarray
    segments_P: np.ndarray


def find_pieces(segments_BS: np.ndarray) -> Pieces:
    """[[1, 1, 2, 0]] -> rows 0 0, columns 0 2, lengths 2 1, segments 1 2."""
    begins_BS, ends_BS = segments_BS != 0, segments_BS != 0
    changes = segments_BS[:, 1:] != segments_BS[:, :-1]
    begins_BS[:, 1:] &= changes
    ends_BS[:, :-1] &= changes
    starts = np.flatnonzero(begins_BS)
    rows, columns = np.divmod(starts, segments_BS.shape[1])
    return Pieces(
        rows, columns, np.flatnonzero(ends_BS) + 1 - starts, segments_BS.reshape(-1)[starts]
    )


class Bodies(NamedTuple):
    """The pieces without BOS and EOS: bool, bool, int64, int64 [P]; a body may be empty."""

    has_bos_P: np.ndarray
    has_eos_P: np.ndarray
    columns_P: np.ndarray
    lengths_P: np.ndarray


def find_bodies(pieces: Pieces, tokens_BS: np.ndarray, vocabulary: Vocabulary) -> Bodies:
    """Where BOS and EOS are the same id, each end counts by itself."""
    first = tokens_BS[pieces.rows_P, pieces.columns_P]
    last = tokens_BS[pieces.rows_P, pieces.columns_P + pieces.lengths_P - 1]
    has_bos = first == vocabulary.bos_id
    has_eos = (last == vocabulary.eos_id) & ((pieces.lengths_P > 1) | ~has_bos)
    lengths = pieces.lengths_P - has_bos - has_eos
    return Bodies(has_bos, has_eos, pieces.columns_P + has_bos, lengths)


def stream_of(
    tokens_BT: np.ndarray, segments_BT: np.ndarray, prefix_BT: np.ndarray | None = None
) -> Stream:
    """The stream, its positions counted from the start of each segment."""
    index_T = np.arange(segments_BT.shape[1], dtype=np.int32)
    begins_BT = np.zeros(segments_BT.shape, bool)
    begins_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    positions_BT = index_T - np.maximum.accumulate(np.where(begins_BT, index_T, 0), axis=1)
    return Stream(
        tokens_BT=tokens_BT.astype(np.int32, copy=False),
        positions_BT=positions_BT.astype(np.int32, copy=False),
        segments_BT=segments_BT.astype(np.int32, copy=False),
        prefix_BT=None if prefix_BT is None else prefix_BT.astype(np.int32, copy=False),
    )
