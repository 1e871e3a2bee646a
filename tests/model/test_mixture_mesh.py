"""The mixture on 8 devices against itself on one: values, gradients, losses, and what moves."""

import importlib.util
import math
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding

from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.model.mixture import COUNTS, LOSSES, Mixture
from nanojaxlm.model.router import auxiliary_loss
from nanojaxlm.planning.hlo import analyse
from nanojaxlm.planning.topology import devices_of
from nanojaxlm.sharding import MeshConfig, Named, constrain, make_mesh, sharding, use_mesh

pytestmark = pytest.mark.usefixtures("quick_compile")
B, T, D, E, K = 8, 8, 16, 8, 3
SHARED = FeedForwardConfig(hidden=4)
SOFTMAX = MixtureConfig(num_experts=E, top_k=K, expert=FeedForwardConfig(hidden=12))
SIGMOID = MixtureConfig(
    num_experts=E, top_k=2, expert=FeedForwardConfig(hidden=12, gated=False, activation="gelu"),
    scores="sigmoid", choice_bias=True, num_groups=4, top_groups=2, shared=SHARED, shared_gate=True,
)  # fmt: skip
MESHES = {
    "expert": MeshConfig(data=1, expert=8),
    "expert, data": MeshConfig(data=4, expert=2),
    "expert, fsdp, tensor": MeshConfig(data=1, fsdp=2, expert=2, tensor=2),
    "expert, context, tensor, sequence": MeshConfig(
        data=1, expert=2, context=2, tensor=2, sequence=True
    ),
    "expert, replica": MeshConfig(replica=2, data=1, expert=4),
    "fsdp, context, tensor": MeshConfig(data=1, fsdp=2, context=2, tensor=2),
}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


VALID = np.arange(T)[None] < np.array([8, 8, 3, 8, 0, 8, 7, 8])[:, None]


def module_of(config: MixtureConfig) -> Mixture:
    return Mixture(config, D, 1.0, jnp.dtype("float32"))


def boxes_of(module: Mixture) -> Any:
    x = jax.ShapeDtypeStruct((B, T, module.d_model), module.dtype)
    return jax.eval_shape(module.init, jax.random.key(0), x, VALID)["params"]


def random_params(module: Mixture) -> Any:
    leaves, tree = jax.tree.flatten(nn.meta.unbox(boxes_of(module)))
    return tree.unflatten([jnp.asarray(draw(*a.shape, seed=i)) for i, a in enumerate(leaves)])


def places_of(module: Mixture, mesh: Mesh, *leading: str) -> Any:
    def place(box: Named) -> NamedSharding:
        return sharding(mesh, (*leading, *box.names))

    return jax.tree.map(place, boxes_of(module), is_leaf=lambda b: type(b) is Named)


def objective(module: Mixture, params: Any, x_BTD: jax.Array, valid_BT: jax.Array) -> Any:
    x_BTD = constrain(x_BTD, "batch", "residual_length", "act_embed")
    out, sown = module.apply({"params": params}, x_BTD, valid_BT, mutable=[LOSSES, COUNTS])
    (sums,) = sown[LOSSES]["router_sums"]
    loss = auxiliary_loss(sums)
    weights_BTD = jnp.asarray(draw(B, T, D, seed=99))
    return jnp.sum(out * weights_BTD) + 50.0 * loss, (out, loss, sown.get(COUNTS, {}))


@cache
def compiled(config: MixtureConfig, mesh_config: MeshConfig | None) -> tuple[Any, Any, Any]:
    """(program, its arguments, mesh): the objective and its gradients by parameters and input."""
    module = module_of(config)
    step = jax.value_and_grad(partial(objective, module), (0, 1), has_aux=True)
    arrays = (random_params(module), jnp.asarray(draw(B, T, D, seed=7)), VALID)
    if mesh_config is None:
        return jax.jit(step).lower(*arrays).compile(), arrays, None
    mesh = make_mesh(mesh_config)
    places, tokens = places_of(module, mesh), sharding(mesh, ("batch", "length"))
    arrays = jax.device_put(arrays, (places, tokens, tokens))
    with use_mesh(mesh, mesh_config):
        jitted = jax.jit(step, out_shardings=(None, (places, tokens)))
        return jitted.lower(*arrays).compile(), arrays, mesh


