"""What is kept for the backward pass changes memory and work, and no number."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.model.remat import ATTENTION_OUT, PRODUCTS, REMAT_POLICIES, RESIDUAL
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.planning.topology import devices_of
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh, use_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.step import batch_loss

VOCAB = 50
MIXTURE = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=6))


def test_an_unknown_policy_is_refused_with_those_there_are(tiny_config):
    with pytest.raises(ValueError, match=r"remat must be one of none, dots, .*, got 'most'"):
        tiny_config(remat="most")


@pytest.mark.parametrize("name", REMAT_POLICIES)
def test_each_policy_says_what_it_keeps(name: str):
    assert REMAT_POLICIES[name].keeps
    assert (REMAT_POLICIES[name].policy is None) == (name == "none")


def test_a_block_has_every_name_that_policies_know(tiny_config, packed_batch, random_params):
    model = Transformer(tiny_config())
    params = jax.eval_shape(lambda: random_params(model))
    objective = partial(batch_loss, model, LossConfig(chunk_length=8))
    program = str(jax.make_jaxpr(objective)(params, packed_batch(2, 8, VOCAB)))
    for name in (*PRODUCTS, ATTENTION_OUT, RESIDUAL):
        assert f"name={name}]" in program.replace("\n", ""), name


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("remat", [name for name in REMAT_POLICIES if name != "none"])
def test_no_policy_changes_the_loss_or_the_gradient(
    tiny_config, build, loss_and_gradient, assert_trees_close, packed_batch, unrematted, remat: str
):
    """With a mixture, whose loss comes out of the layers beside what they pass on."""
    batch, params, (wanted, wanted_sums), wanted_gradient = unrematted
    assert wanted_sums.extra > 0
    model = Transformer(tiny_config(feed_forward=MIXTURE, remat=remat))
    (loss, sums), gradient = loss_and_gradient(model, params, batch)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    np.testing.assert_allclose(sums, wanted_sums, rtol=1e-5)
    assert_trees_close(gradient, wanted_gradient, relative=1e-5)


@pytest.fixture(scope="module")
def unrematted(tiny_config, build, loss_and_gradient, packed_batch) -> tuple[Any, ...]:
    batch = packed_batch(3, 8, VOCAB)
    kept = build(tiny_config(feed_forward=MIXTURE))
    return batch, kept.params, *loss_and_gradient(kept.model, kept.params, batch)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_what_keeps_less_takes_less_memory(tiny_config, packed_batch, random_params):
    """Bytes of temporaries of a deep, narrow model, whose layers leave most of it."""

    def temporaries(remat: str) -> int:
        model = Transformer(tiny_config(num_layers=12, hidden=64, remat=remat))
        params = jax.eval_shape(lambda: random_params(model))
        objective = partial(batch_loss, model, LossConfig(chunk_length=8))
        gradient = jax.jit(jax.grad(objective, has_aux=True))
        compiled: Any = gradient.lower(params, packed_batch(16, 32, VOCAB)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    sizes = [temporaries(remat) for remat in ("none", "dots", "qkv", "attention", "full")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize(
    ("remat", "again"),
    [
        ("full", 2 * (6 + 2)),  # 2 layers' q, k, v, out, up, gate, and attention's two; not down
        ("stage", 2 * (6 + 2)),
        ("attention", 2 * (6 + 1)),
        ("qkv", 2 * (3 + 1)),
        ("dots", 2 * 1),
        ("dots_offload", 2 * 1),
    ],
)
def test_a_product_that_is_kept_is_not_made_again(
    tiny_config, random_params, packed_batch, remat: str, again: int
):
    """Counted in the program for the gradient, before XLA merges or moves anything: so
    many more than without."""
    batch = packed_batch(3, 8, VOCAB)

    def count(remat: str) -> int:
        model = Transformer(tiny_config(scan=False, remat=remat))
        params = jax.eval_shape(lambda: random_params(model))
        objective = partial(batch_loss, model, LossConfig(chunk_length=8))
        jaxpr = str(jax.make_jaxpr(jax.grad(objective, has_aux=True))(params, batch))
        return jaxpr.count("dot_general")

    assert count(remat) - count("none") == again


@pytest.mark.slow
def test_offloading_moves_what_layers_leave_to_the_host(tiny_config, packed_batch):
    """Compiled for a TPU: bytes of the host and of the device."""
    pytest.importorskip("libtpu", reason="compiles for TPU: pip install 'nanojaxlm[tpu]'")
    layers, rows, length, width = 16, 64, 512, 128
    mesh = make_mesh(MeshConfig(), devices_of("v5e:2x2"))
    batch = packed_batch(rows, length, VOCAB)

    def memory(remat: str) -> Any:
        fields = {"num_layers": layers, "d_model": width, "dtype": "bfloat16", "remat": remat}
        model = Transformer(tiny_config(**fields))
        with use_mesh(mesh):
            params = abstract_params(parameter_boxes(model), mesh)
            where = jax.tree.map(lambda leaf: leaf.sharding, params)
            gradient = jax.jit(
                jax.grad(partial(batch_loss, model, LossConfig()), has_aux=True),
                in_shardings=(where, batch_sharding(mesh)),
            )
            return gradient.lower(params, batch).compile().memory_analysis()

    kept, offloaded = memory("full"), memory("residual_offload")
    inputs = layers * rows * length * width * 2 // mesh.size
    assert kept.host_temp_size_in_bytes == 0
    assert offloaded.host_temp_size_in_bytes == inputs
    saved = kept.peak_memory_in_bytes - offloaded.peak_memory_in_bytes
    assert 0.5 * inputs < saved <= inputs
