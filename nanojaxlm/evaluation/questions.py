"""How a model is asked for tokens of a text, by what stacks it has.

hidden token    an encoder reads the text with the mask in its place; with a decoder, the
                encoder reads it with a sentinel there and the decoder answers after that
                sentinel; a decoder alone reads what stands to the left.
continuation    a decoder reads the beginning and goes on; with an encoder, the encoder reads
                the beginning and a sentinel, and the decoder answers after that sentinel, or,
                where the tokenizer has no sentinels (a prefix-LM), the beginning alone; an
                encoder alone cannot be asked.
"""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.model.config import ModelConfig

MASK, SENTINEL = "<mask>", "<extra_id_0>"


class Question(NamedTuple):
    """Token ids of the streams that the model reads; `answers` are the tokens that should come of
    the last stack at `places`."""

    encoder: tuple[int, ...] | None
    decoder: tuple[int, ...] | None
    places: tuple[int, ...]
    answers: tuple[int, ...]


class Asker:
    """Makes questions of texts, given as ids with BOS and EOS where the training texts have them.

    Raises:
        UserError: the model is an encoder alone, and the tokenizer has no mask.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer):
        self._has_encoder, self._has_decoder = (
            config.encoder is not None,
            config.decoder is not None,
        )
        self._start_id = tokenizer.bos_id if config.start_id is None else config.start_id
        self._mask_id = self._sentinel_id = None
        if self._has_encoder and not self._has_decoder:
            self._mask_id = tokenizer.mask_id
            if self._mask_id is None:
                self._mask_id = tokenizer.special_id(MASK)
        if self._has_encoder and self._has_decoder:
            with contextlib.suppress(UserError):  # a prefix-LM has none: it can only go on
                self._sentinel_id = tokenizer.special_id(SENTINEL)

    def check_hides(self) -> None:
        """Raises:
        UserError: the model cannot be asked for hidden tokens.
        """
        if self._has_encoder and self._has_decoder and self._sentinel_id is None:
            raise UserError(
                f"the tokenizer has no {SENTINEL}, so this encoder-decoder cannot be asked for "
                "single tokens; train it by span corruption"
            )

    @property
    def can_continue(self) -> bool:
        return self._has_decoder

    def hidden(self, tokens: Sequence[int], place: int) -> Question:
        """Which token stands at `place`? place >= 1 where the model is a decoder alone."""
        answers = (tokens[place],)
        if not self._has_encoder:
            return Question(None, tuple(tokens[:place]), (place - 1,), answers)
        if not self._has_decoder:
            assert self._mask_id is not None
            read = (*tokens[:place], self._mask_id, *tokens[place + 1 :])
            return Question(read, None, (place,), answers)
        assert self._sentinel_id is not None
        read = (*tokens[:place], self._sentinel_id, *tokens[place + 1 :])
        return Question(read, (self._start_id, self._sentinel_id), (1,), answers)

    def continuation(self, tokens: Sequence[int], start: int) -> Question:
        """What follows from `start` on? start >= 1."""
        assert self._has_decoder, "an encoder alone continues nothing"
        answers = tuple(tokens[start:])
        if not self._has_encoder:
            places = tuple(range(start - 1, len(tokens) - 1))
            return Question(None, tuple(tokens[:-1]), places, answers)
        mark = () if self._sentinel_id is None else (self._sentinel_id,)
        decoder = (self._start_id, *mark, *answers[:-1])
        places = tuple(range(len(mark), len(decoder)))
        return Question((*tokens[:start], *mark), decoder, places, answers)
