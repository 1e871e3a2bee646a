"""A seed's parameters are the same bit for bit, however many devices draw them and in what mesh."""

from typing import Any

import jax
import numpy as np
import pytest

from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, WarmupStableDecay
from nanojaxlm.sharding import MeshConfig, make_mesh, use_mesh
from nanojaxlm.state import abstract_state, init_state, parameter_boxes, path_name

pytestmark = pytest.mark.usefixtures("quick_compile")
ADAMW = AdamW(learning_rate=0.01, schedule=WarmupStableDecay(warmup_steps=0))
MESHES: list[dict[str, Any]] = [
    {"data": 8},
    {"data": 1, "fsdp": 8},
    {"data": 2, "fsdp": 2, "tensor": 2},
    {"data": 1, "stage": 2, "expert": 2, "context": 2},
    {"data": 1, "replica": 2, "expert": 2, "tensor": 2, "sequence": True},
]


@pytest.fixture(scope="module")
def drawn(tiny_config) -> Any:
    """drawn(config of a mesh, number of devices): the parameters by name."""
    mixture = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=8))
    sizes: dict[str, Any] = {"vocab_size": 48, "feed_forward": mixture, "tie_embeddings": False}
    model = Transformer(tiny_config(**sizes))

    def draw(number: int = 8, **mesh: Any) -> dict[str, np.ndarray]:
        config = MeshConfig(**mesh)
        where = make_mesh(config, jax.devices()[:number])
        with use_mesh(where, config):
            boxes = parameter_boxes(model)
            optimizer = ADAMW.make(10, boxes)
            state = init_state(model, optimizer, 7, abstract_state(boxes, optimizer, where))
        leaves = jax.tree_util.tree_leaves_with_path(state.params)
        return {path_name(path): np.asarray(leaf) for path, leaf in leaves}

    return draw


@pytest.fixture(scope="module")
def alone(drawn) -> dict[str, np.ndarray]:
    return drawn(1)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_every_mesh_draws_the_parameters_of_one_device(drawn, alone, mesh):
    found = drawn(**mesh)
    assert found.keys() == alone.keys()
    for name, wanted in alone.items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)
