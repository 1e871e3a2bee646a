"""Three memory figures side by side, for configs of many kinds: by formula, compiled, measured.

    python -m nanojaxlm.planning.validation                       # this machine's CPU cut in eight
    python -m nanojaxlm.planning.validation --only=decoder --json=figures.json

Each config is compiled for 8 virtual CPU devices and runs two steps in a process of its own.
formula: memory.py. compiled: XLA's, arguments and temporaries of one device. measured: the most
memory that the process had resident while the steps ran, less what it had just before the state
was made, over 8: what the allocator really took, of all devices together. It is a check from
outside, and a rough one: XLA's CPU runs devices side by side, whose peaks need not coincide, and
frees and reuses memory beyond what is counted. A TPU has no process to look at from here: there,
formula and compiled stand alone (launch/README.md).
"""

import dataclasses
import gc
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console

from nanojaxlm.assembly import abstract_batch, assemble, mesh_for
from nanojaxlm.config import Config, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.objectives import CausalLM, MaskedLM, SpanCorruption
from nanojaxlm.errors import UserError, run
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    MixtureConfig,
    ModelConfig,
    StackConfig,
)
from nanojaxlm.optimizer import AdamW, Muon, WarmupCosine
from nanojaxlm.planning.compilation import memory_of
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.memory import estimate
from nanojaxlm.planning.topology import Topology, devices_of
from nanojaxlm.sharding import MeshConfig, use_mesh
from nanojaxlm.state import init_state
from nanojaxlm.typed_config import parse_command_line
from nanojaxlm.writers import replace_text

_FLAGS = flags.FlagValues()
ONLY = flags.DEFINE_string("only", "", "Cases whose name holds this.", flag_values=_FLAGS)
CASE = flags.DEFINE_string("case", None, "Run this one here; prints JSON.", flag_values=_FLAGS)
JSON = flags.DEFINE_string("json", None, "A file for the figures.", flag_values=_FLAGS)

NUM_DEVICES = 8
MiB = 2**20
_SCHEDULE = WarmupCosine(warmup_steps=10)
_ADAMW = AdamW(learning_rate=1e-3, schedule=_SCHEDULE)
_MUON = Muon(learning_rate=0.02, adam_learning_rate=1e-3, schedule=_SCHEDULE)
_EXPERTS = MixtureConfig(num_experts=8, top_k=2, expert=FeedForwardConfig(hidden=256))


def example(
    mesh: MeshConfig,
    kind: str = "decoder",
    remat: str = "full",
    optimizer: AdamW | Muon = _ADAMW,
    accumulation: int = 1,
    feed_forward: FeedForwardConfig | MixtureConfig | None = None,
    length: int = 128,
    rows: int = 32,
    num_layers: int = 4,
) -> Config:
    """A small model of the given kind: a process that trains it takes about a gigabyte."""
    stack = StackConfig(
        num_layers=num_layers,
        attention=AttentionConfig(num_heads=8, num_kv_heads=8, head_dim=32),
        feed_forward=feed_forward or FeedForwardConfig(hidden=1024),
        remat=remat,
    )
    objective = {
        "decoder": CausalLM(),
        "encoder": MaskedLM(),
        "encoder_decoder": SpanCorruption(),
    }[kind]
    return Config(
        model=ModelConfig(
            d_model=256,
            vocab_size=4096,
            dtype="float32",
            tie_embeddings=False,
            encoder=stack if "encoder" in kind else None,
            decoder=stack if "decoder" in kind else None,
        ),
        data=DataConfig(sequence_length=length, batch_size=rows, objective=objective),
        optimizer=optimizer,
        training=TrainingConfig(steps=100, accumulation=accumulation),
        loss=LossConfig(chunk_length=64),
        mesh=mesh,
    )


