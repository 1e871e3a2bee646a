"""What a compiled step would do on its chips: the figures a decision needs, for people and JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rich.console import Console
from rich.table import Table

from nanojaxlm.accelerators import Chip
from nanojaxlm.config import Config
from nanojaxlm.metrics import train_flops_per_row
from nanojaxlm.planning import memory as analytic
from nanojaxlm.planning.compilation import CompiledStep
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.roofline import roofline
from nanojaxlm.sharding import MeshConfig

GiB = 2**30


@dataclass(frozen=True)
class Traffic:
    """A kind of collective over some axes: executions a step, bytes a chip sends in all of them."""

    kind: str
    axes: tuple[str, ...]
    count: float
    bytes_sent: float
    overlapped: bool


@dataclass(frozen=True)
class Estimate:
    """From the roofline (roofline.py): a bound that real runs stay below. Seconds of one step."""

    compute_seconds: float
    memory_seconds: float
    work_seconds: float
    links_seconds: float
    network_seconds: float
    exposed_seconds: float
    step_seconds: float
    bound_by: str
    mfu: float
    tokens_per_second: float  # all chips


@dataclass(frozen=True)
class Report:
    """Of one chip where nothing else is said; bytes, FLOPs and times of one step.

    memory: compiled; None where the program did not fit. analytic: by formula (memory.py), by part.
    fits: None where there is no chip to compare with (a CPU). model_flops: forward and backward,
    nothing recomputed; compiled_flops: of the products in the program, Pallas kernels' too.
    """

    topology: str
    chip: str
    chips: int
    mesh: dict[str, int]
    flags: tuple[str, ...]  # what makes the config this one
    rows: int  # a step, over all chips
    tokens: int  # a step, over all chips
    compile_seconds: float
    usable_bytes: int | None
    memory: dict[str, int] | None
    analytic: dict[str, float]
    needed_bytes: float | None
    fits: bool | None
    verdict: str
    model_flops: float
    compiled_flops: float | None
    bytes_moved: float | None
    kernels: dict[str, float]
    uncounted: dict[str, float]
    unknown_trips: int
    unread: str | None  # why the program's text gave no figures
    collectives: tuple[Traffic, ...]
    estimate: Estimate | None

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def report_on(step: CompiledStep) -> Report:
    """Every figure that can be had of it."""
    config, topology, chip = step.config, step.topology, step.topology.figures
    lengths = config.data.lengths
    rows = config.data.batch_size
    tokens = rows * config.data.sequence_length
    flops = train_flops_per_row(config.model, lengths.encoder or 0, lengths.decoder or 0)
    model_flops = flops * rows / topology.num_devices
    assert isinstance(config.mesh, MeshConfig)
    layout = Layout.of(config.mesh, topology.num_devices, tiled=topology.platform == "tpu")
    formula = analytic.estimate(config, layout, Inventory.of(config))
    needed = step.memory.peak if step.memory else step.shortage and step.shortage.needed
    program = step.program
    traffic = tuple(
        Traffic(one.kind, one.axes, one.count, one.sent * one.count, one.overlapped)
        for one in (program.totals() if program else ())
    )
    return Report(
        topology=str(topology),
        chip=topology.chip,
        chips=topology.num_devices,
        mesh={axis: size for axis, size in step.mesh.shape.items() if size > 1},
        flags=flags_of(config),
        rows=rows,
        tokens=tokens,
        compile_seconds=step.seconds,
        usable_bytes=chip.usable_bytes if chip else None,
        memory=asdict(step.memory) | {"peak": step.memory.peak} if step.memory else None,
        analytic=formula._asdict() | {"peak": formula.peak},
        needed_bytes=needed,
        fits=fits(step, chip),
        verdict=verdict(step, chip, formula),
        model_flops=model_flops,
        compiled_flops=program.flops if program else None,
        bytes_moved=program.bytes_moved if program else None,
        kernels=program.kernels if program else {},
        uncounted=program.uncounted if program else {},
        unknown_trips=program.unknown_trips if program else 0,
        unread=step.unread,
        collectives=traffic,
        estimate=_estimate(step, chip, model_flops, tokens) if program and chip else None,
    )


def flags_of(config: Config) -> tuple[str, ...]:
    """Mesh, batch and remat as --config.… overrides; what is as by default is left out."""
    assert isinstance(config.mesh, MeshConfig)
    found = {}
    for field in fields(MeshConfig):
        value = getattr(config.mesh, field.name)
        if value != field.default:
            found[f"mesh.{field.name}"] = value
    found["data.batch_size"] = config.data.batch_size
    if config.training.accumulation > 1:
        found["training.accumulation"] = config.training.accumulation
    for name in ("encoder", "decoder"):
        stack = getattr(config.model, name)
        if stack is not None:
            found[f"model.{name}.remat"] = stack.remat
    return tuple(f"--config.{name}={value}" for name, value in found.items())


def fits(step: CompiledStep, chip: Chip | None) -> bool | None:
    if step.memory is None:
        return False
    return None if chip is None else step.memory.peak <= chip.usable_bytes


def verdict(step: CompiledStep, chip: Chip | None, formula: analytic.Memory) -> str:
    """One line: whether it fits, by how much it does not, and what would help most."""
    if chip is None:
        return "compiled; a CPU has no memory to fit into that is known here"
    usable = chip.usable_bytes
    if fits(step, chip):
        assert step.memory is not None
        return f"fits: {_gib(step.memory.peak)} of {_gib(usable)} on each {chip.name}"
    needed = step.memory.peak if step.memory else step.shortage and step.shortage.needed
    short = f", short by {_gib(needed - usable)} of {_gib(usable)}" if needed else ""
    return f"does not fit{short} on each {chip.name}; try {advice(step, formula)}"


def advice(step: CompiledStep, formula: analytic.Memory) -> str:
    """What makes the largest part smaller, by the formulas of memory.py."""
    config, mesh = step.config, step.mesh
    stacks = [stack for stack in (config.model.decoder, config.model.encoder) if stack]
    name = "decoder" if config.model.decoder else "encoder"
    state = formula.parameters + formula.optimizer + formula.gradients + formula.copies
    kept = formula.kept + formula.layer
    tries: list[str] = []
    if kept >= max(state, formula.head):
        if stacks[0].remat not in ("full", "stage"):
            tries.append(f"--config.model.{name}.remat=full")
        parts = math.prod(mesh.shape[axis] for axis in ("replica", "data", "fsdp", "expert"))
        if config.data.batch_size // config.training.accumulation > parts:
            doubled = 2 * config.training.accumulation
            tries.append(f"--config.training.accumulation={doubled} or a smaller batch_size")
        tries.append("more of config.mesh.tensor with sequence, or of config.mesh.context")
    elif formula.head > state:
        shorter = max(1, (config.loss.chunk_length or 128) // 2)
        tries.append(f"--config.loss.chunk_length={shorter}")
    else:
        if mesh.shape["data"] > 1:
            tries.append(f"--config.mesh.fsdp={mesh.shape['data'] * mesh.shape['fsdp']}")
        if getattr(config.optimizer, "moments", "") == "float32":
            tries.append("--config.optimizer.moments=bfloat16")
        tries.append("more chips")
    return ", ".join(tries[:-1]) + (" or " if len(tries) > 1 else "") + tries[-1]


def show(report: Report, console: Console) -> None:
    """In the terminal."""
    mesh = mesh_words(report.mesh)
    title = f"{report.topology}: {mesh}, {report.rows} rows, {report.tokens:,} tokens a step"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    for row in _memory_rows(report) + _work_rows(report):
        table.add_row(*row)
    console.print(table)
    if report.collectives:
        console.print(_traffic_table(report))
    if report.uncounted:
        listed = ", ".join(f"{name} ({count:.0f})" for name, count in report.uncounted.items())
        console.print(f"calls whose FLOPs are not counted: {listed}", highlight=False)
    if report.unread:
        console.print(f"the program cannot be read: {report.unread}", highlight=False)
    if report.unknown_trips:
        console.print(f"{report.unknown_trips} loops of unknown length are counted once")
    console.print(report.verdict, style="green" if report.fits else "", highlight=False)


def _memory_rows(report: Report) -> list[tuple[str, str, str]]:
    rows = []
    if report.memory is not None:
        notes = {
            "argument": "state and batch",
            "output": "",
            "alias": "of the output, in the arguments' place",
            "temporary": "activations, gradients, buffers",
            "code": "the program",
            "host": "in the host's memory",
            "peak": "argument + output - alias + temporary + code",
        }
        for name, note in notes.items():
            if report.memory[name] or name not in ("host", "code"):
                rows.append((f"{name} bytes", _gib(report.memory[name]), note))
    elif report.needed_bytes:
        rows.append(("needed bytes", _gib(report.needed_bytes), "as XLA says"))
    largest = sorted(
        ((part, size) for part, size in report.analytic.items() if part != "peak"),
        key=lambda item: -item[1],
    )
    parts = ", ".join(f"{part} {_gib(size)}" for part, size in largest[:3])
    rows.append(("analytic peak", _gib(report.analytic["peak"]), parts))
    if report.usable_bytes:
        rows.append(("usable bytes", _gib(report.usable_bytes), f"of a {report.chip}"))
    return rows


def _work_rows(report: Report) -> list[tuple[str, str, str]]:
    rows = [("model FLOPs", _tera(report.model_flops), "forward and backward, nothing twice")]
    if report.compiled_flops is not None:
        kernels = sum(report.kernels.values())
        note = f"{_tera(kernels)} of them in Pallas kernels" if kernels else "of products"
        rows.append(("compiled FLOPs", _tera(report.compiled_flops), note))
    if report.bytes_moved is not None:
        rows.append(("bytes moved", _gib(report.bytes_moved), "to and from the chip's memory"))
    if report.estimate is not None:
        e = report.estimate
        parts = (
            f"compute {_seconds(e.compute_seconds)}, memory {_seconds(e.memory_seconds)}, links "
            f"{_seconds(e.links_seconds)}, network {_seconds(e.network_seconds)}, not hidden "
            f"{_seconds(e.exposed_seconds)}"
        )
        rows.append(("step, at least", _seconds(e.step_seconds), parts))
        rows.append(("MFU, at most", f"{100 * e.mfu:.1f}%", f"bound by {e.bound_by}"))
        each = e.tokens_per_second / report.chips
        rows.append(("tokens/s, at most", f"{e.tokens_per_second:,.0f}", f"{each:,.0f} a chip"))
    return rows


def _traffic_table(report: Report) -> Table:
    table = Table("collective", "over", "a step", "bytes sent a chip", "beside other work")
    for one in report.collectives:
        over = ", ".join(one.axes) or "itself"
        overlapped = "yes" if one.overlapped else "not all"
        table.add_row(one.kind, over, f"{one.count:,.0f}", _gib(one.bytes_sent), overlapped)
    return table


def _estimate(step: CompiledStep, chip: Chip, model_flops: float, tokens: int) -> Estimate:
    assert step.program is not None
    bound = roofline(step.program.ops, step.program.collectives, step.mesh, chip)
    return Estimate(
        compute_seconds=bound.compute,
        memory_seconds=bound.memory,
        work_seconds=bound.work,
        links_seconds=bound.links,
        network_seconds=bound.network,
        exposed_seconds=bound.exposed,
        step_seconds=bound.step,
        bound_by=bound.bound_by,
        mfu=bound.mfu(model_flops, chip),
        tokens_per_second=tokens / bound.step,
    )


def _gib(size: float) -> str:
    return f"{size / GiB:,.2f} GiB" if size >= GiB / 100 else f"{size / 2**20:,.2f} MiB"


def _tera(flops: float) -> str:
    return f"{flops / 1e12:,.2f} T" if flops >= 1e10 else f"{flops / 1e9:,.2f} G"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{1000 * seconds:,.1f} ms"


def mesh_words(sizes: Mapping[str, int]) -> str:
    """fsdp 4 x context 16, of the axes of more than one device."""
    return " x ".join(f"{axis} {n}" for axis, n in sizes.items() if n > 1) or "one device"
