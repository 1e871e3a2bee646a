"""Meshes that are tried divide the model; what does not fit is left out; mesh="auto" says why."""

import dataclasses
import math
from types import SimpleNamespace

import jax
import pytest

from nanojaxlm.accelerators import CHIPS, CPU
from nanojaxlm.assembly import mesh_for
from nanojaxlm.config import Config
from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.planning import auto, search
from nanojaxlm.planning.auto import choose_mesh
from nanojaxlm.planning.inventory import Inventory
from nanojaxlm.planning.search import Machine, meshes, plans, ranked, with_batch
from nanojaxlm.planning.validation import example
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_params, parameter_boxes

FSDP = MeshConfig(data=1, fsdp=8)


@pytest.fixture(scope="module")
def config() -> Config:
    return example(FSDP)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine.of(jax.devices(), CPU)


def with_memory(size: float) -> Machine:
    return Machine.of(jax.devices(), dataclasses.replace(CPU, usable_bytes=int(size)))


def test_every_mesh_that_is_tried_divides_the_model(machine: Machine):
    mixture = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=64))
    config = example(FSDP, feed_forward=mixture, num_layers=2)
    boxes = parameter_boxes(Transformer(config.model))
    found = list(meshes(config, Inventory.of(config), machine))
    assert {"stage", "data", "fsdp", "expert", "tensor"} == {
        axis
        for mesh in found
        for axis, size in vars(mesh).items()
        if type(size) is int and size > 1
    }  # no context: rows are short
    for mesh in found:
        abstract_params(boxes, make_mesh(mesh, jax.devices()))  # raises where one does not


def test_long_rows_may_be_split(machine: Machine):
    config = example(FSDP, length=search.LONG, rows=1)
    found = list(meshes(config, Inventory.of(config), machine))
    assert any(mesh.context == 8 for mesh in found)


def test_all_plans_fit_and_the_fastest_comes_first(config: Config):
    machine = with_memory(60e6)
    found = plans(config, machine, remats=("full", "dots"), rows_a_device=(1, 4, 16))
    assert found and all(plan.fits for plan in found)
    assert found[0].tokens_per_second >= search.NEARLY * max(p.tokens_per_second for p in found)
    assert not plans(config, with_memory(1e6), remats=("full",), rows_a_device=(1,))


def test_of_plans_as_fast_the_smaller_batch_wins(config: Config):
    inventory, machine = Inventory.of(config), Machine.of(jax.devices(), CPU)
    plan = search.judge(config, FSDP, inventory, machine)
    assert plan is not None
    double = dataclasses.replace(
        plan,
        config=with_batch(plan.config, 2 * config.data.batch_size),
        roofline=plan.roofline._replace(work=2 * plan.roofline.work),
    )
    assert ranked([double, plan])[0] is plan


def test_auto_gives_a_mesh_that_the_step_takes(config: Config):
    mesh, why = choose_mesh(config, jax.devices())
    made = mesh_for(config, mesh, jax.devices())
    assert math.prod(made.shape.values()) == 8
    assert auto.words(mesh) in why and "fit" in why


def test_auto_splits_the_state_where_copies_do_not_fit(config: Config, monkeypatch):
    roomy, _ = choose_mesh(config, jax.devices())
    inventory = Inventory.of(config)
    split = search.judge(config, FSDP, inventory, with_memory(1e12))
    copies = search.judge(config, MeshConfig(data=8), inventory, with_memory(1e12))
    assert split is not None and copies is not None
    between = (split.memory.peak + copies.memory.peak) / 2 / search.MARGIN
    small = dataclasses.replace(CPU, usable_bytes=int(between))
    monkeypatch.setattr(auto, "chip_of", lambda kind: small)
    tight, why = choose_mesh(config, jax.devices())
    assert tight.data != 8 and "would not fit" in why
    assert roomy != tight or roomy.data != 8


def test_auto_never_fails(config: Config, monkeypatch):
    none_fits = dataclasses.replace(CPU, usable_bytes=1000)
    monkeypatch.setattr(auto, "chip_of", lambda kind: none_fits)
    mesh, why = choose_mesh(config, jax.devices())
    assert "least memory" in why and make_mesh(mesh, jax.devices())
    odd = with_batch(config, 7)
    assert mesh_for(odd, choose_mesh(odd, jax.devices())[0], jax.devices())
    monkeypatch.setattr(auto, "meshes", lambda *_: iter(()))
    mesh, why = choose_mesh(odd, jax.devices())
    assert mesh == MeshConfig() and "no mesh divides 7 rows" in why


def test_a_device_that_no_table_knows_tells_its_own_memory():
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 123})
    assert auto._like(device).usable_bytes == 123
    assert auto._like(SimpleNamespace(platform="cpu")) is CPU
    assert CHIPS["h100"] not in (auto._like(device), CPU)
