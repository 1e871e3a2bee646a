"""The state from its first moment: where it lies, and that the mesh does not change it."""

from typing import Any

import jax
import numpy as np
import pytest

from nanojaxlm.model.config import (
    EmbedConfig,
    FeedForwardConfig,
    HeadTransformConfig,
    MixtureConfig,
)
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, Muon, WarmupStableDecay
from nanojaxlm.sharding import MeshConfig, make_mesh, use_mesh
from nanojaxlm.state import TrainState, abstract_state, init_state, parameter_boxes, path_name

pytestmark = pytest.mark.usefixtures("quick_compile")
CONSTANT = WarmupStableDecay(warmup_steps=0)
ADAMW = AdamW(learning_rate=0.01, schedule=CONSTANT)
MUON = Muon(learning_rate=0.02, adam_learning_rate=0.01, schedule=CONSTANT)
SMALL = 64  # elements; norms and counts


@pytest.fixture(scope="module")
def model(tiny_config) -> Transformer:
    return Transformer(tiny_config(vocab_size=48, hidden=24, qk_norm="head", tie_embeddings=False))


def abstract(model: Transformer, config: Any, **mesh: int) -> TrainState:
    boxes = parameter_boxes(model)
    return abstract_state(boxes, config.make(10, boxes), make_mesh(MeshConfig(**mesh)))


MESHES = [{"data": 1, "fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}]


@pytest.mark.parametrize("config", [ADAMW, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize("mesh", MESHES)
def test_nothing_large_is_whole_on_a_device_under_fsdp(model, config, mesh):
    """Parameters, momenta, second moments: each device has its 1 / (fsdp * tensor) or, where an
    axis has no tensor rule, 1 / fsdp."""
    state = abstract(model, config, **mesh)
    large = [
        (path_name(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if leaf.size > SMALL
    ]
    names = {name for name, _ in large}
    assert sum("mu/" in name for name in names) >= 9, "momenta are among them"
    for name, leaf in large:
        share = np.prod(leaf.sharding.shard_shape(leaf.shape)) / leaf.size
        assert share == pytest.approx(1 / (mesh["fsdp"] * mesh.get("tensor", 1))), name


@pytest.mark.parametrize("mesh", MESHES)
def test_nor_is_a_large_array_of_any_other_kind_of_model(tiny_config, mesh):
    """Experts and all else that both axes split; tables of positions and the square transform,
    which fsdp alone splits."""
    mixture = MixtureConfig(
        num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=8),
        shared=FeedForwardConfig(hidden=24),
    )  # fmt: skip
    model = Transformer(
        tiny_config(
            kind="encoder_decoder", vocab_size=48, feed_forward=mixture, num_dense=1, num_layers=3,
            dense=FeedForwardConfig(hidden=24), embed=EmbedConfig(num_positions=12),
            share_embeddings=False, head_transform=HeadTransformConfig(), num_future=1,
        )
    )  # fmt: skip
    state = abstract(model, ADAMW, **mesh)
    shares = {
        path_name(path): np.prod(leaf.sharding.shard_shape(leaf.shape)) / leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if leaf.size > SMALL
    }
    assert {"experts", "shared", "cross_attention", "encoder_embed", "future_2"} < {
        key for name in shares for key in name.split("/")
    }
    for name, share in shares.items():
        one_axis = any(word in name for word in ("positions", "transform", "router"))
        split = mesh["fsdp"] * (1 if one_axis else mesh.get("tensor", 1))
        assert share == pytest.approx(1 / split), name


@pytest.mark.parametrize("config", [ADAMW, MUON], ids=["adamw", "muon"])
def test_each_moment_lies_as_its_parameter(model, config):
    state = abstract(model, config, data=2, fsdp=2, tensor=2)
    params = {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(state.params)}
    followed = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state):
        name = next((n for n in params if path_name(path).endswith(n)), None)
        if name is None:
            assert leaf.size <= SMALL
            continue
        assert leaf.shape == params[name].shape
        assert leaf.sharding == params[name].sharding
        followed.add(name)
    assert followed == set(params)


def test_the_optimizers_arrays_are_as_many_as_it_needs(model):
    """AdamW: two moments of all; Muon: one momentum of the matrices, two moments of the rest."""
    for config, matrix_moments in ((ADAMW, 2), (MUON, 1)):
        state = abstract(model, config)
        sizes = {True: 0, False: 0}
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
            name = path_name(path)
            sizes["kernel" in name and "head" not in name] += leaf.size
        moments = [leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim > 0]
        expected = matrix_moments * sizes[True] + 2 * sizes[False]
        assert sum(moments) - expected <= 15  # optax keeps Newton-Schulz' coefficients in it


@pytest.fixture(scope="module")
def fresh(model) -> Any:
    """fresh(seed, **mesh): an initialised state."""

    def make(seed: int, **mesh: int) -> TrainState:
        boxes = parameter_boxes(model)
        optimizer = MUON.make(10, boxes)
        where = make_mesh(MeshConfig(**mesh))
        with use_mesh(where):
            return init_state(model, optimizer, seed, abstract_state(boxes, optimizer, where))

    return make


@pytest.fixture(scope="module")
def replicated_state(fresh) -> TrainState:
    return fresh(3, data=8)


@pytest.mark.slow
def test_the_initial_parameters_do_not_depend_on_the_mesh(fresh, replicated_state):
    sharded = fresh(3, data=2, fsdp=2, tensor=2)
    for (path, want), got in zip(
        jax.tree_util.tree_leaves_with_path(replicated_state),
        jax.tree.leaves(sharded),
        strict=True,
    ):
        np.testing.assert_allclose(
            np.asarray(got), np.asarray(want), rtol=1e-6, err_msg=path_name(path)
        )


@pytest.mark.slow
def test_the_initial_parameters_depend_on_the_seed_and_the_layer(fresh, replicated_state):
    other = fresh(4, data=8)
    ours, theirs = (
        {path_name(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(s.params)}
        for s in (replicated_state, other)
    )
    drawn = [name for name, x in ours.items() if np.unique(x).size > 1]
    assert {"embed/embedding", "decoder/layers/layer_0/attention/q/kernel"} <= set(drawn)
    for name in drawn:
        assert not np.array_equal(ours[name], theirs[name]), name
        if "/layers/" in name:
            assert not np.array_equal(ours[name][0], ours[name][1]), name


def test_parameters_are_float32_and_the_step_starts_at_zero(replicated_state):
    assert int(replicated_state.step) == 0
    assert {leaf.dtype.name for leaf in jax.tree.leaves(replicated_state.params)} == {"float32"}
    assert all(not np.asarray(m).any() for m in jax.tree.leaves(replicated_state.opt_state)
               if m.ndim > 1 and m.shape[-1] != 3)  # fmt: skip
