"""Which meshes, batches and remat policies fit a machine, and which of them is fastest.

Every mesh that the model divides over is judged by formula (memory.py, formulas.py, roofline.py):
what does not fit is left out, the rest is ranked by tokens a second. The formulas are rough, so the
first few are compiled, and what the compiler says ranks them in the end.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jax.sharding import Mesh

from nanojaxlm.accelerators import Chip
from nanojaxlm.config import Config
from nanojaxlm.devices import slice_of
from nanojaxlm.model.config import MixtureConfig
from nanojaxlm.model.partition import partition
from nanojaxlm.planning.formulas import count
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.links import Reach, reach
from nanojaxlm.planning.memory import Memory, estimate
from nanojaxlm.planning.roofline import Roofline, roofline
from nanojaxlm.sharding import MESH_AXES, MeshConfig, make_mesh

MARGIN = 0.95  # of the usable memory, that the formulas may fill
LONG = 16_384  # tokens of a row, from which on splitting it is considered
MAX_TENSOR, MAX_STAGES = 16, 16
REMATS = ("full", "attention", "qkv", "dots", "none")
ROWS_A_DEVICE = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32)
NEARLY = 0.98  # of the best speed: there the smaller batch, then the simpler mesh is better


@dataclass(frozen=True)
class Plan:
    """A config whose mesh is set, and what the formulas say of it."""

    config: Config
    memory: Memory
    roofline: Roofline
    model_flops: float  # of one device
    chip: Chip
    num_devices: int

    @property
    def mesh(self) -> MeshConfig:
        assert isinstance(self.config.mesh, MeshConfig)
        return self.config.mesh

    @property
    def fits(self) -> bool:
        return self.memory.peak <= MARGIN * self.chip.usable_bytes

    @property
    def tokens_per_second(self) -> float:
        lengths = self.config.data.lengths
        return self.config.data.batch_size * lengths.row / self.roofline.step

    @property
    def mfu(self) -> float:
        return self.roofline.mfu(self.model_flops, self.chip)

    @property
    def simplicity(self) -> tuple[float, ...]:
        """Smaller is simpler: fewer kinds of parallelism, and the plainer of them."""
        sizes = dict(zip(MESH_AXES, self.mesh.sizes, strict=True))
        used = [axis for axis in MESH_AXES if sizes[axis] != 1]
        return (len(used), *(sizes[axis] for axis in ("stage", "context", "tensor", "fsdp")))


class Machine(NamedTuple):
    """devices: of jax or of a topology. Reaches are looked up once for all plans of one mesh."""

    devices: Sequence[Any]
    chip: Chip
    meshes: dict[tuple[int, ...], Mesh]
    layouts: dict[MeshConfig, Layout]
    reaches: dict[tuple[tuple[int, ...], tuple[str, ...]], Reach]

    @classmethod
    def of(cls, devices: Sequence[Any], chip: Chip) -> "Machine":
        return cls(devices, chip, {}, {}, {})

    @property
    def num_slices(self) -> int:
        return len({slice_of(device) for device in self.devices})

    def mesh(self, config: MeshConfig) -> Mesh:
        if config.sizes not in self.meshes:
            self.meshes[config.sizes] = make_mesh(config, self.devices)
        return self.meshes[config.sizes]

    def layout(self, config: MeshConfig) -> Layout:
        if config not in self.layouts:
            tiled = self.chip.torus > 0
            self.layouts[config] = Layout.of(config, len(self.devices), tiled)
        return self.layouts[config]

    def reach(self, config: MeshConfig, axes: tuple[str, ...]) -> Reach:
        key = (config.sizes, axes)
        if key not in self.reaches:
            self.reaches[key] = reach(self.mesh(config), axes, self.chip)
        return self.reaches[key]


def meshes(config: Config, inventory: Inventory, machine: Machine) -> Iterator[MeshConfig]:
    """All meshes of the machine's devices that the model divides over; the batch is not looked at.

    Slices are replicas. A row is split where it is long, experts where there are some; with tensor
    parallelism the residual is split too.
    """
    for stage, data, fsdp, expert, context, tensor in _products(
        len(machine.devices) // machine.num_slices, 6
    ):
        mesh = MeshConfig(
            replica=machine.num_slices, stage=stage, data=data, fsdp=fsdp, expert=expert,
            context=context, tensor=tensor, sequence=tensor > 1,
        )  # fmt: skip
        if suits(config, mesh) and splits(config, inventory, machine.layout(mesh)):
            yield mesh


def suits(config: Config, mesh: MeshConfig) -> bool:
    """Whether the model and its rows are of the kind that the mesh's axes are for."""
    model, lengths = config.model, config.data.lengths
    stacks = [stack for stack in (model.encoder, model.decoder) if stack is not None]
    if mesh.stage > MAX_STAGES or mesh.tensor > MAX_TENSOR:
        return False
    if mesh.stage > 1:
        repeated = [partition(stack).repeats for stack in stacks]
        if any(repeats == 0 or repeats % mesh.stage for repeats in repeated):
            return False
    if mesh.expert > 1:
        last = [stack.layer(stack.num_layers - 1).feed_forward for stack in stacks]
        mixtures = [f.num_experts for f in last if isinstance(f, MixtureConfig)]
        if not mixtures or any(number % mesh.expert for number in mixtures):
            return False
    return mesh.context == 1 or max(lengths.encoder or 0, lengths.decoder or 0) >= LONG


