"""Which parameters an optimizer touches and how, against formulas in numpy and optax on plain
matrices."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, Muon, WarmupCosine, WarmupStableDecay, decayed
from nanojaxlm.state import parameter_boxes, path_name

pytestmark = pytest.mark.usefixtures("quick_compile")
CONSTANT = WarmupStableDecay(warmup_steps=0, decay_rate=0.0)


def by_name(tree: Any) -> dict[str, Any]:
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="module", params=[True, False], ids=["scanned", "unrolled"])
def model(request, tiny_config) -> Transformer:
    return Transformer(tiny_config(scan=request.param, qk_norm="head", tie_embeddings=False))


@pytest.fixture(scope="module")
def scanned(tiny_config) -> Transformer:
    return Transformer(tiny_config(qk_norm="head", tie_embeddings=False))


@functools.cache
def compiled(optimizer: AdamW | Muon, model: Transformer) -> tuple[Any, Any]:
    """(init, update) of the optimizer for the model."""
    transformation = optimizer.make(100, parameter_boxes(model))
    return transformation.init, jax.jit(transformation.update)


def updates_of(optimizer: Any, model: Transformer, params: Any, *gradients: Any) -> dict[str, Any]:
    """The last of the updates, by name, under the promotion that step.py gives optax."""
    init, update = compiled(optimizer, model)
    state = init(params)
    with jax.numpy_dtype_promotion("standard"):
        for gradient in gradients:
            updates, state = update(gradient, state, params)
    return by_name(updates)


# --- Weight decay

MATRICES = {
    "attention/q/kernel", "attention/k/kernel", "attention/v/kernel", "attention/out/kernel",
    "feed_forward/up/kernel", "feed_forward/gate/kernel", "feed_forward/down/kernel",
    "embed/embedding", "head/kernel",
}  # fmt: skip


def test_weight_decay_is_of_the_matrices_and_no_norm(model: Transformer):
    mask = by_name(decayed(parameter_boxes(model)))
    assert {name for name, on in mask.items() if on} == {
        name for name in mask if any(name.endswith(matrix) for matrix in MATRICES)
    }
    off = {name.rsplit("/", 2)[-2] for name, on in mask.items() if not on}
    assert off == {"attention_norm", "feed_forward_norm", "q_norm", "k_norm", "final_norm"}


def test_adamw_decays_what_has_no_gradient_by_lr_times_weight_decay(scanned, random_params):
    """With a zero gradient only the decay is left: -lr * weight_decay * w, or nothing."""
    params = random_params(scanned)
    optimizer = AdamW(learning_rate=0.01, schedule=CONSTANT, weight_decay=0.5)
    updates = updates_of(optimizer, scanned, params, jax.tree.map(jnp.zeros_like, params))
    for name, param in by_name(params).items():
        decays = any(name.endswith(matrix) for matrix in MATRICES)
        expected = -0.01 * 0.5 * param if decays else np.zeros(param.shape)
        np.testing.assert_allclose(updates[name], expected, rtol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def with_everything(everything_config) -> Transformer:
    return Transformer(everything_config)


def test_kernels_and_embeddings_decay_and_no_bias_of_any_sort(with_everything):
    mask = by_name(decayed(parameter_boxes(with_everything)))
    on = {name.rsplit("/", 1)[-1] for name, on in mask.items() if on}
    off = {name.rsplit("/", 1)[-1] for name, on in mask.items() if not on}
    assert on == {"kernel", "embedding", "positions", "types"}
    assert off == {"bias", "scale", "table", "choice_bias", "rate"}


# --- AdamW


def numpy_adamw(
    w, gradients, lr, b1, b2, epsilon, weight_decay, nesterov: bool = False
) -> np.ndarray:
    """The update of the last step (Loshchilov & Hutter 2019, algorithm 2), at a fixed w; with
    Nesterov's look-ahead, m_hat is of the next step (Dozat 2016)."""
    m = v = np.zeros(w.shape)
    update = m
    for t, g in enumerate(gradients, start=1):
        g = np.asarray(g, np.float64)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        update = -lr * (m_hat / (np.sqrt(v_hat) + epsilon) + weight_decay * w)
    return update


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_adamw_matches_numpy(scanned, random_params, clip_norm):
    first = random_params(scanned, seed=1)
    params, second = random_params(scanned), random_params(scanned, seed=2)
    optimizer = AdamW(
        learning_rate=0.01, schedule=CONSTANT, b1=0.8, b2=0.9, epsilon=0.1, weight_decay=0.3,
        clip_norm=clip_norm,
    )  # fmt: skip
    updates = updates_of(optimizer, scanned, params, first, second)

    def clipped(tree: Any) -> dict[str, np.ndarray]:
        flat = {name: np.asarray(g, np.float64) for name, g in by_name(tree).items()}
        norm = math.sqrt(sum(float((g**2).sum()) for g in flat.values()))
        factor = 1.0 if clip_norm is None else min(1.0, clip_norm / norm)
        return {name: g * factor for name, g in flat.items()}

    steps = [clipped(first), clipped(second)]
    for name, param in by_name(params).items():
        decay = 0.3 if any(name.endswith(matrix) for matrix in MATRICES) else 0.0
        gs = [step[name] for step in steps]
        expected = numpy_adamw(np.asarray(param), gs, 0.01, 0.8, 0.9, 0.1, decay)
        np.testing.assert_allclose(updates[name], expected, rtol=2e-4, atol=1e-7, err_msg=name)


