"""What a model gives to the answers of many questions, in batches of few shapes."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nanojaxlm.batch import Stream
from nanojaxlm.data.padding import pad_rows, round_up
from nanojaxlm.evaluation.questions import Question
from nanojaxlm.model.transformer import Transformer

_TOKENS, _LOGITS = 2**14, 2**24  # of a batch, at most


class Answers(NamedTuple):
    """Of one question: float32 log_probabilities of its answers, nats; bool correct, where the
    answer is the likeliest token."""

    log_probabilities: np.ndarray
    correct: np.ndarray


class _Shape(NamedTuple):
    """Tokens of the encoder's and the decoder's stream, 0 = none, and places asked for."""

    encoder: int
    decoder: int
    places: int


class Scorer:
    """Scores questions. Compiles once for each of few shapes of batches."""

    def __init__(self, model: Transformer):
        assert model.config.vocab_size is not None
        self._vocab_size = model.config.vocab_size

        @jax.jit
        def score(
            params: Any,
            decoder: Stream | None,
            encoder: Stream | None,
            places_BP: jax.Array,
            answers_BP: jax.Array,
        ) -> tuple[jax.Array, jax.Array]:
            apply: Any = partial(model.apply, {"params": params})
            x_BTD, _ = apply(decoder, encoder, method="hidden")
            x_BPD = jnp.take_along_axis(x_BTD, places_BP[..., None], axis=1)
            logits_BPV = apply(x_BPD, method="logits")
            given_BP1 = jnp.take_along_axis(logits_BPV, answers_BP[..., None], axis=-1)
            log_z_BP = jax.nn.logsumexp(logits_BPV, axis=-1)
            return given_BP1[..., 0] - log_z_BP, jnp.argmax(logits_BPV, axis=-1) == answers_BP

        self._score = score

    def score(self, params: Any, questions: Sequence[Question]) -> list[Answers]:
        """The answers, in the order of the questions."""
        shapes = [_shape(question) for question in questions]
        order = sorted(range(len(questions)), key=lambda i: shapes[i])
        found: dict[int, Answers] = {}
        for shape, group in itertools.groupby(order, key=lambda i: shapes[i]):
            for members in _chunks(group, self._num_rows(shape)):
                asked = [questions[i] for i in members]
                scored = self._batch(params, asked, shape)
                for i, question, logs_P, correct_P in zip(members, asked, *scored, strict=False):
                    num = len(question.places)
                    found[i] = Answers(logs_P[:num], correct_P[:num])
        return [found[i] for i in range(len(questions))]

    def _num_rows(self, shape: _Shape) -> int:
        by_tokens = _TOKENS // (shape.encoder + shape.decoder)
        return max(1, min(by_tokens, _LOGITS // (shape.places * self._vocab_size)))

    def _batch(
        self, params: Any, questions: Sequence[Question], shape: _Shape
    ) -> tuple[np.ndarray, np.ndarray]:
        num_rows = self._num_rows(shape)

        def stream(rows: list[tuple[int, ...] | None], width: int) -> Stream | None:
            read = [row for row in rows if row is not None]
            return pad_rows(read, multiple=width, num_rows=num_rows) if read else None

        places_BP, answers_BP = np.zeros((2, num_rows, shape.places), np.int32)
        for row, question in enumerate(questions):
            places_BP[row, : len(question.places)] = question.places
            answers_BP[row, : len(question.answers)] = question.answers
        decoder = stream([question.decoder for question in questions], shape.decoder)
        encoder = stream([question.encoder for question in questions], shape.encoder)
        scored = self._score(params, decoder, encoder, places_BP, answers_BP)
        return np.asarray(scored[0]), np.asarray(scored[1])


def _shape(question: Question) -> _Shape:
    places = len(question.places)
    return _Shape(
        _few(len(question.encoder or ())),
        _few(len(question.decoder or ())),
        places if places == 1 else _few(places),
    )


def _few(length: int) -> int:
    """One of few lengths, not much longer: 8, 16, 24, 32, 64, 96, …"""
    return round_up(length, 8 if length <= 32 else 32)


def _chunks(items: Iterable[int], size: int) -> Iterator[list[int]]:
    items = iter(items)
    while chunk := list(itertools.islice(items, size)):
        yield chunk
