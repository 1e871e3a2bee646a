"""One step, whatever way it is computed: in micro-batches, over any mesh, once or again."""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from nanojaxlm.batch import Batch, fingerprint
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import (
    EmbedConfig,
    FeedForwardConfig,
    HeadTransformConfig,
    LayerNormConfig,
    MixtureConfig,
    RelativeBiasConfig,
)
from nanojaxlm.model.mixture import LOSSES
from nanojaxlm.model.router import RouterSums, auxiliary_loss
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, Muon, WarmupStableDecay
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh, replicated, use_mesh
from nanojaxlm.state import (
    TrainState,
    abstract_params,
    abstract_state,
    parameter_boxes,
    path_name,
)
from nanojaxlm.step import StepReport, TrainStep, batch_loss, make_eval_step, make_step

pytestmark = pytest.mark.usefixtures("quick_compile")
VOCAB = 48
LOSS = LossConfig(z_loss=0.01, chunk_length=4)
CONSTANT = WarmupStableDecay(warmup_steps=0, decay_rate=0.0)
# A large epsilon: where a gradient is 0 but for rounding, Adam's first step would turn its noise
# into a whole learning rate of either sign.
ADAMW = AdamW(learning_rate=0.01, schedule=CONSTANT, epsilon=1e-3, clip_norm=0.5)
MUON = Muon(learning_rate=0.02, adam_learning_rate=0.01, schedule=CONSTANT, clip_norm=0.5)


@pytest.fixture(scope="module")
def model(tiny_config) -> Transformer:
    """All sizes divide by 8, for the meshes."""
    sizes = {
        "d_model": 16,
        "num_heads": 8,
        "num_kv_heads": 8,
        "head_dim": 4,
        "hidden": 24,
        "gated": False,
    }
    return Transformer(tiny_config(**sizes, vocab_size=VOCAB, num_layers=2))


@pytest.fixture(scope="module")
def batches(packed_batch) -> list[Batch]:
    return [packed_batch(8, 12, VOCAB, seed) for seed in range(2)]


class Compiled(NamedTuple):
    """A step and a state to start it from, each time the same random one."""

    step: TrainStep
    start: Callable[[], TrainState]
    mesh: Mesh


@pytest.fixture(scope="module")
def compiled(model, random_params) -> Callable[..., Compiled]:
    """compiled(optimizer, mesh, accumulation=1): each made once."""

    @functools.cache
    def make(config: AdamW | Muon, mesh: Mesh, accumulation: int = 1) -> Compiled:
        boxes = parameter_boxes(model)
        optimizer = config.make(10, boxes)
        abstract = abstract_state(boxes, optimizer, mesh)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)

        def start() -> TrainState:
            params = random_params(model)
            state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
            return jax.device_put(jax.tree.map(np.asarray, state), shardings)

        step = make_step(model, optimizer, LOSS, accumulation, abstract, mesh)
        return Compiled(step, start, mesh)

    return make


@pytest.fixture(scope="module")
def run(compiled, batches) -> Callable[..., tuple[TrainState, list[StepReport]]]:
    """run(optimizer, mesh, accumulation=1): two steps."""

    def two_steps(*of: Any) -> tuple[TrainState, list[StepReport]]:
        step, start, mesh = compiled(*of)
        state, reports = start(), []
        with use_mesh(mesh):
            for batch in batches:
                state, report = step(state, jax.device_put(batch, batch_sharding(mesh)))
                reports.append(jax.device_get(report))
        return state, reports

    return two_steps


@pytest.fixture(scope="module")
def on_one_device(run, one_device) -> dict[str, Any]:
    """The results that others must come to, by the optimizer's name."""
    return {type(config).__name__: run(config, one_device) for config in (ADAMW, MUON)}


