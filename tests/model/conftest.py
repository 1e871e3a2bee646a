"""What the tests of whole models share: a model with its parameters and logits, and comparisons."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from nanojaxlm.batch import Batch, Stream
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.step import batch_loss


class Tiny(NamedTuple):
    """logits(decoder=None, encoder=None): of whole streams, compiled."""

    model: Transformer
    params: Any
    logits: Callable[..., jax.Array]


@pytest.fixture(scope="session")
def build(random_params) -> Callable[..., Tiny]:
    """build(config): the model, with random parameters."""

    def make(config: ModelConfig) -> Tiny:
        model = Transformer(config)
        params = random_params(model)
        return Tiny(model, params, jax.jit(partial(model.apply, {"params": params})))

    return make


@pytest.fixture(scope="session")
def random_stream() -> Callable[..., Stream]:
    """random_stream(3, 2, rows=1, seed=0, vocab_size=50): documents of 3 and 2 tokens in each
    row."""

    def make(*lengths: int, rows: int = 1, seed: int = 0, vocab_size: int = 50) -> Stream:
        tokens = np.random.default_rng(seed).integers(0, vocab_size, (rows, sum(lengths)))
        positions = np.concatenate([np.arange(length) for length in lengths])
        segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        arrays = (tokens, *(np.tile(a, (rows, 1)) for a in (positions, segments)))
        return Stream(*(a.astype(np.int32) for a in arrays))

    return make


@pytest.fixture(scope="session")
def loss_and_gradient() -> Callable[..., tuple[Any, Any]]:
    """loss_and_gradient(model, params, batch, loss=…): ((total, sums), gradient)."""

    def make(
        model: Transformer, params: Any, batch: Batch, loss: LossConfig | None = None
    ) -> tuple[Any, Any]:
        objective = partial(batch_loss, model, loss or LossConfig(chunk_length=8))
        return jax.jit(jax.value_and_grad(objective, has_aux=True))(params, batch)

    return make


@pytest.fixture(scope="session")
def assert_trees_close() -> Callable[..., None]:
    """assert_trees_close(actual, expected, relative): each array within `relative` of its own
    largest element."""

    def check(actual: Any, expected: Any, relative: float) -> None:
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        pairs = zip(
            jax.tree.leaves(actual), jax.tree_util.tree_leaves_with_path(expected), strict=True
        )
        for got, (path, want) in pairs:
            scale = float(np.abs(np.asarray(want, np.float64)).max())
            assert scale > 0, f"{path}: an all-zero oracle shows nothing"
            np.testing.assert_allclose(got, want, rtol=0, atol=relative * scale, err_msg=str(path))

    return check
