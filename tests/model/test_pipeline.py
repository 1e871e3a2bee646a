"""Layers over stages compute what one device computes; a device holds and runs its own only."""

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.batch import Batch
from nanojaxlm.errors import UserError
from nanojaxlm.losses import LossConfig
from nanojaxlm.model import pipeline
from nanojaxlm.model.cache import empty_cache
from nanojaxlm.model.config import (
    FeedForwardConfig,
    LocalConfig,
    MixtureConfig,
    RelativeBiasConfig,
    Rope,
)
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh, use_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.step import batch_loss

pytestmark = pytest.mark.usefixtures("quick_compile")
VOCAB = 48  # over stage and tensor
MIXTURE = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=8))


def compiled(model: Transformer, batch: Batch, config: MeshConfig) -> Any:
    """The loss and the gradient of a batch on a mesh of this config."""
    mesh = make_mesh(config)
    with use_mesh(mesh, config):
        params = abstract_params(parameter_boxes(model), mesh)
        where = jax.tree.map(lambda leaf: leaf.sharding, params)
        objective = partial(batch_loss, model, LossConfig(chunk_length=8))
        return (
            jax.jit(
                jax.value_and_grad(objective, has_aux=True),
                in_shardings=(where, batch_sharding(mesh)),
                out_shardings=(None, where),
            )
            .lower(params, batch)
            .compile()
        )


def shard(tree: Any, program: Any) -> Any:
    return jax.device_put(tree, program.input_shardings[0][0])


