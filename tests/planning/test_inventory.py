"""What a device holds of the state, counted without devices, is what the state's shardings say."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import pytest

from nanojaxlm.config import Config, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.errors import UserError
from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig, ModelConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, Muon, WarmupCosine
from nanojaxlm.planning.inventory import Inventory, Layout, array_bytes
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_state, parameter_boxes

SCHEDULE = WarmupCosine(warmup_steps=1)
ADAMW = AdamW(learning_rate=1e-3, schedule=SCHEDULE)
OPTIMIZERS = {
    "adamw": ADAMW,
    "bfloat16": dataclasses.replace(ADAMW, moments="bfloat16"),
    "int8": dataclasses.replace(ADAMW, moments="int8"),
    "muon": Muon(learning_rate=0.02, adam_learning_rate=1e-3, schedule=SCHEDULE),
}
MESHES = {
    "data": MeshConfig(),
    "fsdp": MeshConfig(data=1, fsdp=8),
    "tensor": MeshConfig(data=2, fsdp=2, tensor=2),
    "all": MeshConfig(data=1, stage=2, expert=2, context=2),
}


@pytest.fixture
def config_of(tiny_config: Callable[..., ModelConfig]) -> Callable[..., Config]:
    def make(**overrides: Any) -> Config:
        mixture = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=16))
        model = tiny_config(
            d_model=16, vocab_size=64, num_kv_heads=4, num_layers=2, feed_forward=mixture,
        )  # fmt: skip
        config = Config(
            model=model,
            data=DataConfig(sequence_length=32, batch_size=16),
            optimizer=ADAMW,
            training=TrainingConfig(steps=10),
        )
        return dataclasses.replace(config, **overrides)

    return make


def held(tree: Any) -> int:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("mesh", MESHES)
def test_bytes_of_a_device_are_those_of_its_shards(mesh: str, optimizer: str, config_of):
    config = config_of(optimizer=OPTIMIZERS[optimizer])
    inventory = Inventory.of(config)
    layout = Layout.of(MESHES[mesh], 8, tiled=False)
    boxes = parameter_boxes(Transformer(config.model))
    state = abstract_state(
        boxes, config.optimizer.make(10, boxes), make_mesh(MESHES[mesh], jax.devices())
    )
    assert sum(leaf.bytes(layout) for leaf in inventory.params) == held(state.params)
    kept = sum(leaf.bytes(layout) for leaf in inventory.optimizer)
    assert kept == pytest.approx(held(state.opt_state), rel=0.02)


@pytest.mark.parametrize(
    ("shape", "itemsize", "expected"),
    [
        ((8, 128), 4, 4096),  # one register
        ((16, 2048, 8, 64), 4, 16 * 2048 * 8 * 64 * 4),  # 2048 and 64 are laid in registers
        ((3, 130), 4, 3 * 256 * 4),  # fewer rows than a register has are not padded
        ((9, 128), 4, 16 * 128 * 4),
        ((9, 128), 2, 9 * 128 * 2),  # bfloat16: 16 rows a register
        ((5,), 4, 512),
        ((), 4, 512),
    ],
)
def test_a_tpu_pads_the_last_two_axes_it_chooses(shape, itemsize, expected):
    assert array_bytes(shape, itemsize) == expected
    assert array_bytes(shape, itemsize, False) == math.prod(shape) * itemsize


def test_a_mesh_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="does not fit 8 devices"):
        Layout.of(MeshConfig(data=3), 8)
    assert Layout.of(MeshConfig(fsdp=4), 8).sizes["data"] == 2