def assert_same_training(actual: Any, expected: Any, start: Any, relative: float) -> None:
    """The losses to 1e-5; every parameter's movement within `relative` of its largest one."""
    for got, want in zip(actual[1], expected[1], strict=True):
        np.testing.assert_allclose(got.sums, want.sums, rtol=1e-5)
        np.testing.assert_allclose(got.grad_norm, want.grad_norm, rtol=1e-4)
        np.testing.assert_array_equal(got.fingerprint, want.fingerprint)
    leaves = [jax.tree_util.tree_leaves_with_path(x) for x in (actual[0].params, start)]
    wanted = jax.tree.leaves(expected[0].params)
    for (path, got), (_, before), want in zip(*leaves, wanted, strict=True):
        largest = float(np.abs(np.asarray(want) - np.asarray(before)).max())
        assert largest > 1e-4, f"{path_name(path)} was not trained"
        np.testing.assert_allclose(
            np.asarray(got), np.asarray(want), rtol=0, atol=relative * largest + 1e-7,
            err_msg=path_name(path),
        )  # fmt: skip


# --- The step itself


@pytest.mark.slow
def test_the_report_is_of_the_batch_and_of_the_parameters_before_the_step(
    on_one_device, model, batches, random_params
):
    """The loss once more from the whole logits; the gradient's norm before it is clipped."""
    params, batch = random_params(model), batches[0]
    report = on_one_device["AdamW"][1][0]
    logits = np.asarray(jax.jit(model.apply)({"params": params}, batch.decoder), np.float64)
    log_z = np.log(np.exp(logits).sum(axis=-1))
    target = np.take_along_axis(logits, batch.targets.tokens_BT[..., None], axis=-1)[..., 0]
    w = batch.targets.weights_BT
    expected = [((log_z - target) * w).sum(), (log_z**2 * w).sum(), w.sum(), 0.0, 0.0, 0.0]
    np.testing.assert_allclose(report.sums, expected, rtol=1e-5)
    gradient = jax.grad(partial(batch_loss, model, LOSS), has_aux=True)
    grads, _ = jax.jit(gradient)(params, batch)
    norm = math.sqrt(sum(float((np.asarray(g) ** 2).sum()) for g in jax.tree.leaves(grads)))
    assert norm / w.sum() > ADAMW.clip_norm, "clipping is at work"
    np.testing.assert_allclose(report.grad_norm, norm / w.sum(), rtol=1e-5)
    np.testing.assert_array_equal(report.fingerprint, fingerprint(batch))


@pytest.mark.slow
def test_steps_are_counted_and_a_batch_learnt(compiled, batches, one_device):
    step, start, mesh = compiled(ADAMW, one_device)
    state, losses = start(), []
    with use_mesh(mesh):
        for _ in range(40):
            state, report = step(state, batches[0])
            losses.append(float(report.sums.nll / report.sums.count))
    assert int(state.step) == 40
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_the_state_is_donated(compiled, batches, one_device):
    step, start, mesh = compiled(ADAMW, one_device)
    state = start()
    with use_mesh(mesh):
        step(state, batches[0])
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


@pytest.mark.slow
def test_the_same_steps_again_are_the_same_bit_for_bit(run, on_one_device, one_device):
    again, reports = run(ADAMW, one_device)
    before, reports_before = on_one_device["AdamW"]
    jax.tree.map(np.testing.assert_array_equal, again, before)
    jax.tree.map(np.testing.assert_array_equal, reports, reports_before)


@pytest.mark.slow
def test_a_batch_without_targets_decays_and_nothing_else(compiled, batches, one_device):
    """All weights zero: the count divides as 1, no gradient is NaN, norms stay as they were."""
    step, start, mesh = compiled(ADAMW, one_device)
    before = start().params
    targets = batches[0].targets
    nothing = targets._replace(weights_BT=np.zeros_like(targets.weights_BT))
    empty = batches[0]._replace(targets=nothing)
    with use_mesh(mesh):
        state, report = step(start(), empty)
    assert report.sums.count == 0
    decayed = (1 - 0.01 * ADAMW.weight_decay) * before["embed"]["embedding"]
    np.testing.assert_allclose(state.params["embed"]["embedding"], decayed, rtol=1e-6)
    jax.tree.map(
        np.testing.assert_array_equal, *(p["decoder"]["final_norm"] for p in (state.params, before))
    )