# What the model has -> (its fields, the mesh).
CASES: dict[str, tuple[dict[str, Any], MeshConfig]] = {
    "data": ({"num_layers": 4}, MeshConfig(stage=2)),
    "more_stages_than_microbatches": (
        {"num_layers": 4},
        MeshConfig(stage=4, fsdp=2, data=1, microbatches=2),
    ),
    "tensor_and_sequence": (
        {"num_layers": 4, "remat": "stage"},
        MeshConfig(stage=2, fsdp=2, data=1, tensor=2, sequence=True),
    ),
    "context_and_layers_beside_the_pipeline": (
        {"num_layers": 9, "local": LocalConfig(window=3, global_every=2, rope=Rope(theta=50.0))},
        MeshConfig(stage=4, data=1, context=2),
    ),
    "encoder_and_decoder": (
        {
            "kind": "encoder_decoder", "rope": None, "relative_bias": RelativeBiasConfig(),
            "kv_shift": True, "remat": "full",
        },
        MeshConfig(stage=2, data=2, fsdp=2),
    ),
    "mixture": (  # whose balance is that of the whole batch
        {"feed_forward": MIXTURE, "num_layers": 4},
        MeshConfig(stage=2, data=2, expert=2, microbatches=4),
    ),
    "offloading": ({"num_layers": 4, "remat": "residual_offload"}, MeshConfig(stage=4, data=2)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_pipeline_equals_one_device(
    tiny_config, build, loss_and_gradient, assert_trees_close, packed_batch, case: str
):
    fields, mesh = CASES[case]
    tiny = build(tiny_config(vocab_size=VOCAB, **fields))
    batch = packed_batch(16, 12, VOCAB, kind=fields.get("kind", "decoder"))
    (wanted, wanted_sums), wanted_gradient = loss_and_gradient(tiny.model, tiny.params, batch)
    program = compiled(tiny.model, batch, mesh)
    (loss, sums), gradient = program(shard(tiny.params, program), batch)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    np.testing.assert_allclose(sums, wanted_sums, rtol=1e-5)
    assert_trees_close(gradient, wanted_gradient, relative=2e-5)


@pytest.mark.parametrize("cached", [False, True])
def test_a_prompt_of_one_row_gives_its_logits_on_a_mesh_with_stages(
    tiny_config, build, random_stream, cached: bool
):
    """Rows that no mesh splits; with a cache the layers go one by one."""
    tiny = build(tiny_config())
    stream = random_stream(5)

    def logits(params: Any) -> jax.Array:
        apply: Any = partial(tiny.model.apply, {"params": params})
        cache = empty_cache(tiny.model.config, 1, 8) if cached else None
        return apply(apply(stream, None, cache, method="hidden")[0], method="logits")

    config = MeshConfig(stage=2)
    with use_mesh(make_mesh(config), config):
        found = jax.jit(logits)(jax.device_get(tiny.params))
    np.testing.assert_allclose(found, tiny.logits(stream), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_stages_exchange_residuals_in_the_loop_and_no_parameters(tiny_config, packed_batch):
    """In a loop over ticks only neighbours' residuals move over stage; each device's arguments are
    its own layers'."""
    model = Transformer(tiny_config(num_layers=8, vocab_size=VOCAB))
    batch = packed_batch(16, 12, VOCAB)
    program = compiled(model, batch, MeshConfig(stage=8, data=1, microbatches=4))
    moves = re.findall(r"= (\S+) collective-permute\(.*op_name=\"(\S*)\"", program.as_text())
    assert len(moves) == 2  # forward and backward
    for shape, name in moves:
        assert shape.startswith("f32[1,4,12,16]") and "while/body" in name and "ppermute" in name
    gathers = re.findall(r"= \S+ all-gather\(.*op_name=\"(\S*)\"", program.as_text())
    assert not [name for name in gathers if "_repeated" in name]


@pytest.mark.slow
def test_a_stage_that_is_run_again_keeps_less(tiny_config, packed_batch):
    """Bytes of temporaries of a deep, narrow model, whose layer inputs are most of it."""
    batch = packed_batch(32, 32, VOCAB)

    def temporaries(remat: str) -> int:
        model = Transformer(tiny_config(num_layers=32, remat=remat))
        program = compiled(model, batch, MeshConfig(stage=2))
        return program.memory_analysis().temp_size_in_bytes

    assert temporaries("stage") < 0.75 * temporaries("full") < temporaries("none")


def test_rows_of_a_microbatch_are_spread_over_all_devices_and_come_back():
    rows = jnp.arange(24, dtype=jnp.int32)[:, None]
    micro = pipeline._split(rows, 4)
    assert micro.shape == (4, 6, 1)
    assert micro[1].ravel().tolist() == [1, 5, 9, 13, 17, 21]  # of 2 devices' rows 3 each
    np.testing.assert_array_equal(pipeline._joined(micro), rows)


def test_what_idle_stages_sow_is_left_out():
    """Stage s has micro-batch m at tick m + s: of 2 stages and 3 micro-batches, 4 ticks."""
    idle = 1e6
    sown_TSL = np.array([[[1], [idle]], [[2], [10]], [[3], [20]], [[idle], [30]]], np.float32)
    got = pipeline._over_microbatches(jnp.asarray(sown_TSL))
    assert got.tolist() == [1 + 2 + 3, 10 + 20 + 30]


@pytest.mark.parametrize(
    ("config", "rows", "expected"),
    [
        (MeshConfig(stage=2), 64, 8),  # 16 rows a device; 4 a stage
        (MeshConfig(stage=2), 24, 6),  # 6 rows a device
        (MeshConfig(stage=8, data=1), 28, 28),
        (MeshConfig(stage=2), 4, 1),
        (MeshConfig(stage=2), 3, 1),  # rows that do not split over the devices
        (MeshConfig(stage=2, microbatches=2), 64, 2),
    ],
)
def test_microbatches_are_as_many_as_asked_or_four_a_stage(config, rows, expected):
    with use_mesh(make_mesh(config), config):
        assert pipeline.num_microbatches(rows, config.stage) == expected


def test_microbatches_that_do_not_divide_are_refused():
    config = MeshConfig(stage=2, microbatches=3)
    words = r"config\.mesh\.microbatches=3 does not divide the 4 rows"
    with use_mesh(make_mesh(config), config), pytest.raises(UserError, match=words):
        pipeline.num_microbatches(16, 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_layers": 6}, "the 6 layers that config.model.decoder repeats .* among 1, 2, 3, 6"),
        (
            {"kind": "encoder_decoder", "num_layers": 6},
            "the 6 layers that config.model.encoder repeats",
        ),
        (
            {"num_layers": 6, "local": LocalConfig(window=3, global_every=2)},
            "the 3 groups of 2 layers that config.model.decoder repeats .* among 1, 3",
        ),
        (
            {"scan": False},
            "repeats no layers that 4 stages could share: set .*decoder.scan to True",
        ),
    ],
)
def test_layers_that_do_not_split_into_stages_are_refused_by_the_stack(
    tiny_config, fields: dict[str, Any], words: str
):
    config = MeshConfig(stage=4)
    with use_mesh(make_mesh(config), config), pytest.raises(UserError, match=words):
        parameter_boxes(Transformer(tiny_config(**fields)))
