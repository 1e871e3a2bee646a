"""Masked tokens of a text, filled in by an encoder."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nanojaxlm.batch import Stream
from nanojaxlm.data.padding import pad_rows
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.inference.prompts import check_positions, whole_text
from nanojaxlm.inference.sampling import Sampling, choose
from nanojaxlm.model.transformer import Transformer

MASK = "<mask>"


class Choice(NamedTuple):
    """A mask's token, its text, and its probability when it was chosen, among all tokens but the
    mask; the temperature and the cuts of a sampling do not count."""

    token: int
    text: str
    probability: float


class Filled(NamedTuple):
    """A text without masks, and what came in their places, from left to right."""

    text: str
    choices: tuple[Choice, ...]


class Filler:
    """Fills the <mask> tokens of texts. Compiles once for each (number of texts, length rounded
    up).

    Raises:
        UserError: the model has a decoder, or its tokenizer no mask.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        if model.config.decoder is not None:
            raise UserError("the model has a decoder, which continues texts; it fills in no <mask>")
        self._model, self._tokenizer = model, tokenizer
        self.mask_id = mask_id(tokenizer)
        num_ids = tokenizer.vocab_size  # rows of the vocabulary beyond them stand for no token

        @partial(jax.jit, static_argnames="sampling")
        def propose(
            params: Any, stream: Stream, key: jax.Array, sampling: Sampling
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            """At each position a token, its probability, and that of the likeliest token."""
            logits_BTV: Any = model.apply({"params": params}, encoder=stream)
            logits_BTV = logits_BTV[..., :num_ids]
            logits_BTV = logits_BTV.at[..., self.mask_id].set(-jnp.inf)
            probabilities_BTV = jax.nn.softmax(logits_BTV, axis=-1)
            flat = logits_BTV.reshape(-1, logits_BTV.shape[-1])
            tokens_BT = choose(flat, sampling, key).reshape(stream.tokens_BT.shape)
            chosen_BT1 = jnp.take_along_axis(probabilities_BTV, tokens_BT[..., None], axis=-1)
            return tokens_BT, chosen_BT1[..., 0], jnp.max(probabilities_BTV, axis=-1)

        self._propose = propose

    def fill(
        self,
        params: Any,
        texts: Sequence[str],
        sampling: Sampling,
        *,
        at_once: bool = False,
        seed: int = 0,
    ) -> list[Filled]:
        """The texts with each mask replaced.

        Args:
            sampling: temperature 0 takes the likeliest token.
            at_once: all masks in one pass, each as if alone; else one at a time, that which the
                model is surest of first, and the next ones see it.

        Raises:
            UserError: a text without a mask, or beyond the model's learned positions.
        """
        rows = [whole_text(self._tokenizer, text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if self.mask_id not in row:
                raise UserError(f"the text {text[:60]!r} has no {self.mask_name} to fill in")
        check_positions(self._model.config, max(map(len, rows)))
        stream = pad_rows(rows)
        masked_BT = np.asarray(stream.tokens_BT == self.mask_id) & (stream.segments_BT != 0)
        places = [np.flatnonzero(masked_T) for masked_T in masked_BT]
        probabilities_BT = np.zeros(masked_BT.shape, np.float32)
        key, step = jax.random.key(seed), 0
        while masked_BT.any():
            step_key = jax.random.fold_in(key, step)
            proposed = self._propose(params, stream, step_key, sampling=sampling)
            tokens_BT, chosen_BT, sureness_BT = map(np.asarray, proposed)
            now_BT = masked_BT if at_once else _surest(sureness_BT, masked_BT)
            stream = stream._replace(tokens_BT=np.where(now_BT, tokens_BT, stream.tokens_BT))
            probabilities_BT = np.where(now_BT, chosen_BT, probabilities_BT)
            masked_BT, step = masked_BT & ~now_BT, step + 1
        return [
            self._filled(np.asarray(stream.tokens_BT)[i, : len(row)], at, probabilities_BT[i])
            for i, (row, at) in enumerate(zip(rows, places, strict=True))
        ]

    @property
    def mask_name(self) -> str:
        """How the mask is written in a text."""
        return self._tokenizer.name(self.mask_id)

    def _filled(
        self, tokens_T: np.ndarray, places: np.ndarray, probabilities_T: np.ndarray
    ) -> Filled:
        choices = tuple(
            Choice(
                int(tokens_T[at]),
                self._tokenizer.decode([int(tokens_T[at])]),
                float(probabilities_T[at]),
            )
            for at in places
        )
        return Filled(self._tokenizer.decode(tokens_T.tolist()), choices)


def mask_id(tokenizer: Tokenizer) -> int:
    """The tokenizer's own mask, else the one that the objective added.

    Raises:
        UserError: it has none.
    """
    return tokenizer.special_id(MASK) if tokenizer.mask_id is None else tokenizer.mask_id


def _surest(sureness_BT: np.ndarray, masked_BT: np.ndarray) -> np.ndarray:
    """bool[B, T]: of each row's masked places the one of the highest probability."""
    best_B = np.where(masked_BT, sureness_BT, -1.0).argmax(axis=1)
    now_BT = np.zeros(masked_BT.shape, bool)
    now_BT[np.arange(len(best_B)), best_B] = True
    return now_BT & masked_BT