def test_a_gradient_below_clip_norm_is_left_alone(scanned, random_params):
    first = random_params(scanned, seed=1)
    params = random_params(scanned)
    norm = math.sqrt(sum(float((np.asarray(g) ** 2).sum()) for g in jax.tree.leaves(first)))
    plain, loose = (
        updates_of(
            AdamW(learning_rate=0.01, schedule=CONSTANT, epsilon=0.1, clip_norm=clip_norm),
            scanned, params, first,
        )
        for clip_norm in (None, norm * 1.1)
    )  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, loose, plain)


# --- Muon

MUON = Muon(learning_rate=0.02, adam_learning_rate=0.003, schedule=CONSTANT, b1=0.8, b2=0.9)
AS_MATRIX = {  # kernel -> how many of its axes are inputs of the matrix it is
    "attention/q/kernel": 1, "attention/k/kernel": 1, "attention/v/kernel": 1,
    "attention/out/kernel": 2, "feed_forward/up/kernel": 1, "feed_forward/gate/kernel": 1,
    "feed_forward/down/kernel": 1,
}  # fmt: skip


@pytest.mark.slow
def test_muon_of_each_layer_is_optax_muon_of_the_plain_matrix(model, random_params):
    """q, [D, N, H], is the matrix [D, N*H] of its layer; out, [N, H, D], is [N*H, D]."""
    params, first, second = (random_params(model, seed) for seed in range(3))
    updates = updates_of(MUON, model, params, first, second)
    plain = optax.contrib.muon(0.02, beta=MUON.momentum)
    plain_update = jax.jit(plain.update)
    steps = [by_name(first), by_name(second)]
    seen = 0
    for name, update in updates.items():
        inputs = next((n for suffix, n in AS_MATRIX.items() if name.endswith(suffix)), None)
        if inputs is None:
            continue
        stacked = "/layers/" in name
        for layer in range(2 if stacked else 1):

            def matrix(array: Any, layer=layer, stacked=stacked, inputs=inputs) -> jax.Array:
                array = np.asarray(array)[layer] if stacked else np.asarray(array)
                return jnp.asarray(array.reshape(math.prod(array.shape[:inputs]), -1))

            w = {"w": matrix(by_name(params)[name])}
            state = plain.init(w)
            with jax.numpy_dtype_promotion("standard"):
                for step in steps:
                    expected, state = plain_update({"w": matrix(step[name])}, state, w)
            np.testing.assert_allclose(
                matrix(update), expected["w"], atol=1e-5, err_msg=f"{name}, layer {layer}"
            )
            seen += 1
    assert seen == 2 * len(AS_MATRIX)


