"""Predict tokens that the encoder does not see."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nanojaxlm.batch import Batch, Targets
from nanojaxlm.data.draws import Purpose
from nanojaxlm.data.objectives.rows import Lengths, Rows, Setting, stream_of

_MASK = "<mask>"


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """Predict a part of the tokens, hidden from the encoder (Devlin et al. 2018).

    Of those to predict, the parts `keep` and `random` stay or become another token, the rest become
    the mask; keep=0, random=0 masks all. Each epoch has other masks (Liu et al. 2019). BOS and EOS
    are never predicted.
    """

    rate: float = 0.15  # of the tokens
    keep: float = 0.1  # of those to predict
    random: float = 0.1  # of those to predict
    whole_words: bool = False  # a word is predicted as a whole
    mask_id: int | None = None  # None = an id after the tokenizer's

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"rate must be between 0 and 1, got {self.rate}; 0.15 is usual")
        if not (self.keep >= 0 and self.random >= 0 and self.keep + self.random <= 1):
            raise ValueError(
                f"keep={self.keep} and random={self.random} must be >= 0 and sum to at most 1; "
                "0.1 and 0.1 are BERT's"
            )
        if self.mask_id is not None and self.mask_id < 0:
            raise ValueError(f"mask_id must be >= 0 or None, got {self.mask_id}")

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return (_MASK,) if self.mask_id is None else ()

    num_future: ClassVar[int] = 0
    encodes: ClassVar[bool] = True
    decodes: ClassVar[bool] = False

    def lengths(self, sequence_length: int) -> Lengths:
        return Lengths(sequence_length, 0, sequence_length, None)

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """Targets are the tokens themselves, of weight 1 where they are to be predicted."""
        tokens_BT, segments_BT, draws = rows
        vocabulary, width = setting.vocabulary, tokens_BT.shape[1]
        special_BT = (tokens_BT == vocabulary.bos_id) | (tokens_BT == vocabulary.eos_id)
        draws_BT = draws.grid(Purpose.SELECT, width)
        if self.whole_words:
            first_BT = _word_starts(tokens_BT, segments_BT, special_BT, vocabulary.begins_word_V)
            draws_BT = np.take_along_axis(draws_BT, first_BT, axis=1)
        selected_BT = (draws_BT < self.rate) & (segments_BT != 0) & ~special_BT
        at = np.nonzero(selected_BT)
        how = draws.uniform(Purpose.REPLACE, *at)
        mask_id = setting.extra_ids[_MASK] if self.mask_id is None else self.mask_id
        become = np.where(how < self.keep, tokens_BT[at], mask_id)
        swapped = (how >= self.keep) & (how < self.keep + self.random)
        ordinary = np.delete(np.arange(vocabulary.size), [vocabulary.bos_id, vocabulary.eos_id])
        which = draws.uniform(Purpose.RANDOM_TOKEN, *at) * len(ordinary)
        become = np.where(swapped, ordinary[which.astype(np.int64)], become)
        corrupted_BT = tokens_BT.copy()
        corrupted_BT[at] = become
        return Batch(
            encoder=stream_of(corrupted_BT, segments_BT),
            targets=Targets(tokens_BT.astype(np.int32, copy=False), selected_BT.astype(np.float32)),
        )


def _word_starts(
    tokens_BT: np.ndarray, segments_BT: np.ndarray, special_BT: np.ndarray, begins_V: np.ndarray
) -> np.ndarray:
    """The column in which the word of each token starts; a word never leaves its document."""
    known = tokens_BT < len(begins_V)
    begins_BT = special_BT | begins_V[np.where(known, tokens_BT, 0)] | ~known
    begins_BT[:, 1:] |= segments_BT[:, 1:] != segments_BT[:, :-1]
    begins_BT[:, 0] = True
    return np.maximum.accumulate(np.where(begins_BT, np.arange(tokens_BT.shape[1]), 0), axis=1)
