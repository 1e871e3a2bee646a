"""The step is compiled for devices that are not run on, and what is said of it adds up."""

import dataclasses
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from rich.console import Console

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.assembly import abstract_batch, assemble, mesh_for
from nanojaxlm.config import Config, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.errors import UserError
from nanojaxlm.metrics import train_flops_per_row
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.masks import Band
from nanojaxlm.optimizer import AdamW, WarmupCosine
from nanojaxlm.planning.compilation import (
    CompiledStep,
    Shortage,
    _text,
    bands_of,
    compile_step,
    memory_of,
    shortage_of,
)
from nanojaxlm.planning.report import report_on, show
from nanojaxlm.planning.topology import Topology
from nanojaxlm.sharding import MeshConfig, use_mesh

pytestmark = pytest.mark.usefixtures("quick_compile")
CPU = Topology("cpu", (8,))
V5E = Topology("v5e", (2, 4))

OUT_OF_MEMORY = (  # libtpu 0.0.52
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
    "required for HLO temporaries (23.32G) exceeds available HBM (15.75G). HLO module: jit_step.\n"
    "See https://openxla.org/xla/errors/error_1000 for more details."
)
OLDER = (
    "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 23.32G of 15.75G hbm. "
    "Exceeded hbm capacity by 7.57G.\n\nTotal hbm usage >= 23.57G:"
)


@pytest.fixture(scope="module")
def config(tiny_config: Callable[..., ModelConfig]) -> Config:
    return Config(
        model=dataclasses.replace(tiny_config(), vocab_size=64),
        data=DataConfig(sequence_length=32, batch_size=16),
        optimizer=AdamW(learning_rate=1e-3, schedule=WarmupCosine(warmup_steps=2)),
        training=TrainingConfig(steps=10),
        mesh=MeshConfig(data=4, fsdp=2),
    )


@pytest.fixture(scope="module")
def step(config: Config) -> CompiledStep:
    return compile_step(config, CPU)


def test_arguments_are_the_devices_part_of_state_and_batch(config: Config, step: CompiledStep):
    mesh_config: Any = config.mesh
    mesh = mesh_for(config, mesh_config, jax.devices())
    with use_mesh(mesh, mesh_config):
        assembly, batch = assemble(config, mesh), abstract_batch(config, mesh)
    size = 0
    for leaf in jax.tree.leaves((assembly.abstract, batch)):
        shape = leaf.sharding.shard_shape(leaf.shape)
        size += leaf.dtype.itemsize * jax.ShapeDtypeStruct(shape, leaf.dtype).size
    assert step.memory is not None
    assert step.memory.argument == size
    assert step.memory.alias <= step.memory.output
    assert step.memory.peak >= size


def test_compiled_flops_are_the_models_and_little_more(config: Config, step: CompiledStep):
    """Forward and backward once, nothing recomputed: only what shapes make whole is more."""
    report = report_on(step)
    assert report.model_flops == train_flops_per_row(config.model, 0, 32) * 16 / 8
    assert report.compiled_flops is not None
    assert 0.9 < report.compiled_flops / report.model_flops < 1.6
    assert report.unknown_trips == 0
    assert report.tokens == 16 * 32


def test_a_report_has_every_figure_and_is_json(step: CompiledStep):
    report = report_on(step)
    assert report.fits is None and report.estimate is None  # a CPU is in no table
    assert report.mesh == {"data": 4, "fsdp": 2}
    assert "--config.mesh.fsdp=2" in report.flags
    assert {one.kind for one in report.collectives} >= {"all-gather", "all-reduce"}
    assert all(set(one.axes) <= {"data", "fsdp"} for one in report.collectives)
    plain = json.loads(json.dumps(report.plain()))
    assert step.memory is not None
    assert plain["memory"]["peak"] == step.memory.peak
    assert plain["topology"] == "cpu:8"
    assert shown(report).count("all-gather") == 1


