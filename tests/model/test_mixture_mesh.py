"""The mixture on 8 devices against itself on one: values, gradients, losses, and what moves."""

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.model.mixture import COUNTS, LOSSES, Mixture
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


def boxes_of(module: Mixture) -> Any:
    x = jnp.zeros((B, T, D), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), x, VALID)["params"]


def random_params(module: Mixture) -> Any:
    leaves, tree = jax.tree.flatten(nn.meta.unbox(boxes_of(module)))
    return tree.unflatten([jnp.asarray(draw(*a.shape, seed=i)) for i, a in enumerate(leaves)])


def objective(module: Mixture, params: Any, x_BTD: jax.Array, valid_BT: jax.Array) -> Any:
    x_BTD = constrain(x_BTD, "batch", "residual_length", "act_embed")
    out, sown = module.apply({"params": params}, x_BTD, valid_BT, mutable=[LOSSES, COUNTS])
    (loss,) = jax.tree.leaves(sown[LOSSES])
    weights_BTD = jnp.asarray(draw(B, T, D, seed=99))
    return jnp.sum(out * weights_BTD) + 50.0 * loss, (out, loss, sown.get(COUNTS))


def compiled(module: Mixture, mesh_config: MeshConfig | None) -> Any:
    """(function, its program) of (params, x_BTD, valid_BT): the objective and its gradients."""
    step = jax.value_and_grad(partial(objective, module), (0, 1), has_aux=True)
    params, x_BTD = random_params(module), jnp.asarray(draw(B, T, D, seed=7))
    if mesh_config is None:
        return jax.jit(step).lower(params, x_BTD, VALID).compile(), (params, x_BTD, VALID)
    mesh = make_mesh(mesh_config)
    places = jax.tree.map(
        lambda box: sharding(mesh, box.names), boxes_of(module), is_leaf=lambda b: type(b) is Named
    )
    tokens = sharding(mesh, ("batch", "length"))
    arrays = jax.device_put((params, x_BTD, VALID), (places, tokens, tokens))
    with use_mesh(mesh, mesh_config):
        jitted = jax.jit(step, out_shardings=(None, (places, tokens)))
        return jitted.lower(*arrays).compile(), arrays


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
    module = Mixture(config, D, 1.0, jnp.dtype("float32"))
    one, arrays = compiled(module, None)
    many, split_arrays = compiled(module, MESHES[name])
    check_equal(many(*split_arrays), one(*arrays))
