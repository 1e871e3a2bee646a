"""What an objective knows of the tokenizer."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from nanojaxlm.data.tokenizer import Tokenizer


class Vocabulary(NamedTuple):
    """size: the tokenizer's ids; the objective's extra tokens follow them and are not counted.
    bos_id, eos_id: around a document.
    start_id: what a decoder with an encoder reads first.
    begins_word_V: bool [size], where a new word starts.
    """

    size: int
    bos_id: int
    eos_id: int
    start_id: int
    begins_word_V: np.ndarray

    @classmethod
    def of(cls, tokenizer: "Tokenizer", start_id: int | None = None) -> "Vocabulary":
        """start_id: the model's, None = BOS."""
        return cls(
            size=tokenizer.base_size,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            start_id=tokenizer.bos_id if start_id is None else start_id,
            begins_word_V=np.asarray(tokenizer.begins_word(), bool)[: tokenizer.base_size],
        )
