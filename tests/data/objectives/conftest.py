"""Random rows of several documents, and what the objectives know of their tokens."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nanojaxlm.data.draws import Draws
from nanojaxlm.data.objectives.rows import Rows, Setting
from nanojaxlm.data.vocabulary import Vocabulary

SIZE, BOS, EOS, START = 1000, 1, 2, 0
BEGINS_WORD = np.random.default_rng(0).random(SIZE) < 0.5


def make_rows(tokens: Any, segments: Any, seed: int = 0, first_place: int = 0) -> Rows:
    tokens = np.array(tokens, np.int32)
    places = first_place + np.arange(len(tokens))
    return Rows(tokens, np.array(segments, np.int32), Draws.of(seed, places))


def make_random_rows(number: int, width: int, mean: float, seed: int = 0) -> Rows:
    """Documents of a geometric length, 1 or 2 tokens among them, cut at both ends of a row; some
    rows end in padding, row 1 is of padding only."""
    random = np.random.default_rng(seed)
    tokens, segments = np.zeros((number, width), int), np.zeros((number, width), int)
    for row in range(number):
        used = width if random.random() < 0.7 else int(random.integers(1, width + 1))
        column, segment = 0, 0
        while column < used and row != 1:
            body = random.integers(3, SIZE, int(random.geometric(1 / mean)) - 1)
            document = np.concatenate([[BOS], body, [EOS]])
            if column == 0:
                document = document[random.integers(0, len(document)) :]
            document = document[: used - column]
            segment += 1
            tokens[row, column : column + len(document)] = document
            segments[row, column : column + len(document)] = segment
            column += len(document)
    return make_rows(tokens, segments, seed)


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., Rows]:
    """rows_of(tokens, segments, seed=0, first_place=0)."""
    return make_rows


@pytest.fixture(scope="session")
def random_rows() -> Callable[..., Rows]:
    """random_rows(number, width, mean=…, seed=0); see make_random_rows."""
    return make_random_rows


@pytest.fixture(scope="session")
def setting() -> Callable[..., Setting]:
    """setting(objective, sequence_length): ids of extra tokens from 1000 on, start_id 0."""

    def make(objective: Any, sequence_length: int) -> Setting:
        ids = {name: SIZE + i for i, name in enumerate(objective.extra_tokens)}
        return Setting(Vocabulary(SIZE, BOS, EOS, START, BEGINS_WORD), ids, sequence_length)

    return make