def test_muon_takes_each_expert_as_a_matrix_and_no_bias_nor_table(with_everything):
    """Its momentum is of what it takes; of the rest, Adam has the second moments."""
    boxes = parameter_boxes(with_everything)
    transformation = MUON.make(100, boxes)
    with jax.numpy_dtype_promotion("standard"):
        state = jax.eval_shape(transformation.init, nn.meta.unbox(boxes))
    adam = {name for name in by_name(state) if "/nu/" in name}
    for name in by_name(nn.meta.unbox(boxes)):
        is_matrix = name.endswith("kernel") and name != "head/kernel"
        assert any(moment.endswith(f"/nu/{name}") for moment in adam) != is_matrix, name


@pytest.mark.slow
def test_muon_of_each_expert_is_optax_muon_of_the_plain_matrix(tiny_config, random_params):
    mixture = MixtureConfig(num_experts=3, top_k=2, expert=FeedForwardConfig(hidden=10))
    model = Transformer(tiny_config(feed_forward=mixture))
    params, gradient = (random_params(model, seed) for seed in range(2))
    updates = updates_of(MUON, model, params, gradient)
    plain = optax.contrib.muon(0.02, beta=MUON.momentum)
    plain_update = jax.jit(plain.update)
    for name in ("up", "gate", "down"):
        path = f"decoder/layers/layer_0/feed_forward/experts/{name}/kernel"
        assert updates[path].shape[:2] == (2, 3)
        for layer, expert in np.ndindex(2, 3):
            w = {"w": by_name(params)[path][layer, expert]}
            g = {"w": by_name(gradient)[path][layer, expert]}
            with jax.numpy_dtype_promotion("standard"):
                expected, _ = plain_update(g, plain.init(w), w)
            np.testing.assert_allclose(updates[path][layer, expert], expected["w"], atol=1e-5)


@pytest.mark.slow
def test_muon_makes_a_matrix_nearly_orthogonal(scanned, random_params):
    """An own oracle: five Newton-Schulz steps bring all singular values near 1, times lr and
    sqrt(max(1, rows / columns)) (Jordan et al. 2024)."""
    first = random_params(scanned, seed=1)
    updates = updates_of(MUON, scanned, random_params(scanned), first)
    name = next(name for name in updates if name.endswith("feed_forward/up/kernel"))
    up = np.asarray(updates[name]).reshape(-1, 16, 20)[0]
    values = np.linalg.svd(up / 0.02, compute_uv=False)
    assert 0.6 < values.min() / math.sqrt(max(1, 20 / 16)) < values.max() < 1.35


@pytest.mark.slow
def test_embeddings_head_and_norms_go_to_adam(model, random_params):
    """As optax.contrib.muon has it: with Nesterov's momentum, without decay."""
    params, first, second = (random_params(model, seed) for seed in range(3))
    updates = updates_of(MUON, model, params, first, second)
    others = [name for name in updates if not any(name.endswith(m) for m in AS_MATRIX)]
    assert {"embed/embedding", "head/kernel", "decoder/final_norm/scale"} < set(others)
    for name in others:
        gs = [np.asarray(by_name(step)[name]) for step in (first, second)]
        expected = numpy_adamw(np.zeros(gs[0].shape), gs, 0.003, 0.8, 0.9, 1e-8, 0.0, nesterov=True)
        np.testing.assert_allclose(updates[name], expected, rtol=2e-4, atol=1e-8, err_msg=name)