def test_on_a_chip_there_is_a_bound_and_a_verdict(step: CompiledStep):
    """The same program, as if it were a v5e's."""
    report = report_on(dataclasses.replace(step, topology=V5E))
    estimate = report.estimate
    assert estimate is not None and report.fits
    assert 0 < estimate.mfu < 1
    assert estimate.step_seconds >= max(estimate.compute_seconds, estimate.links_seconds)
    assert estimate.tokens_per_second == pytest.approx(report.tokens / estimate.step_seconds)
    assert report.verdict.startswith("fits: ")
    for word in ("argument", "temporary", "peak", "MFU", "tokens/s", "fits"):
        assert word in shown(report)


def test_what_does_not_fit_says_by_how_much_and_what_to_try(step: CompiledStep):
    assert step.memory is not None
    usable = CHIPS["v5e"].usable_bytes
    large = dataclasses.replace(step.memory, temporary=usable + 2**30)
    report = report_on(dataclasses.replace(step, topology=V5E, memory=large))
    assert report.fits is False
    assert report.verdict.startswith("does not fit, short by 1.")
    assert "; try " in report.verdict


def test_a_failed_compilation_is_a_verdict_too(step: CompiledStep):
    shortage = shortage_of(OUT_OF_MEMORY)
    failed = dataclasses.replace(step, topology=V5E, memory=None, program=None, shortage=shortage)
    report = report_on(failed)
    assert report.fits is False
    assert report.needed_bytes == pytest.approx(23.32 * 2**30)
    assert "short by 7.57 GiB" in report.verdict
    assert "23.32 GiB" in shown(report)


def test_a_program_that_cannot_be_read_still_has_its_memory(step: CompiledStep):
    unread = dataclasses.replace(step, topology=V5E, program=None, unread="RET_CHECK failure")
    report = report_on(unread)
    assert report.fits and report.compiled_flops is None and report.estimate is None
    assert "cannot be read: RET_CHECK" in shown(report)


def test_xlas_words_on_memory_are_read():
    for message in (OUT_OF_MEMORY, OLDER):
        shortage = shortage_of(message)
        assert shortage is not None and shortage.missing == pytest.approx(7.57 * 2**30)
    assert shortage_of("RESOURCE_EXHAUSTED: no figures") == Shortage(
        None, None, "RESOURCE_EXHAUSTED: no figures"
    )
    assert shortage_of("INTERNAL: something else") is None


def test_memory_on_the_host_is_counted_apart():
    sizes = dict.fromkeys(
        (f"{host}{part}_size_in_bytes" for host in ("", "host_")
         for part in ("argument", "output", "alias", "temp", "generated_code")), 0,
    )  # fmt: skip
    sizes |= {"argument_size_in_bytes": 5, "host_argument_size_in_bytes": 7}
    memory = memory_of(SimpleNamespace(**sizes))
    assert (memory.peak, memory.host) == (5, 7)


def test_bands_are_those_of_every_layer(tiny_config: Callable[..., ModelConfig], config: Config):
    model = tiny_config(kind="encoder_decoder", window=4)
    bands = bands_of(SimpleNamespace(model=model))  # pyright: ignore[reportArgumentType]
    assert bands == (Band(False, 4),) * 2 + (Band(True, 4),) * 2


def test_without_a_vocabulary_size_it_is_asked_for(config: Config):
    model = dataclasses.replace(config.model, vocab_size=None)
    with pytest.raises(UserError, match=r"--config\.model\.vocab_size"):
        compile_step(dataclasses.replace(config, model=model), CPU)


def test_a_mesh_that_does_not_fit_the_topology_is_refused(config: Config):
    with pytest.raises(UserError, match="does not fit 8 devices"):
        compile_step(dataclasses.replace(config, mesh=MeshConfig(data=3)), CPU)


def shown(report: Any) -> str:
    console = Console(file=StringIO(), width=120)
    show(report, console)
    file: Any = console.file
    return file.getvalue()


def test_a_text_that_jaxlib_cannot_read_is_libtpus_own(tmp_path: Path):
    class Unreadable:
        def as_text(self) -> str:
            raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure")

    with pytest.raises(jax.errors.JaxRuntimeError):
        _text(Unreadable(), str(tmp_path))
    (tmp_path / "module_0000.jit_step.after_optimizations.txt").write_text("HloModule step")
    assert _text(Unreadable(), str(tmp_path)) == "HloModule step"
