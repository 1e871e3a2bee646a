"""On how few chips a model trains, and what fills them: by the formulas of planning/memory.py, for
chips that are not here; nothing is compiled."""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from nanojaxlm.accelerators import Chip
from nanojaxlm.config import Config
from nanojaxlm.errors import UserError
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.memory import estimate
from nanojaxlm.planning.search import (
    MARGIN,
    MAX_STAGES,
    MAX_TENSOR,
    splits,
    suits,
    with_batch,
    with_remat,
)
from nanojaxlm.sharding import MeshConfig


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A config on a mesh of chips. config: with the mesh, batch, micro-batches and remat, as the
    compiler may have it. parts: bytes of one chip by part at the moment when it holds most; their
    sum is peak_bytes. usable_bytes: what XLA lets a program have of a chip.
    """

    chip: Chip
    chips: int
    mesh: MeshConfig
    config: Config
    parts: dict[str, float]
    peak_bytes: float
    usable_bytes: float

    @property
    def fits(self) -> bool:
        """With the 5% to spare that formulas need."""
        return self.peak_bytes <= MARGIN * self.usable_bytes

    @property
    def rows_a_chip(self) -> float:
        """Of one micro-batch; below 1 where several chips share a row."""
        rows = self.config.data.batch_size / self.config.training.accumulation
        return rows / self.chips


def smallest_mesh(config: Config, chip: Chip, max_chips: int = 65_536) -> Placement:
    """The least number of chips, of those that there are slices and hosts of, on which the training
    state and a step fit; where none does, the largest placement, whose `fits` is False.

    The batch stays as it is: what does not fit at once is accumulated over micro-batches.

    Raises:
        UserError: max_chips is less than the least number that can be had.
    """
    inventory = Inventory.of(config)
    alone = Layout.of(MeshConfig(), 1, chip.torus > 0)
    state = sum(leaf.bytes(alone) for leaf in (*inventory.params, *inventory.optimizer))
    placement = None
    numbers = list(itertools.takewhile(lambda n: n <= max_chips, _sizes(chip)))
    if not numbers:
        raise UserError(
            f"{max_chips} chips: {chip.name} comes in {next(_sizes(chip))} or more; give as many"
        )
    for chips in numbers:
        if state / chips > chip.usable_bytes and chips < numbers[-1]:
            continue  # hopeless even with all of it split
        placement = _place(config, inventory, chip, chips)
        if placement.fits:
            return placement
    assert placement is not None
    return placement


def place(config: Config, chip: Chip, chips: int) -> Placement:
    """The simplest mesh of so many chips on which the config fits, with as few micro-batches as do;
    where none fits, that which needs least memory.

    Where the batch cannot be split over so many chips, it is the next larger one that can.

    Raises:
        UserError: chips < 1.
    """
    if chips < 1:
        raise UserError(f"{chips} chips: training needs 1 or more")
    return _place(config, Inventory.of(config), chip, chips)


def _place(config: Config, inventory: Inventory, chip: Chip, chips: int) -> Placement:
    layouts = _layouts(config, inventory, chip, chips)
    rows, splits_batch = config.data.batch_size, [layout.split("batch") for _, layout in layouts]
    if all(rows % split for split in splits_batch):
        least = min(splits_batch)
        config = with_batch(_with_accumulation(config, 1), -(-rows // least) * least)
    best: Placement | None = None
    for mesh, layout in layouts:
        for asked in _ways(dataclasses.replace(config, mesh=mesh), layout):
            memory = estimate(asked, layout, inventory)
            if best is None or memory.peak < best.peak_bytes:
                best = Placement(
                    chip=chip, chips=chips, mesh=mesh, config=asked, parts=memory.parts,
                    peak_bytes=memory.peak, usable_bytes=chip.usable_bytes,
                )  # fmt: skip
                if best.fits:
                    return best
    assert best is not None  # all chips along data divide any model
    return best


def _ways(config: Config, layout: Layout) -> Iterator[Config]:
    """The config with ever smaller micro-batches; then with full remat too."""
    rows, split = config.data.batch_size, layout.split("batch")
    for remat in dict.fromkeys((config.model.last.remat, "full")):
        for number in range(1, rows // split + 1):
            if rows // number % split == 0 and not any(n % number for n in config.data.sizes.each):
                yield with_remat(_with_accumulation(config, number), remat)


def _with_accumulation(config: Config, number: int) -> Config:
    training = dataclasses.replace(config.training, accumulation=number)
    return dataclasses.replace(config, training=training)


def _layouts(
    config: Config, inventory: Inventory, chip: Chip, chips: int
) -> list[tuple[MeshConfig, Layout]]:
    """The meshes over which the model divides, the simplest first: no stages, whole rows, no
    experts' exchange, little tensor parallelism, and rather the state split than copied."""

    def complexity(pair: tuple[MeshConfig, Layout]) -> tuple[int, ...]:
        mesh, _ = pair
        return mesh.stage, mesh.context, mesh.expert, mesh.tensor, mesh.data

    found = [
        (mesh, layout)
        for mesh in _meshes(chip, chips)
        if suits(config, mesh)
        and splits(config, inventory, layout := Layout.of(mesh, chips, chip.torus > 0))
    ]
    return sorted(found, key=complexity)


def _meshes(chip: Chip, chips: int) -> Iterator[MeshConfig]:
    """Of a slice's chips; slices are copies or, where those are too large, stages. Tensor
    parallelism stays within what a switch joins, a host of GPUs."""
    slices = next(n for n in _divisors(chips) if chips // n <= _slice_chips(chip))
    most_tensor = MAX_TENSOR if chip.torus else chip.chips_per_host
    for stage, tensor in itertools.product(_divisors(slices), _divisors(chips // slices)):
        if stage > MAX_STAGES or tensor > most_tensor:
            continue
        for expert in _divisors(chips // slices // tensor):
            for context in _divisors(chips // slices // tensor // expert):
                rest = chips // slices // tensor // expert // context
                for data in _divisors(rest):
                    yield MeshConfig(
                        replica=slices // stage, stage=stage, data=data, fsdp=rest // data,
                        expert=expert, context=context, tensor=tensor, sequence=tensor > 1,
                    )  # fmt: skip


def _slice_chips(chip: Chip) -> int:
    """The most chips whose links join them: a pod of v5e or v6e is one torus of 16 x 16; those of
    three dimensions (8960 chips of v5p) and networks of GPUs are taken as without end."""
    return chip.ring**2 if chip.torus == 2 else sys.maxsize


def _sizes(chip: Chip) -> Iterator[int]:
    """Powers of two. Of v5e and v6e there is no slice of 2 chips, of v4 and v5p none of fewer than
    a host's 4 (cloud.google.com/tpu/docs, read 2026-11)."""
    missing = {2: (2,), 3: (1, 2)}.get(chip.torus, ())
    return (n for exponent in itertools.count() if (n := 2**exponent) not in missing)


@cache
def _divisors(number: int) -> tuple[int, ...]:
    return tuple(n for n in range(1, number + 1) if number % n == 0)