# --- Accumulation


@pytest.mark.slow
def test_micro_batches_add_up_to_the_undivided_batch(
    run, on_one_device, one_device, model, batches, random_params
):
    """Rows differ in their targets, so a mean of the micro-batches' means would be another."""
    counts = batches[0].targets.weights_BT.reshape(2, 4, -1).sum(axis=(0, 2))
    assert len(set(counts.tolist())) == 4
    accumulated = run(ADAMW, one_device, 4)
    assert_same_training(accumulated, on_one_device["AdamW"], random_params(model), 1e-3)


# --- Meshes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "shape"),
    [
        *((ADAMW, shape) for shape in ((8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (4, 1, 2))),
        *((MUON, shape) for shape in ((1, 8, 1), (2, 2, 2))),  # matrices in parts
    ],
    ids=lambda value: value.__class__.__name__ if hasattr(value, "make") else str(value),
)
def test_every_mesh_trains_as_one_device_does(
    run, on_one_device, model, random_params, shape: tuple[int, int, int], config: Any
):
    """Muon's Newton-Schulz in float32 magnifies the order of sums more than Adam does."""
    data, fsdp, tensor = shape
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    name = type(config).__name__
    relative = 1e-3 if name == "AdamW" else 5e-3
    sharded = run(config, mesh)
    assert_same_training(sharded, on_one_device[name], random_params(model), relative)
    # out_shardings hold: what comes out lies as the state's table says
    for leaf in jax.tree.leaves(sharded[0].params):
        assert len(leaf.sharding.device_set) == 8


@pytest.mark.slow
def test_micro_batches_add_up_over_a_mesh_too(run, on_one_device, model, random_params):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    accumulated = run(ADAMW, mesh, 2)
    assert_same_training(accumulated, on_one_device["AdamW"], random_params(model), 1e-3)


MIXTURE = MixtureConfig(
    num_experts=8, top_k=2, expert=FeedForwardConfig(hidden=8), shared=FeedForwardConfig(hidden=16),
    load_balance=0.3, router_z=0.1,
)  # fmt: skip
SIZES = {"d_model": 16, "num_heads": 8, "num_kv_heads": 8, "head_dim": 4, "vocab_size": VOCAB}
KINDS = {
    "encoder": {
        "kind": "encoder", "hidden": 24, "norm": LayerNormConfig(), "qkv_bias": True,
        "out_bias": True, "bias": True, "embed": EmbedConfig(num_positions=16, norm=True),
        "head_transform": HeadTransformConfig(), "head_bias": True,
    },
    "encoder_decoder": {
        "kind": "encoder_decoder", "hidden": 24, "qk_norm": "width", "tie_embeddings": False,
        "share_embeddings": False, "rope": None, "relative_bias": RelativeBiasConfig(),
    },
    "mixture": {"kind": "decoder", "feed_forward": MIXTURE, "num_future": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def gradient_on(tiny_config, random_params, packed_batch) -> Callable[[str, Mesh], tuple[Any, Any]]:
    """gradient_on(kind, mesh): (sums, gradient) of a batch, each made once."""

    @functools.cache
    def make(kind: str, mesh: Mesh) -> tuple[Any, Any]:
        model = Transformer(tiny_config(**SIZES, **KINDS[kind]))
        future = model.config.num_future
        batch = packed_batch(8, 12, VOCAB, kind=KINDS[kind]["kind"], num_future=future)
        where = jax.tree.map(
            lambda leaf: leaf.sharding, abstract_params(parameter_boxes(model), mesh)
        )
        gradient = jax.jit(
            jax.grad(partial(batch_loss, model, LOSS), has_aux=True),
            in_shardings=(where, batch_sharding(mesh)),
            out_shardings=(where, replicated(mesh)),
        )
        with use_mesh(mesh):
            params = jax.tree.map(np.asarray, random_params(model))
            grads, sums = gradient(params, batch)
        return jax.device_get((sums, grads))

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("encoder", (1, 8, 1)),
        ("encoder", (2, 2, 2)),
        ("encoder_decoder", (1, 1, 8)),
        ("encoder_decoder", (2, 2, 2)),
        ("mixture", (8, 1, 1)),
        ("mixture", (2, 2, 2)),
    ],
    ids=str,
)
def test_every_kind_has_the_gradient_of_one_device_on_a_mesh(
    gradient_on, one_device, kind: str, shape: tuple[int, int, int]
):
    data, fsdp, tensor = shape
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    sums, gradient = gradient_on(kind, mesh)
    expected_sums, expected = gradient_on(kind, one_device)
    np.testing.assert_allclose(sums, expected_sums, rtol=1e-5)
    assert (sums.extra > 0) == (kind == "mixture")
    for (path, want), got in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(gradient), strict=True
    ):
        largest = np.abs(want).max()
        assert largest > 1e-3, path_name(path)
        np.testing.assert_allclose(got, want, atol=2e-5 * largest, err_msg=path_name(path))