def outcome(config: MixtureConfig, mesh_config: MeshConfig | None) -> Any:
    program, arrays, _ = compiled(config, mesh_config)
    return program(*arrays)


def check_equal(actual: Any, expected: Any) -> None:
    for (path, want), got in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(actual), strict=True
    ):
        largest = np.abs(np.asarray(want)).max()
        np.testing.assert_allclose(got, want, atol=2e-6 * largest + 1e-6, err_msg=str(path))


@pytest.mark.slow
@pytest.mark.parametrize("config", [SOFTMAX, SIGMOID], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("name", MESHES)
def test_a_mesh_gives_what_one_device_gives(name: str, config: MixtureConfig):
    check_equal(outcome(config, MESHES[name]), outcome(config, None))


@pytest.mark.slow
@pytest.mark.parametrize("name", MESHES)
def test_tokens_go_to_experts_and_nothing_else_goes_over_the_expert_axis(name: str):
    program, _, mesh = compiled(SOFTMAX, MESHES[name])
    moved = analyse(program.as_text() or "", mesh).collectives
    to_experts = [c for c in moved if c.kind == "all-to-all"]
    assert {c.axes for c in to_experts} <= {("expert",)}
    # there and back with the experts' numbers, and the gradient there and back
    assert len(to_experts) == (5 if MESHES[name].expert > 1 else 0)
    gathered = [c for c in moved if c.kind == "all-gather" and "expert" in c.axes]
    assert all(math.prod(c.shape) <= D * E for c in gathered), "the router's kernel, no larger"
    # gradients of kernels are scattered over what shards them, and their whole is never summed
    kernel = D * SOFTMAX.expert.hidden * E // MESHES[name].expert // MESHES[name].tensor
    summed = [c for c in moved if c.kind == "all-reduce" and "fsdp" in c.axes]
    assert all(math.prod(c.shape) < kernel for c in summed)


@pytest.mark.slow
def test_in_a_pipeline_each_stage_has_a_mixture_of_its_own():
    """Under vmap with a spmd axis, as the pipeline runs its stages."""
    mesh_config = MeshConfig(stage=2, data=1, expert=2, tensor=2)
    module, mesh = module_of(SOFTMAX), make_mesh(mesh_config)
    params = random_params(module)
    both = jax.tree.map(lambda a: jnp.stack([a, -0.5 * a]), params)
    x_SBTD, valid_SBT = jnp.asarray(draw(2, B, T, D, seed=3)), np.stack([VALID, VALID[::-1]])

    def total(params: Any, x_SBTD: jax.Array, valid_SBT: jax.Array, **how: Any) -> Any:
        run = jax.vmap(partial(objective, module), **how)
        values_S, aux = run(params, x_SBTD, valid_SBT)
        return jnp.sum(values_S), aux

    step = jax.value_and_grad(total, (0, 1), has_aux=True)
    one = jax.jit(step)
    alone = [
        one(*jax.tree.map(lambda a, s=s: a[s : s + 1], (both, x_SBTD, valid_SBT))) for s in (0, 1)
    ]
    tokens = sharding(mesh, ("act_stage", "batch", "length"))
    places = (places_of(module, mesh, "layers"), tokens, tokens)
    with use_mesh(mesh, mesh_config):
        arrays = jax.device_put((both, x_SBTD, valid_SBT), places)
        staged = jax.value_and_grad(partial(total, spmd_axis_name="stage"), (0, 1), has_aux=True)
        (_, aux), gradients = jax.jit(staged)(*arrays)
    expected = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *[(o[0][1], o[1]) for o in alone])
    check_equal((aux, gradients), expected)


# --- Capacity


