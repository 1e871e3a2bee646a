"""The least time that a step can take on a chip, from what it computes, moves and sends.

    work      the sum over operations of max(FLOPs / peak, bytes / memory bandwidth): one operation
              is bound by one or the other, and they follow one another
    links     the sum over collectives of their time on the chip's links (links.py)
    network   the same on the data-centre network
    exposed   the part of both that no other work runs beside: the program waits for it
    step      max(work + exposed, links, network)

The chips' figures are their makers' peaks (accelerators.py), and nothing else costs time: no
latency, no half-filled matrix unit, no vector work. So this is a bound, which real runs stay below;
what share of it they reach is measured (published: 0.5 to 0.7 of peak).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from jax.sharding import Mesh

from nanojaxlm.accelerators import Chip
from nanojaxlm.planning.links import Reach, reach, seconds


class Exchange(Protocol):
    """hlo.Collective, or what a formula says of one."""

    @property
    def kind(self) -> str: ...
    @property
    def axes(self) -> tuple[str, ...]: ...
    @property
    def bytes(self) -> float: ...
    @property
    def count(self) -> float: ...
    @property
    def group_size(self) -> int: ...
    @property
    def overlapped(self) -> bool: ...


class Operation(Protocol):
    """hlo.Op, or what a formula says of several."""

    @property
    def flops(self) -> float: ...
    @property
    def bytes(self) -> float: ...
    @property
    def count(self) -> float: ...


class Roofline(NamedTuple):
    """Seconds a step. compute, memory: of all FLOPs and of all bytes alone, for comparison."""

    compute: float
    memory: float
    work: float
    links: float
    network: float
    exposed: float

    @property
    def step(self) -> float:
        return max(self.work + self.exposed, self.links, self.network)

    @property
    def bound_by(self) -> str:
        """What takes longest: compute, memory, links or network."""
        work = "compute" if self.compute >= self.memory else "memory"
        if max(self.links, self.network) < self.work:
            return work
        return "links" if self.links >= self.network else "network"

    def mfu(self, model_flops: float, chip: Chip) -> float:
        """Of the peak, what is the model's own; model_flops: of one device's part of the step."""
        return model_flops / chip.flops_per_second / self.step


def roofline(
    operations: Iterable[Operation],
    exchanges: Iterable[Exchange],
    reaches: Mesh | Mapping[tuple[str, ...], Reach],
    chip: Chip,
) -> Roofline:
    """Of one device's program: `roofline(program.ops, program.collectives, mesh, chip)`.

    reaches: of all axes that exchanges go over, or the mesh to look them up on.
    """
    flops = moved = work = 0.0
    for one in operations:
        flops += one.flops * one.count
        moved += one.bytes * one.count
        compute = one.flops / chip.flops_per_second
        work += max(compute, one.bytes / chip.memory_bytes_per_second) * one.count
    links = network = exposed = 0.0
    exchanges = list(exchanges)
    if isinstance(reaches, Mesh):
        mesh = reaches
        reaches = {axes: reach(mesh, axes, chip) for axes in {one.axes for one in exchanges}}
    for one in exchanges:
        over_links, over_network = seconds(one.kind, one.bytes, one.group_size, reaches[one.axes])
        links += over_links * one.count
        network += over_network * one.count
        if not one.overlapped:
            exposed += (over_links + over_network) * one.count
    return Roofline(
        compute=flops / chip.flops_per_second,
        memory=moved / chip.memory_bytes_per_second,
        work=work,
        links=links,
        network=network,
        exposed=exposed,
    )
