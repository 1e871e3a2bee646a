"""How fast the devices along axes of a mesh exchange data, from where they stand in the machine."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from nanojaxlm.accelerators import Chip
from nanojaxlm.devices import slice_of


class Reach(NamedTuple):
    """Of the devices of one group. bytes_per_second: what one sends over its links; None where all
    of the group lies in one place of the network, or in several only. extent: devices along the
    longest line of them. parts: places that only the network joins (slices, hosts of GPUs)."""

    bytes_per_second: float
    extent: int
    parts: int
    network_bytes_per_second: float


def reach(mesh: Mesh, axes: Sequence[str], chip: Chip) -> Reach:
    """Of the group that these mesh axes span, by the one of the first device.

    On a torus each dimension along which the group extends gives two links where it closes to a
    ring, else one (the ends of a line have no other), divided by the distance between neighbours of
    the group, since other groups lie between and use the same links. Where devices tell no
    coordinates, they meet in a switch.
    """
    places = tuple(slice(None) if axis in axes else 0 for axis in mesh.axis_names)
    group = np.atleast_1d(mesh.devices[places]).reshape(-1)
    parts: dict[int, list] = {}
    for device in group:
        parts.setdefault(_part(device, chip), []).append(device)
    inner = max(parts.values(), key=len)
    speed, extent = _within(inner, mesh, chip)
    return Reach(speed, extent, len(parts), chip.network_bytes_per_second)


def _part(device, chip: Chip) -> int:
    """The slice or, of GPUs, the host that a device is in."""
    if chip.torus:
        return slice_of(device)
    return device.process_index if device.platform != "cpu" else 0


def _within(group: Sequence, mesh: Mesh, chip: Chip) -> tuple[float, int]:
    """Bytes a second over the links of a device, and the group's longest extent."""
    link = chip.link_bytes_per_second
    if len(group) == 1 or not hasattr(group[0], "coords") or not chip.torus:
        return link, len(group)
    own = np.array([device.coords for device in group])
    here = [d for d in mesh.devices.flat if _part(d, chip) == _part(group[0], chip)]
    whole = np.array([device.coords for device in here])
    speed, longest, boxed = 0.0, 1, 1
    for dimension in range(own.shape[1]):
        at = np.unique(own[:, dimension])
        if len(at) == 1:
            continue
        size = len(np.unique(whole[:, dimension]))
        closes = len(at) == size and size % chip.ring == 0
        stride = int(np.diff(at).min())
        speed += link * (2 if closes else 1) / stride
        longest, boxed = max(longest, len(at)), boxed * len(at)
    if boxed != len(group):  # no box: at worst all its traffic passes one link
        return link, len(group)
    return speed or link, longest


def seconds(kind: str, size: float, group_size: int, where: Reach) -> tuple[float, float]:
    """Of one collective over links and over the network. size: bytes of the whole buffer on one
    device, as hlo.Collective has it.

    Over a ring of n devices a device sends (n-1)/n of what an all-gather gives or a reduce-scatter
    takes, twice that in an all-reduce (Thakur et al. 2005); a permute sends the buffer; in an
    all-to-all each of n parts goes n/4 of a ring on average, over both ways at once: n/4 buffers
    a device's links (jax-ml.github.io/scaling-book/sharding). Where the network joins p parts, each
    device sends of its share of the part's result (p-1)/p over it.
    """
    inner = max(1, group_size // where.parts)
    between = (where.parts - 1) / where.parts
    times = 2.0 if kind == "all-reduce" else 1.0
    speed, network = where.bytes_per_second, where.network_bytes_per_second
    if kind in ("collective-permute", "collective-broadcast"):
        return (0.0, size / network) if where.parts > 1 else (size / speed, 0.0)
    if kind == "all-to-all":
        within = size * max(1.0, where.extent / 4) / speed if inner > 1 else 0.0
        return within, size * between / network
    over_links = times * size * (inner - 1) / inner / speed
    return over_links, times * size / inner * between / network