def splits(config: Config, inventory: Inventory, layout: Layout) -> bool:
    """Whether every parameter and the rows' length divide evenly; the batch is not looked at."""
    between, lengths = layout.split("residual_length"), config.data.lengths
    if any(length % between for length in (lengths.encoder, lengths.decoder) if length):
        return False
    return all(
        size % layout.split(name) == 0
        for leaf in inventory.params
        for size, name in zip(leaf.shape, leaf.names, strict=True)
    )


def divides(config: Config, layout: Layout) -> bool:
    """Whether the rows of a (micro-)batch split evenly over a mesh."""
    rows = config.data.batch_size // config.training.accumulation
    return rows % layout.split("batch") == 0


def judge(
    config: Config, mesh: MeshConfig, inventory: Inventory, machine: Machine, fitting: bool = True
) -> Plan | None:
    """The plan of a config on a mesh; None where it does not fit and `fitting` asks for that."""
    chip, num_devices = machine.chip, len(machine.devices)
    config, layout = dataclasses.replace(config, mesh=mesh), machine.layout(mesh)
    memory = estimate(config, layout, inventory)
    if fitting and memory.peak > MARGIN * chip.usable_bytes:
        return None
    counts = count(config, layout, inventory)
    reaches = {sent.axes: machine.reach(mesh, sent.axes) for sent in counts.sent}
    bound = roofline(counts.work, counts.sent, reaches, chip)
    return Plan(config, memory, bound, counts.model_flops, chip, num_devices)


def plans(
    config: Config,
    machine: Machine,
    remats: Sequence[str] = REMATS,
    rows_a_device: Sequence[float] = ROWS_A_DEVICE,
    max_batch: int | None = None,
) -> list[Plan]:
    """What fits of all meshes, batches and remat policies, the best first.

    max_batch: rows. Of plans nearly as fast as the best, the smaller batch comes first, as a larger
    one costs learning (McCandlish et al. 2018), and then the simpler mesh.
    """
    inventory = Inventory.of(config)
    num_devices, accumulation = len(machine.devices), config.training.accumulation
    sizes = {round(rows * num_devices) * accumulation for rows in rows_a_device}
    sizes = sorted(s for s in sizes if s >= accumulation and s <= (max_batch or math.inf))
    found = []
    for mesh in meshes(config, inventory, machine):
        for remat in remats:
            for size in sizes:
                asked = with_remat(with_batch(config, size), remat)
                if not divides(asked, machine.layout(mesh)):
                    continue
                plan = judge(asked, mesh, inventory, machine)
                if plan is None:
                    break  # nor does a larger batch
                found.append(plan)
    return ranked(found)


def ranked(found: Sequence[Plan]) -> list[Plan]:
    """The fastest first; of those nearly as fast the smallest batch, then the simplest mesh."""
    rest = sorted(found, key=lambda plan: -plan.tokens_per_second)
    order = []
    while rest:
        least = NEARLY * rest[0].tokens_per_second
        near = [plan for plan in rest if plan.tokens_per_second >= least]
        best = min(near, key=lambda plan: (plan.config.data.batch_size, plan.simplicity))
        order.append(best)
        rest.remove(best)
    return order


def with_batch(config: Config, rows: int) -> Config:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=rows))


def with_remat(config: Config, remat: str) -> Config:
    """Of all stacks."""
    model = config.model
    stacks = {
        name: dataclasses.replace(stack, remat=remat)
        for name in ("encoder", "decoder")
        if (stack := getattr(model, name)) is not None
    }
    return dataclasses.replace(config, model=dataclasses.replace(model, **stacks))


def _products(number: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a number as a product of so many factors, in order."""
    if parts == 1:
        yield (number,)
        return
    for first in range(1, number + 1):
        if number % first == 0:
            for rest in _products(number // first, parts - 1):
                yield (first, *rest)