def loop_over_buffers(config: MixtureConfig, owners: int, rows_a_device: int) -> Any:
    """(out_BTD, [dropped, all]) token by token, where each device's buffers fill up in order."""
    params, x_MD = random_params(module_of(config)), draw(B, T, D, seed=7).reshape(-1, D)
    w = jax.tree.map(lambda a: np.asarray(a, np.float64), params["experts"])
    scores = np.exp(x_MD.astype(np.float64) @ np.asarray(params["router"]["kernel"], np.float64))
    out, counts = np.zeros((B * T, D)), np.zeros(2)
    room: dict[tuple[int, int], int] = {}
    for m in np.flatnonzero(VALID.reshape(-1)):
        chosen = np.argsort(-scores[m])[:K]
        for e in chosen:
            buffer = (int(m) // (B * T // owners), int(e) // (E // owners))
            room[buffer] = room.get(buffer, rows_a_device) - 1
            counts += (room[buffer] < 0, 1)
            if room[buffer] >= 0:
                up, gate, down = (w[name]["kernel"][e] for name in ("up", "gate", "down"))
                h = x_MD[m] @ gate
                weight = scores[m, e] / scores[m, chosen].sum()
                out[m] += weight * ((h / (1 + np.exp(-h)) * (x_MD[m] @ up)) @ down)
    return out.reshape(B, T, D), counts


@pytest.mark.slow
def test_a_full_buffer_drops_what_comes_last_and_counts_it():
    config, mesh = replace(SOFTMAX, capacity=1.0), MeshConfig(data=1, expert=4, tensor=2)
    expected, counts = loop_over_buffers(config, 4, math.ceil(1.0 * (B * T // 4) * K / 4))
    (_, (out, loss, sown)), _ = outcome(config, mesh)
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(jax.tree.leaves(sown)[0], counts)
    assert 0 < counts[0] < counts[1] == K * VALID.sum()
    assert loss == pytest.approx(float(outcome(SOFTMAX, None)[0][1][1]), rel=1e-5)


@pytest.mark.slow
def test_room_enough_drops_nothing():
    config, mesh = replace(SOFTMAX, capacity=100.0), MeshConfig(data=1, expert=4, tensor=2)
    (_, (out, _, sown)), gradients = outcome(config, mesh)
    (_, (expected, _, nothing)), wanted = outcome(SOFTMAX, None)
    check_equal((out, gradients), (expected, wanted))
    np.testing.assert_array_equal(jax.tree.leaves(sown)[0], [0, K * VALID.sum()])
    assert not jax.tree.leaves(nothing), "nothing is counted where nothing can be dropped"


# --- Elsewhere


@pytest.mark.slow
def test_a_prompt_of_one_row_runs_on_a_mesh_too():
    module, mesh_config = module_of(SOFTMAX), MeshConfig(data=1, fsdp=2, expert=2, tensor=2)
    params, x_BTD = random_params(module), jnp.asarray(draw(1, 5, D))
    expected = jax.jit(module.apply)({"params": params}, x_BTD, VALID[:1, :5])
    mesh = make_mesh(mesh_config)
    with use_mesh(mesh, mesh_config):
        arrays = jax.device_put(params, places_of(module, mesh))
        actual = jax.jit(module.apply)({"params": arrays}, x_BTD, VALID[:1, :5])
    check_equal(actual, expected)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="no libtpu: the extra tpu")
def test_on_tpu_the_experts_are_a_kernel_that_skips_empty_buffers():
    config = replace(SOFTMAX, expert=FeedForwardConfig(hidden=256))
    module = Mixture(config, 128, 1.0, jnp.dtype("bfloat16"))
    mesh_config = MeshConfig(data=1, fsdp=2, expert=4)
    mesh = make_mesh(mesh_config, devices_of("v5e:2x4"))
    places, tokens = places_of(module, mesh), sharding(mesh, ("batch", "length"))

    def total(params: Any, x_BTD: jax.Array, valid_BT: jax.Array) -> jax.Array:
        out_BTD: Any = module.apply({"params": params}, x_BTD, valid_BT)
        return jnp.sum(out_BTD.astype(jnp.float32))

    def abstract(box: Any, place: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(box.shape, jnp.float32, sharding=place)

    params = jax.tree.map(abstract, nn.meta.unbox(boxes_of(module)), places)
    x_BTD = jax.ShapeDtypeStruct((8, 64, 128), jnp.bfloat16, sharding=tokens)
    valid_BT = jax.ShapeDtypeStruct((8, 64), jnp.bool_, sharding=tokens)
    with use_mesh(mesh, mesh_config):
        program = jax.jit(jax.grad(total, (0, 1))).lower(params, x_BTD, valid_BT).compile()
    text = program.as_text() or ""
    found = analyse(text, mesh)
    kernels = [op.name for op in found.ops if "gmm" in op.name and op.flops]
    # up, gate and down, and their gradients by the rows; those by the kernels
    assert len([name for name in kernels if "tgmm" not in name]) == 6
    assert len([name for name in kernels if "tgmm" in name]) == 3
    assert "ragged-dot" not in text
