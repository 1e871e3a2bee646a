"""What a compiled program does in one execution on one device: FLOPs, bytes moved, collectives.

XLA's own cost analysis counts a loop's body once and sees no Pallas kernel; this multiplies loops
out and counts the kernels that it knows (kernels.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jax.sharding import Mesh

from nanojaxlm.devices import slice_of
from nanojaxlm.model.masks import Band
from nanojaxlm.planning import kernels
from nanojaxlm.planning.groups import axes_of, replica_groups, source_target_pairs
from nanojaxlm.planning.loops import trips
from nanojaxlm.planning.module import Computation, Instruction, Module, Shape, parse
from nanojaxlm.planning.products import convolution_flops, dot_flops
from nanojaxlm.planning.traffic import fusion_bytes, in_memory, instruction_bytes

COLLECTIVES = {
    "all-gather": "all-gather",
    "all-reduce": "all-reduce",
    "reduce-scatter": "reduce-scatter",
    "all-to-all": "all-to-all",
    "ragged-all-to-all": "all-to-all",
    "collective-permute": "collective-permute",
    "collective-broadcast": "collective-broadcast",
}
_WORK = {"fusion", "dot", "convolution", "custom-call", "while", "call", "conditional"}
_FREE_CALLS = {
    "AllocateBuffer", "AsyncCollectiveStart", "AsyncCollectiveDone", "ConcatBitcast", "Sharding",
}  # fmt: skip


@dataclass(frozen=True)
class Op:
    """An instruction that runs by itself; flops and bytes are of one execution."""

    kind: str
    name: str
    flops: float
    bytes: float
    count: float  # executions a step


@dataclass(frozen=True)
class Collective:
    """bytes: of the whole buffer on one device, in one execution: what an all-gather gives, what
    the others are given. axes: the mesh axes it runs over. overlapped: other work runs between its
    start and its end."""

    kind: str
    axes: tuple[str, ...]
    bytes: int
    count: float  # executions a step
    group_size: int
    overlapped: bool
    name: str
    shape: tuple[int, ...]  # of the first such buffer

    @property
    def sent(self) -> float:
        """Bytes a device must send in one execution, over a ring of the group's n devices.

        (n-1)/n of the buffer, twice that for an all-reduce, all of it for a permute (Thakur et al.
        2005).
        """
        if self.kind in ("collective-permute", "collective-broadcast"):
            return float(self.bytes)
        part = (self.group_size - 1) / self.group_size * self.bytes
        return 2 * part if self.kind == "all-reduce" else part


@dataclass
class Program:
    """Of one device and one execution, loops multiplied out.

    flops: of products (dots, convolutions) and of kernels that kernels.py knows; elementwise work
    is left out. kernels: FLOPs of the latter by name. uncounted: custom calls that are not known,
    with how often they run. unknown_trips: loops whose number of rounds the text does not tell;
    they count once.
    """

    ops: list[Op] = field(default_factory=list)
    collectives: list[Collective] = field(default_factory=list)
    kernels: dict[str, float] = field(default_factory=dict)
    uncounted: dict[str, float] = field(default_factory=dict)
    unknown_trips: int = 0

    @property
    def flops(self) -> float:
        return sum(op.flops * op.count for op in self.ops)

    @property
    def bytes_moved(self) -> float:
        """To and from the device's main memory."""
        return sum(op.bytes * op.count for op in self.ops)

    def totals(self) -> list[Collective]:
        """The collectives added up by kind and axes, most bytes sent first; bytes and shape are
        those of the mean and of the largest."""
        merged: dict[tuple[str, tuple[str, ...]], list[Collective]] = {}
        for one in self.collectives:
            merged.setdefault((one.kind, one.axes), []).append(one)
        rows = []
        for group in merged.values():
            largest = max(group, key=lambda one: one.bytes)
            count = sum(one.count for one in group)
            mean = round(sum(one.bytes * one.count for one in group) / count) if count else 0
            rows.append(
                replace(
                    largest,
                    bytes=mean,
                    count=count,
                    overlapped=all(one.overlapped for one in group),
                )
            )
        return sorted(rows, key=lambda one: -one.sent * one.count)