def cases() -> dict[str, Config]:
    """By name: kinds, meshes, remat policies, optimizers."""
    data, fsdp = MeshConfig(data=8), MeshConfig(data=1, fsdp=8)
    both = MeshConfig(data=2, fsdp=4)
    tensor = MeshConfig(data=1, fsdp=2, tensor=4)
    sequence = MeshConfig(data=1, fsdp=2, tensor=4, sequence=True)
    context = MeshConfig(data=1, fsdp=2, context=4)
    stages = MeshConfig(data=1, fsdp=4, stage=2)
    experts = MeshConfig(data=1, fsdp=2, expert=4)
    mixture = dataclasses.replace(_EXPERTS, capacity=1.25)
    short = dataclasses.replace(_ADAMW, moments="bfloat16")
    bytes_ = dataclasses.replace(_ADAMW, moments="int8")
    return {
        "decoder, data=8": example(data),
        "decoder, fsdp=8": example(fsdp),
        "decoder, data=2 fsdp=4": example(both),
        "decoder, fsdp=8, remat none": example(fsdp, remat="none"),
        "decoder, fsdp=8, remat dots": example(fsdp, remat="dots"),
        "decoder, fsdp=8, remat qkv": example(fsdp, remat="qkv"),
        "decoder, fsdp=8, remat attention": example(fsdp, remat="attention"),
        "decoder, fsdp=8, bfloat16 moments": example(fsdp, optimizer=short),
        "decoder, fsdp=8, int8 moments": example(fsdp, optimizer=bytes_),
        "decoder, fsdp=8, Muon": example(fsdp, optimizer=_MUON),
        "decoder, fsdp=8, 4 accumulated": example(fsdp, accumulation=4),
        "decoder, data=8, Muon": example(data, optimizer=_MUON),
        "decoder, fsdp=2 tensor=4": example(tensor),
        "decoder, fsdp=2 tensor=4 sequence": example(sequence),
        "decoder, fsdp=2 tensor=4 sequence, dots": example(sequence, remat="dots"),
        "decoder, fsdp=2 context=4": example(context, length=512, rows=8),
        "decoder, fsdp=4 stage=2": example(stages),
        "decoder, fsdp=4 stage=2, remat stage": example(stages, remat="stage"),
        "decoder, long rows": example(fsdp, length=2048, rows=8),
        "decoder, 12 layers": example(fsdp, num_layers=12),
        "mixture, fsdp=8": example(fsdp, feed_forward=_EXPERTS),
        "mixture, fsdp=2 expert=4": example(experts, feed_forward=_EXPERTS),
        "mixture, fsdp=2 expert=4, capacity": example(experts, feed_forward=mixture),
        "encoder, fsdp=8": example(fsdp, kind="encoder"),
        "encoder, data=8, remat dots": example(data, kind="encoder", remat="dots"),
        "encoder-decoder, fsdp=8": example(fsdp, kind="encoder_decoder"),
        "encoder-decoder, fsdp=2 tensor=4": example(tensor, kind="encoder_decoder"),
    }


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    chosen = [name for name in cases() if ONLY.value in name]
    if CASE.value is not None:
        print(json.dumps(figures(cases()[CASE.value])))
        return
    if not chosen:
        raise UserError(f"--only={ONLY.value}: no case's name holds it; have {', '.join(cases())}")
    console, found = Console(), {}
    for name in chosen:
        command = [sys.executable, "-m", "nanojaxlm.planning.validation", f"--case={name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise UserError(f"the case {name!r} failed: {last[0]}")
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
        console.print(row(name, found[name]), highlight=False, soft_wrap=True)
        if JSON.value is not None:
            replace_text(Path(JSON.value), json.dumps(found, indent=2) + "\n")
    console.print("\n" + table(found), highlight=False, soft_wrap=True)


def figures(config: Config) -> dict[str, float]:
    """Bytes of one device: {"formula", "compiled", "measured"}, and the formula's parts."""
    jax.config.update("jax_platforms", "cpu")
    devices = devices_of(Topology("cpu", (NUM_DEVICES,)))
    assert isinstance(config.mesh, MeshConfig)
    formula = estimate(
        config, Layout.of(config.mesh, NUM_DEVICES, tiled=False), Inventory.of(config)
    )
    mesh = mesh_for(config, config.mesh, devices)
    with use_mesh(mesh, config.mesh):
        assembly = assemble(config, mesh)
        shapes = abstract_batch(config, mesh)
        step: Any = assembly.step
        compiled = step.lower(assembly.abstract, shapes).compile()
        memory = memory_of(compiled.memory_analysis())
        batch = jax.tree.map(
            lambda leaf: jax.device_put(np.ones(leaf.shape, leaf.dtype), leaf.sharding), shapes
        )
        gc.collect()
        before = resident(reset=True)
        state = init_state(assembly.model, assembly.optimizer, 0, assembly.abstract)
        for _ in range(2):
            state, report = compiled(state, batch)
            jax.block_until_ready((state, report))
        measured = (resident(peak=True) - before) / NUM_DEVICES
    return {
        "formula": formula.peak,
        "compiled": memory.peak - memory.code,
        "measured": measured,
        **{f"formula_{name}": value for name, value in formula._asdict().items()},
    }


def resident(*, peak: bool = False, reset: bool = False) -> int:
    """Bytes that this process has in memory, or the most since `reset`; Linux."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    field = "VmHWM" if peak else "VmRSS"
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise UserError(f"/proc/self/status has no {field}: this needs Linux")


def row(name: str, of: Mapping[str, float]) -> str:
    """A line of the table: MiB, and what the formula and the compiler are off by."""
    formula, compiled, measured = (of[key] for key in ("formula", "compiled", "measured"))
    numbers = f"{formula / MiB:.0f} | {compiled / MiB:.0f} | {measured / MiB:.0f}"
    return (
        f"| {name} | {numbers} | {formula / compiled - 1:+.0%} | {compiled / measured - 1:+.0%} |"
    )


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """All of it as markdown, with the mean of the errors' magnitudes."""
    errors = [abs(of["formula"] / of["compiled"] - 1) for of in found.values()]
    head = (
        "| config | formula | compiled | measured | formula / compiled | compiled / measured |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    lines = [row(name, of) for name, of in found.items()]
    mean = sum(errors) / len(errors)
    return "\n".join([head, *lines, "", f"Mean error of the formula: {mean:.0%}."])


if __name__ == "__main__":
    run(main)
