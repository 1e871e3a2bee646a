"""Moments that lie in the host's memory between steps: the same training, from other memory."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from nanojaxlm.checkpoint import Checkpoints, Saved
from nanojaxlm.errors import UserError
from nanojaxlm.host_memory import HOST, on_host
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, WarmupStableDecay
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh, use_mesh
from nanojaxlm.state import TrainState, abstract_state, init_state, parameter_boxes, path_name
from nanojaxlm.step import make_step

pytestmark = pytest.mark.usefixtures("quick_compile")
CONSTANT = WarmupStableDecay(warmup_steps=0, decay_rate=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("moments", ["float32", "int8"])
def test_offloaded_moments_train_as_others_and_are_saved_and_restored(
    tmp_path, tiny_config, packed_batch, moments
):
    """Over a mesh that splits parameters; what is no moment stays on the devices."""
    sizes: dict[str, Any] = {"d_model": 32, "head_dim": 16, "hidden": 64, "vocab_size": 64}
    model = Transformer(tiny_config(**sizes))
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    config = AdamW(learning_rate=0.01, schedule=CONSTANT, moments=moments)

    def two_steps(offload: bool) -> tuple[TrainState, TrainState]:
        with use_mesh(mesh):
            boxes = parameter_boxes(model)
            optimizer = config.make(10, boxes)
            abstract = abstract_state(boxes, optimizer, mesh, offload)
            state = init_state(model, optimizer, 0, abstract)
            step = make_step(model, optimizer, LossConfig(chunk_length=4), 1, abstract, mesh)
            for seed in range(2):
                batch = jax.device_put(packed_batch(8, 12, 64, seed), batch_sharding(mesh))
                state, _ = step(state, batch)
        return abstract, state

    _, wanted = two_steps(False)
    abstract, state = two_steps(True)
    jax.tree.map(np.testing.assert_array_equal, state, wanted)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name = path_name(path)
        assert (leaf.sharding.memory_kind == HOST) == ("mu/" in name or "nu/" in name), name
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, Saved(2, {}, {}, b""))
    checkpoints.wait()
    restored = checkpoints.restore(abstract, 2)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, restored, wanted)
    assert jax.tree.map(lambda x: x.sharding, restored) == jax.tree.map(
        lambda x: x.sharding, abstract
    )


def test_devices_without_such_memory_are_told_what_to_set():
    def memory(kind: str):
        raise ValueError(f"no memory space of kind {kind}")

    device = SimpleNamespace(device_kind="Abacus", memory=memory)
    sharding: Any = SimpleNamespace(device_set={id(device): device}.values())
    with pytest.raises(
        UserError, match=r"Abacus has no memory .*config\.training\.offload_optimizer"
    ):
        on_host(sharding)


CHILD = """
import dataclasses, json, sys
from nanojaxlm.config import Config, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.model.config import *
from nanojaxlm.optimizer import AdamW, WarmupStableDecay
from nanojaxlm.planning.compilation import compile_step
from nanojaxlm.planning.topology import Topology
from nanojaxlm.sharding import MeshConfig

schedule = WarmupStableDecay(warmup_steps=0)
config = Config(
    model=ModelConfig(d_model=512, vocab_size=1024, decoder=StackConfig(num_layers=4,
        attention=AttentionConfig(num_heads=4, num_kv_heads=4, head_dim=128),
        feed_forward=FeedForwardConfig(hidden=2048))),
    data=DataConfig(sequence_length=128, batch_size=4),
    optimizer=AdamW(learning_rate=0.01, schedule=schedule, moments="bfloat16"),
    training=TrainingConfig(steps=1, offload_optimizer=True),
    mesh=MeshConfig(data=1, fsdp=4),
)
done = compile_step(config, Topology.parse("v5e:2x2"))
print(json.dumps([done.memory.argument, done.memory.host]))
"""


@pytest.mark.slow
def test_compiled_for_a_tpu_the_moments_are_arguments_in_the_hosts_memory():
    """Bytes of one of four chips: parameters in float32 on it, both moments in bfloat16 beside."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed")
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    argument, host = json.loads(done.stdout.splitlines()[-1])
    num_parameters = 1024 * 512 + 4 * (4 * 512**2 + 3 * 512 * 2048)  # norms aside
    assert argument == pytest.approx(4 * num_parameters / 4, rel=0.02)
    assert host == pytest.approx(2 * 2 * num_parameters / 4, rel=0.02)