def analyse(text: str, mesh: Mesh, bands: Sequence[Band] = ()) -> Program:
    """Counts the program that `compiled.as_text()` prints, compiled for the devices of `mesh`.

    bands: of the layers' attention: what a kernel skips is not in the text.

    Raises:
        ValueError: the text is no module of XLA's.
    """
    module = parse(text)
    program = Program()
    _Walk(module, mesh, bands, program).computation(module.entry, 1.0)
    return program


class _Walk:
    """Through everything that runs, with the number of times that it does."""

    def __init__(self, module: Module, mesh: Mesh, bands: Sequence[Band], program: Program):
        self.module, self.mesh, self.bands, self.program = module, mesh, bands, program

    def computation(self, inside: Computation, times: float) -> None:
        # channels of collectives that are spread over fusions
        asynchronous: set[str | None] = set()
        for instruction in inside:
            self.instruction(instruction, inside, times, asynchronous)

    def instruction(
        self,
        instruction: Instruction,
        inside: Computation,
        times: float,
        asynchronous: set[str | None],
    ) -> None:
        opcode = instruction.opcode
        if opcode == "while":
            rounds = trips(instruction, inside, self.module)
            self.program.unknown_trips += rounds is None
            body = self.module.computations[instruction.called("body") or ""]
            self.computation(body, times * (1 if rounds is None else rounds))
        elif opcode in ("call", "async-start"):
            name = instruction.called("to_apply") or instruction.called("calls") or ""
            self.computation(self.module.computations[name], times)
        elif opcode == "conditional":
            self.heaviest(instruction.branches(), times)
        elif opcode == "fusion":
            self.fusion(instruction, inside, times, asynchronous)
        elif opcode == "custom-call":
            self.custom_call(instruction, inside, times)
        else:
            if opcode.removesuffix("-start") in COLLECTIVES:
                overlapped = opcode.endswith("-start") and _works_meanwhile(instruction, inside)
                self.collective(instruction, inside, times, overlapped)
            elif opcode == "send" and (kind := between_slices(instruction.attributes)):
                self.transfer(kind, instruction, inside, times)
            flops = self.flops(instruction, inside)
            self.op(instruction, flops, instruction_bytes(instruction, inside), times)

    def op(self, instruction: Instruction, flops: float, moved: float, times: float) -> None:
        if flops or moved:
            self.program.ops.append(Op(instruction.opcode, instruction.name, flops, moved, times))

    def heaviest(self, branches: Sequence[str], times: float) -> None:
        """Of a conditional's branches the one with the most FLOPs, then bytes."""
        found = []
        for name in branches:
            program = Program()
            walk = _Walk(self.module, self.mesh, self.bands, program)
            walk.computation(self.module.computations[name], times)
            found.append(program)
        if not found:
            return
        most = max(found, key=lambda program: (program.flops, program.bytes_moved))
        self.program.ops += most.ops
        self.program.collectives += most.collectives
        for name, flops in most.kernels.items():
            _add(self.program.kernels, name, flops)
        for name, count in most.uncounted.items():
            _add(self.program.uncounted, name, count)
        self.program.unknown_trips += most.unknown_trips

    def flops(self, instruction: Instruction, inside: Computation) -> float:
        operands = [inside[name].shapes[0] for name in instruction.operands[:2]]
        if instruction.opcode == "dot":
            return dot_flops(instruction, operands[0])
        if instruction.opcode == "convolution":
            return convolution_flops(instruction, *operands)
        return 0.0

    def fusion(
        self,
        fusion: Instruction,
        inside: Computation,
        times: float,
        asynchronous: set[str | None],
    ) -> None:
        flops = 0.0
        for fused, part in self.fused(fusion):
            flops += self.flops(part, fused)
            if part.opcode in COLLECTIVES:
                self.fused_collective(fusion, part, fused, times, asynchronous)
        self.op(fusion, flops, fusion_bytes(fusion, inside, self.module), times)

    def fused(self, fusion: Instruction) -> list[tuple[Computation, Instruction]]:
        """Every instruction of a fusion and of those within it."""
        fused = self.module.computations[fusion.called("calls") or ""]
        found = []
        for part in fused:
            found += self.fused(part) if part.opcode == "fusion" else [(fused, part)]
        return found

    def fused_collective(
        self,
        fusion: Instruction,
        part: Instruction,
        fused: Computation,
        times: float,
        asynchronous: set[str | None],
    ) -> None:
        """TPU: a collective's start, its end and the work between are fusions, each with a copy of
        it; they count as one. An all-reduce of which each device keeps a part is a reduce-scatter.
        """
        targets = {call.attribute("custom_call_target") for call in fused}
        spread = '"async_collective_fusion_config"' in part.attributes
        spread |= bool(targets & {'"AsyncCollectiveStart"', '"AsyncCollectiveDone"'})
        if spread:
            channel = part.attribute("channel_id")
            if channel in asynchronous:
                return
            asynchronous.add(channel)
        kept = part.opcode == "all-reduce" and not spread and fusion.bytes < part.bytes
        self.collective(part, fused, times, spread, "reduce-scatter" if kept else None)

    def collective(
        self,
        instruction: Instruction,
        inside: Computation,
        times: float,
        overlapped: bool,
        kind: str | None = None,
    ) -> None:
        kind = kind or COLLECTIVES[instruction.opcode.removesuffix("-start")]
        groups = replica_groups(instruction.attributes, self.mesh.devices.size)
        pairs = source_target_pairs(instruction.attributes)
        operands = _operands(instruction, inside)
        size = sum(shape.bytes for shape in operands)
        shape = operands[0].dims if operands else ()
        width = len(groups[0]) if groups else 2
        if kind == "all-gather":
            size *= width
            shape = instruction.shapes[-1 if instruction.opcode.endswith("-start") else 0].dims
        if width == 1:
            return
        axes = axes_of(groups or pairs or [], dict(self.mesh.shape))
        self.program.collectives.append(
            Collective(kind, axes, size, times, width, overlapped, instruction.name, shape)
        )

    def transfer(self, kind: str, send: Instruction, inside: Computation, times: float) -> None:
        """A collective between slices, which the host carries out over the data-centre network."""
        slices = np.vectorize(slice_of)(self.mesh.devices)
        axes = tuple(
            name
            for i, name in enumerate(self.mesh.axis_names)
            if (np.diff(slices, axis=i) != 0).any()
        )
        buffer, width = inside[send.operands[0]].shapes[0], len(np.unique(slices))
        size = buffer.bytes * (width if kind == "all-gather" else 1)
        self.program.collectives.append(
            Collective(
                kind,
                axes,
                size,
                times,
                width,
                _works_meanwhile(send, inside),
                send.name,
                buffer.dims,
            )
        )

    def custom_call(self, call: Instruction, inside: Computation, times: float) -> None:
        name = kernels.name_of(call)
        if name in _FREE_CALLS:
            return
        operands = _operands(call, inside)
        cost = kernels.cost(call, operands, self.bands)
        if cost is None:
            _add(self.program.uncounted, name, times)
            moved = sum(shape.bytes for shape in (*operands, *call.shapes) if in_memory(shape))
            self.op(call, 0.0, moved, times)
        else:
            _add(self.program.kernels, cost.name, cost.flops * times)
            self.op(call, cost.flops, cost.bytes, times)


def between_slices(attributes: str) -> str | None:
    """The kind of collective that a `send` to libtpu's runtime for several slices stands for."""
    if '"xla_megascale_runtime"' not in attributes:
        return None
    found = re.search(r'_xla_megascale_transfer_type="(\w+)"', attributes)
    return found[1].lower().replace("_", "-") if found else None


def _add(totals: dict[str, float], name: str, value: float) -> None:
    totals[name] = totals.get(name, 0.0) + value


def _operands(instruction: Instruction, inside: Computation) -> list[Shape]:
    return [shape for name in instruction.operands for shape in inside[name].shapes]


def _works_meanwhile(start: Instruction, inside: Computation) -> bool:
    """Whether anything but bookkeeping is scheduled between `start` and what ends it."""
    between = False
    running = False
    for instruction in inside:
        if instruction is start:
            running = True
        elif running and start.name in instruction.operands:
            return between
        elif running and instruction.opcode in _WORK:
            between = True
    return between
