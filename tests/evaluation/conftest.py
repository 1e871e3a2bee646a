"""Small models of each kind over a tokenizer of characters, with a mask and a sentinel."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from nanojaxlm.batch import Stream
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.evaluation.scoring import Scorer
from nanojaxlm.model.transformer import Transformer

ALPHABET = "abcdefgh .é"


class Subject(NamedTuple):
    """A model to evaluate. log_probabilities(encoder, decoder): float64[T, V] of one text."""

    model: Transformer
    params: Any
    tokenizer: Tokenizer
    scorer: Scorer
    log_probabilities: Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def subject(tiny_config, random_params) -> Callable[[str], Subject]:
    """subject(kind): kind is decoder, encoder or encoder_decoder."""
    made: dict[str, Subject] = {}

    def make(kind: str) -> Subject:
        if kind not in made:
            characters = Tokenizer.characters(ALPHABET).model
            tokenizer = Tokenizer(characters, ("<mask>", "<extra_id_0>"))
            config = tiny_config(kind, vocab_size=tokenizer.vocab_size, tie_embeddings=False)
            model = Transformer(config)
            params = random_params(model)
            forward = jax.jit(lambda d, e: model.apply({"params": params}, d, e))

            def log_probabilities(encoder, decoder) -> np.ndarray:
                asked = decoder if encoder is None or decoder is not None else encoder
                logits = np.asarray(forward(one_row(decoder), one_row(encoder)), np.float64)[0]
                logits -= logits.max(axis=-1, keepdims=True)
                return (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[: len(asked)]

            made[kind] = Subject(model, params, tokenizer, Scorer(model), log_probabilities)
        return made[kind]

    return make


def one_row(tokens, length=40) -> Stream | None:
    """Padded to one length, so that it compiles once."""
    if tokens is None:
        return None
    row = np.zeros((1, length), np.int32)
    row[0, : len(tokens)] = tokens
    index = np.arange(length, dtype=np.int32)[None]
    segments = (index < len(tokens)).astype(np.int32)
    return Stream(row, index * segments, segments)
