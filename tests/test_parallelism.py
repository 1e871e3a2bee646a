"""One device or eight, however they share the work: the same losses, gradients and updates."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from nanojaxlm.batch import Batch
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig, RelativeBiasConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import (
    MESH_AXES,
    MeshConfig,
    batch_sharding,
    make_mesh,
    replicated,
    use_mesh,
)
from nanojaxlm.state import abstract_params, parameter_boxes, path_name
from nanojaxlm.step import batch_loss

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]
VOCAB, ROWS, LENGTH = 64, 16, 24
LOSS = LossConfig(z_loss=0.01, chunk_length=8)
SIZES = {
    "d_model": 32, "num_heads": 8, "num_kv_heads": 8, "head_dim": 4, "hidden": 48,
    "vocab_size": VOCAB, "num_layers": 8,
}  # fmt: skip
MIXTURE = MixtureConfig(
    num_experts=8, top_k=2, expert=FeedForwardConfig(hidden=16),
    shared=FeedForwardConfig(hidden=16), load_balance=0.3, router_z=0.1,
)  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "decoder": {"qk_norm": "head", "qkv_bias": True},
    "encoder": {"kind": "encoder", "num_layers": 4},
    "encoder_decoder": {
        "kind": "encoder_decoder", "rope": None, "relative_bias": RelativeBiasConfig(),
        "tie_embeddings": False, "num_layers": 4,
    },
    "mixture": {"feed_forward": MIXTURE, "num_future": 1},
}  # fmt: skip


def mesh_config(**sizes: Any) -> MeshConfig:
    """Axes not named are of size 1."""
    return MeshConfig(**{"data": 1} | sizes)


ALONE = [mesh_config(**{axis: 8}) for axis in MESH_AXES if axis != "expert"]
PAIRS = [
    mesh_config(data=2, fsdp=4),
    mesh_config(replica=2, fsdp=4),
    mesh_config(fsdp=4, tensor=2),
    mesh_config(fsdp=2, context=4),
    mesh_config(stage=4, data=2),
    mesh_config(stage=2, fsdp=4, microbatches=4),
    mesh_config(context=2, tensor=4),
    mesh_config(stage=2, context=4),
    mesh_config(stage=4, tensor=2, microbatches=2),
]
SEQUENCE = [
    mesh_config(tensor=8, sequence=True),
    mesh_config(fsdp=2, tensor=4, sequence=True),
    mesh_config(context=2, tensor=2, data=2, sequence=True),
    mesh_config(stage=2, tensor=2, fsdp=2, sequence=True),
]
TRIPLES = [
    mesh_config(data=2, fsdp=2, tensor=2),
    mesh_config(stage=2, fsdp=2, tensor=2),
    mesh_config(stage=2, fsdp=2, context=2),
    mesh_config(fsdp=2, context=2, tensor=2),
    mesh_config(replica=2, stage=2, tensor=2),
    mesh_config(replica=2, data=2, fsdp=2),
]
EXPERTS = [
    mesh_config(expert=8),
    mesh_config(expert=2, fsdp=4),
    mesh_config(expert=4, tensor=2),
    mesh_config(expert=2, context=2, tensor=2),
    mesh_config(expert=2, stage=2, fsdp=2),
    mesh_config(expert=2, tensor=2, fsdp=2, sequence=True),
    mesh_config(stage=2, expert=2, tensor=2),
    mesh_config(data=8),
    mesh_config(fsdp=2, tensor=2, data=2),
]
CASES = [
    *(("decoder", mesh) for mesh in (*ALONE, *PAIRS, *SEQUENCE, *TRIPLES)),
    *(("mixture", mesh) for mesh in EXPERTS),
    *(
        (kind, mesh)
        for kind in ("encoder", "encoder_decoder")
        for mesh in (
            mesh_config(fsdp=2, tensor=2, sequence=True, data=2),
            mesh_config(context=4, fsdp=2),
            mesh_config(stage=2, fsdp=2, tensor=2),
            mesh_config(stage=4, context=2),
        )
    ),
]


def name(case: tuple[str, MeshConfig]) -> str:
    kind, mesh = case
    sizes = zip(MESH_AXES, mesh.sizes, strict=True)
    parts = [kind, *(f"{axis}{size}" for axis, size in sizes if size > 1)]
    parts += ["sequence"] * mesh.sequence
    parts += [f"microbatches{mesh.microbatches}"] * (mesh.microbatches is not None)
    return "-".join(parts)


@pytest.fixture(scope="module")
def gradient(tiny_config, random_params, packed_batch) -> Callable[..., tuple[Any, Any]]:
    """gradient(kind, mesh, config): (sums, gradient) of a batch whose rows differ in length."""

    def compute(kind: str, mesh: Mesh, config: MeshConfig | None) -> tuple[Any, Any]:
        fields = {name: value for name, value in SIZES.items() if name not in KINDS[kind]}
        if "feed_forward" in KINDS[kind]:
            del fields["hidden"]
        model = Transformer(tiny_config(**fields, **KINDS[kind]))
        batch: Batch = packed_batch(
            ROWS, LENGTH, VOCAB, kind=KINDS[kind].get("kind", "decoder"),
            num_future=model.config.num_future,
        )  # fmt: skip
        params = jax.tree.map(np.asarray, random_params(model))
        with use_mesh(mesh, config):
            where = jax.tree.map(
                lambda leaf: leaf.sharding, abstract_params(parameter_boxes(model), mesh)
            )
            function = jax.jit(
                jax.grad(partial(batch_loss, model, LOSS), has_aux=True),
                in_shardings=(where, batch_sharding(mesh)),
                out_shardings=(where, replicated(mesh)),
            )
            grads, sums = function(params, batch)
        return jax.device_get((sums, grads))

    return compute


@pytest.fixture(scope="module")
def on_one_device(gradient, one_device) -> Callable[[str], tuple[Any, Any]]:
    return functools.cache(lambda kind: gradient(kind, one_device, None))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_loss_and_gradient_are_those_of_one_device(gradient, on_one_device, case):
    """Float32: losses to 1e-5, each gradient within 3e-5 of its largest element."""
    kind, config = case
    sums, grads = gradient(kind, make_mesh(config), config)
    expected_sums, expected = on_one_device(kind)
    np.testing.assert_allclose(sums, expected_sums, rtol=1e-5)
    for (path, want), got in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(grads), strict=True
    ):
        largest = np.abs(want).max()
        assert largest > 1e-3, path_name(path)
        np.testing.assert_allclose(got, want, atol=3e-5 * largest, err_msg=path_name(path))