@pytest.mark.slow
def test_muon_decays_the_matrices_only(scanned, random_params):
    first = random_params(scanned, seed=1)
    params = random_params(scanned)
    decaying = Muon(
        learning_rate=0.02, adam_learning_rate=0.003, schedule=CONSTANT, b1=0.8, b2=0.9,
        weight_decay=0.5,
    )  # fmt: skip
    without, with_decay = (updates_of(o, scanned, params, first) for o in (MUON, decaying))
    for name, param in by_name(params).items():
        decays = any(name.endswith(matrix) for matrix in AS_MATRIX)
        expected = -0.02 * 0.5 * np.asarray(param) if decays else np.zeros(param.shape)
        np.testing.assert_allclose(
            with_decay[name] - without[name], expected, atol=1e-7, err_msg=name
        )


# --- Schedules


def rates(schedule: Any, num_steps: int, peak: float = 2.0) -> np.ndarray:
    """Of steps 0 … num_steps, the last being where the schedule ends."""
    make = schedule.make(peak, num_steps)
    return np.array([float(make(step)) for step in range(num_steps + 1)])


def test_warmup_rises_in_equal_parts_from_above_zero_to_the_peak():
    got = rates(WarmupCosine(warmup_steps=4), 20)
    np.testing.assert_allclose(got[:5], [2 * k / 5 for k in range(1, 6)], rtol=1e-6)


def test_cosine_falls_by_its_formula_to_the_final_rate():
    got = rates(WarmupCosine(warmup_steps=4, final_rate=0.1), 24)
    progress = np.arange(21) / 20
    expected = 2.0 * (0.1 + 0.9 * (1 + np.cos(np.pi * progress)) / 2)
    np.testing.assert_allclose(got[4:], expected, rtol=1e-5)
    assert got[-1] == pytest.approx(0.2)


def test_stable_decay_has_a_plateau_and_then_a_line_to_the_final_rate():
    schedule = WarmupStableDecay(warmup_steps=5, decay_rate=0.2, final_rate=0.25)
    got = rates(schedule, 50)
    np.testing.assert_allclose(got[5:41], 2.0)
    np.testing.assert_allclose(got[40:], np.linspace(2.0, 0.5, 11), rtol=1e-6)
    assert rates(WarmupStableDecay(warmup_steps=5), 50)[-1] == 0


def test_the_plateau_yields_where_warmup_and_decay_fill_the_run():
    got = rates(WarmupStableDecay(warmup_steps=10, decay_rate=0.8), 20)
    assert got.argmax() == 10
    np.testing.assert_allclose(got[10:], np.linspace(2.0, 0.0, 11), atol=1e-6)


def test_no_decay_keeps_the_peak_through_the_last_step():
    np.testing.assert_allclose(rates(WarmupStableDecay(warmup_steps=0, decay_rate=0), 9), 2.0)


@pytest.mark.parametrize("schedule", [WarmupCosine, WarmupStableDecay])
def test_a_warmup_longer_than_the_run_only_rises(schedule):
    got = rates(schedule(warmup_steps=100), 10)
    assert (np.diff(got[:10]) > 0).all()
    assert got[0] > 0 and got.max() <= 2.0


# --- What is refused


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: WarmupCosine(warmup_steps=-1), "warmup_steps"),
        (lambda: WarmupCosine(warmup_steps=1, final_rate=1.5), "final_rate"),
        (lambda: WarmupStableDecay(warmup_steps=1, decay_rate=1.5), "decay_rate"),
        (lambda: AdamW(learning_rate=0.0, schedule=CONSTANT), "learning_rate"),
        (lambda: AdamW(learning_rate=1.0, schedule=CONSTANT, b2=1.0), "b1, b2"),
        (lambda: AdamW(learning_rate=1.0, schedule=CONSTANT, weight_decay=-1.0), "weight_decay"),
        (lambda: AdamW(learning_rate=1.0, schedule=CONSTANT, clip_norm=0.0), "clip_norm"),
        (lambda: Muon(learning_rate=1.0, adam_learning_rate=0.0, schedule=CONSTANT), "adam_learn"),
    ],
)
def test_impossible_configs_are_refused_by_name(make, name: str):
    with pytest.raises(ValueError, match=name):
        make()