@pytest.mark.slow
def test_a_routers_loss_is_of_each_micro_batch_and_counts_for_its_targets(
    tiny_config, random_params, packed_batch, one_device
):
    """It is no sum over tokens, so that of the undivided batch is another, by a little."""
    model = Transformer(tiny_config(**SIZES, feed_forward=MIXTURE))
    params, batch = random_params(model), packed_batch(8, 12, VOCAB)
    optimizer = ADAMW.make(10, parameter_boxes(model))
    abstract = abstract_state(parameter_boxes(model), optimizer, one_device)
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
    gradient = jax.jit(jax.grad(partial(batch_loss, model, LOSS), has_aux=True))
    micro = [jax.tree.map(lambda a, i=i: a[i::2], batch) for i in range(2)]
    parts = [jax.device_get(gradient(params, part)) for part in micro]
    grads, sums = jax.tree.map(lambda a, b: a + b, *parts)
    sow = jax.jit(partial(model.apply, mutable=[LOSSES]))
    sown = [
        jax.tree.leaves(
            sow({"params": params}, part.decoder)[1], is_leaf=lambda x: isinstance(x, RouterSums)
        )
        for part in micro
    ]
    _, report = make_step(model, optimizer, LOSS, 2, abstract, one_device)(state, batch)
    np.testing.assert_allclose(report.sums, sums, rtol=1e-5)
    losses = [auxiliary_loss(of_layers) for (of_layers,) in sown]
    expected = [float(of_layers.sum()) for of_layers in losses]
    assert len(losses[0]) == 2 and expected[0] != expected[1], "one of each of 2 layers"
    counts = [part.targets.weights_BT.sum() for part in micro]
    np.testing.assert_allclose(report.sums.extra, np.dot(expected, counts), rtol=1e-5)
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in jax.tree.leaves(grads)))
    np.testing.assert_allclose(report.grad_norm, norm / sums.count, rtol=1e-4)


# --- Evaluation


@pytest.mark.slow
def test_evaluation_sums_the_loss_and_the_bytes_of_the_targets(
    model, batches, one_device, random_params
):
    """Two batches weighted by their targets, against the loss of a step and a sum in numpy."""
    bytes_per_token = np.random.default_rng(0).integers(0, 9, VOCAB)
    params, batch = random_params(model), batches[0]
    abstract = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), params
    )
    eval_step = make_eval_step(model, LOSS, bytes_per_token, abstract, one_device)
    sums = eval_step(params, batch)
    _, expected = jax.jit(partial(batch_loss, model, LOSS))(params, batch)
    np.testing.assert_allclose(sums.nll, expected.nll, rtol=1e-6)
    tokens, weights = batch.targets
    assert sums.count == weights.sum()
    assert sums.num_bytes == (bytes_per_token[tokens] * weights).sum()
