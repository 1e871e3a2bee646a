"""A tiny model of each family, made from its own config.json, learns under our step."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from nanojaxlm.batch import Batch, Stream, Targets
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, WarmupStableDecay
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh, use_mesh
from nanojaxlm.state import abstract_state, init_state, parameter_boxes
from nanojaxlm.step import make_step

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]
DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("draw_families.py"))))
STEPS = 12
ADAMW = AdamW(
    learning_rate=0.01, schedule=WarmupStableDecay(warmup_steps=0, decay_rate=0.0), weight_decay=0.0
)
# As --config.mesh=… splits a model in training; 2 kv heads and all widths divide.
MESH = MeshConfig(data=2, fsdp=2)


def stream(row: Any) -> Stream | None:
    """The rows twice, so that they split over the mesh."""
    return None if row is None else Stream(*(np.concatenate([array] * 2) for array in row))


def batch_of(name: str, vocab_size: int) -> Batch:
    """Targets that the input tells: each token's own id, or an encoder's for its masked place."""
    example = DRAW.draw_example(name, vocab_size, seed=0)
    last = example.decoder if example.decoder is not None else example.encoder
    targets = Targets(
        np.concatenate([last.tokens_BT] * 2),
        np.concatenate([last.mask_BT] * 2).astype(np.float32),
    )
    return Batch(targets, stream(example.decoder), stream(example.encoder))


@pytest.mark.parametrize("name", DRAW.CLASSES)
def test_a_tiny_model_learns(name: str):
    """The loss falls by a third in 12 steps on one batch, on a mesh of 2 x 2 devices."""
    family = next(family for family in FAMILIES if name in family.model_types)
    told = DRAW.draw_config(name, 0)
    config = family.read_config(told)
    two_layers = {
        which: replace(stack, num_layers=2)
        for which in ("encoder", "decoder")
        if (stack := getattr(config, which)) is not None
    }
    config = replace(config, dtype="bfloat16", **two_layers)
    model, mesh = Transformer(config), make_mesh(MESH, jax.devices()[:4])
    with use_mesh(mesh):
        boxes = parameter_boxes(model)
        optimizer = ADAMW.make(STEPS, boxes)
        abstract = abstract_state(boxes, optimizer, mesh)
        state = init_state(model, optimizer, 0, abstract)
        step = make_step(model, optimizer, LossConfig(chunk_length=16), 1, abstract, mesh)
        batch = jax.device_put(batch_of(name, config.vocab_size or 0), batch_sharding(mesh))
        losses = []
        for _ in range(STEPS):
            # the gradient of jax's own attention promotes bfloat16
            with jax.numpy_dtype_promotion("standard"):
                state, report = step(state, batch)
            losses.append(float(report.sums.nll / report.sums.count))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] * 2 / 3, losses
