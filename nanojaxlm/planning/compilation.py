"""The training step of a config, compiled for devices that are not here; what it says of itself."""

import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from nanojaxlm.assembly import abstract_batch, assemble, mesh_for
from nanojaxlm.config import Config
from nanojaxlm.errors import UserError
from nanojaxlm.model.config import StackConfig
from nanojaxlm.model.masks import Band
from nanojaxlm.planning.hlo import Program, analyse
from nanojaxlm.planning.topology import Topology, devices_of
from nanojaxlm.sharding import MeshConfig, use_mesh

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)i?B?"
_TOO_MUCH = (
    re.compile(rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)"),  # libtpu 0.0.52
    re.compile(rf"Used {_SIZE} of {_SIZE} hbm"),  # before
)


@dataclass(frozen=True)
class CompiledMemory:
    """Bytes of one device. peak: what the program needs at once: arguments, what is not returned in
    their place, temporaries. host: arrays that it keeps in the host's memory."""

    argument: int
    output: int
    alias: int  # of the output, what takes the place of an argument (the donated state)
    temporary: int
    code: int
    host: int

    @property
    def peak(self) -> int:
        return self.argument + self.output - self.alias + self.temporary + self.code


@dataclass(frozen=True)
class Shortage:
    """What XLA said when the program did not fit, in bytes of one device; None: it did not say."""

    needed: float | None
    available: float | None
    message: str

    @property
    def missing(self) -> float | None:
        if self.needed is None or self.available is None:
            return None
        return self.needed - self.available


@dataclass(frozen=True)
class CompiledStep:
    """Memory and program, or what was short. unread: why there is memory but no program."""

    config: Config
    topology: Topology
    mesh: Mesh
    seconds: float  # to trace and compile
    memory: CompiledMemory | None = None
    program: Program | None = None
    shortage: Shortage | None = None
    unread: str | None = None


def compile_step(
    config: Config, topology: Topology, options: Mapping[str, str | bool] | None = None
) -> CompiledStep:
    """Compiles the step that train.py would run on these devices.

    options: XLA's flags for it.

    Raises:
        UserError: the mesh does not fit the topology, the config or the batch; no vocab_size.
    """
    if config.model.vocab_size is None:
        raise UserError(
            "config.model.vocab_size is None, which training reads off the tokenizer: give it, "
            "such as --config.model.vocab_size=32000"
        )
    assert isinstance(config.mesh, MeshConfig), config.mesh
    devices = devices_of(topology)
    mesh = mesh_for(config, config.mesh, devices)
    start = time.perf_counter()
    known: dict[str, Any] = {"config": config, "topology": topology, "mesh": mesh}
    with use_mesh(mesh, config.mesh), tempfile.TemporaryDirectory() as folder:
        assembly = assemble(config, mesh)
        step: Any = assembly.step
        lowered = step.lower(assembly.abstract, abstract_batch(config, mesh))
        try:
            compiled = lowered.compile({**(options or {}), **_own(topology, folder)})
        except Exception as error:
            shortage = shortage_of(str(error))
            if shortage is None:
                raise
            return CompiledStep(**known, seconds=time.perf_counter() - start, shortage=shortage)
        seconds = time.perf_counter() - start
        known |= {"seconds": seconds, "memory": memory_of(compiled.memory_analysis())}
        try:
            text = _text(compiled, folder)
        except jax.errors.JaxRuntimeError as error:
            return CompiledStep(**known, unread=str(error).strip().splitlines()[0][:200])
    return CompiledStep(**known, program=analyse(text, mesh, bands_of(config)))


def _own(topology: Topology, folder: str) -> dict[str, Any]:
    """Options by which libtpu writes the program's text itself, and XLA tries no kernels out."""
    return {
        "tpu": {"xla_dump_to": folder, "xla_dump_hlo_as_text": True},
        "gpu": {"xla_gpu_autotune_level": 0},
        "cpu": {},
    }[topology.platform]


def _text(compiled: Any, folder: str) -> str:
    """The program's text; where jaxlib does not know all of it, as some of v5p's, libtpu's own.

    Raises:
        JaxRuntimeError: there is neither.
    """
    try:
        return compiled.as_text()
    except jax.errors.JaxRuntimeError:
        written = sorted(
            Path(folder).glob("*after_optimizations.txt"), key=lambda f: f.stat().st_size
        )
        if not written:
            raise
        return written[-1].read_text(encoding="utf-8")


def memory_of(stats: Any) -> CompiledMemory:
    """stats: `compiled.memory_analysis()`."""
    host = (
        stats.host_argument_size_in_bytes
        + stats.host_output_size_in_bytes
        - stats.host_alias_size_in_bytes
        + stats.host_temp_size_in_bytes
    )
    return CompiledMemory(
        argument=stats.argument_size_in_bytes,
        output=stats.output_size_in_bytes,
        alias=stats.alias_size_in_bytes,
        temporary=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
        host=host,
    )


def shortage_of(message: str) -> Shortage | None:
    """What a failed compilation says of memory; None where it failed for another reason."""
    if "RESOURCE_EXHAUSTED" not in message and "out of memory" not in message.lower():
        return None
    first = message.strip().splitlines()[0]
    for pattern in _TOO_MUCH:
        if used := pattern.search(message):
            return Shortage(_bytes(*used.groups()[:2]), _bytes(*used.groups()[2:]), first)
    return Shortage(None, None, first)


def bands_of(config: Config) -> tuple[Band, ...]:
    """Of the self-attention of each layer, in the order of stacks and layers."""

    def of(stack: StackConfig | None, causal: bool) -> list[Band]:
        layers = [] if stack is None else map(stack.layer, range(stack.num_layers))
        return [Band(causal, layer.attention.window) for layer in layers]

    return tuple(of(config.model.encoder, False) + of(config.model.decoder, True))


def _bytes(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit]
