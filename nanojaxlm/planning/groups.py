"""Which mesh axes a collective of a compiled program runs over."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

_MESH = re.compile(r"mesh\[([^\]]*)\](?:, ?device_ids=\((\[[^{]*)\))? \{([^}]*)\}")
_MESH_AXIS = re.compile(r"'([^']+)'=(\d+)")
_MESH_PART = re.compile(r"'?([^',:{} ]+)'?(?::\((\d+)\)(\d+))?")
_IOTA = re.compile(r"\[([\d,]+)\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?")
_LISTS = re.compile(r"\{((?:\{[\d, ]*\},? ?)*)\}")
_LIST = re.compile(r"\{([\d, ]*)\}")
Groups = Sequence[Sequence[int]]


def replica_groups(attributes: str, num_devices: int) -> Groups | None:
    """The device numbers of each group of `replica_groups=…`; None where there are none.

    {{0,1},{2,3}} lists them, and {} is all devices in one group; [2,4]<=[4,2]T(1,0) is
    arange(8).reshape(4, 2).transpose(1, 0).reshape(2, 4), a group a row; mesh['a'=2,'b'=4] {'b'} is
    the groups along axis b of a mesh, of which 'b':(2)2 is the part of b of 2 after a factor of 2;
    device_ids=([4,2]T(1,0)) between them is the mesh's devices, arange(8).reshape(4, 2).T in order.
    """
    _, found, value = attributes.partition("replica_groups=")
    if not found:
        return None
    if mesh := _MESH.match(value):
        return _of_mesh(mesh[1], mesh[2], mesh[3])
    if iota := _IOTA.match(value):
        return _iota(iota).tolist()
    if lists := _LISTS.match(value):
        groups = [[int(i) for i in ids.split(",")] for ids in _LIST.findall(lists[1]) if ids]
        return groups or [list(range(num_devices))]
    raise ValueError(f"replica_groups in a form that is not known: {value[:100]}")


def source_target_pairs(attributes: str) -> Groups | None:
    """[[source, target], …] of a collective-permute; None where there is no such attribute."""
    _, found, value = attributes.partition("source_target_pairs=")
    lists = _LISTS.match(value) if found else None
    if lists is None:
        return None
    return [[int(i) for i in pair.split(",")] for pair in _LIST.findall(lists[1])]


def axes_of(groups: Groups, mesh_shape: Mapping[str, int]) -> tuple[str, ...]:
    """The mesh axes along which members of a group differ, in the mesh's order.

    mesh_shape: sizes by name, outermost first, as in `mesh.shape`; device i of the program is the
    i-th of `mesh.devices.flat`.
    """
    sizes = tuple(mesh_shape.values())
    differs = np.zeros(len(sizes), bool)
    for group in groups:
        places = np.stack(np.unravel_index(np.asarray(group), sizes), axis=-1)
        differs |= (places != places[:1]).any(axis=0)
    return tuple(name for name, varies in zip(mesh_shape, differs, strict=True) if varies)


def _of_mesh(axes: str, devices: str | None, over: str) -> Groups:
    sizes = {name: int(size) for name, size in _MESH_AXIS.findall(axes)}
    ids = np.arange(math.prod(sizes.values()))
    if devices is not None:
        iota = _IOTA.fullmatch(devices)
        if iota is not None and ("<=" in devices or "T" in devices):
            ids = _iota(iota).ravel()
        else:
            ids = np.array(re.findall(r"\d+", devices), int)
    parts: list[tuple[str, int, int]] = []  # axis, the factor of it that comes before, size
    for name, before, size in _MESH_PART.findall(over):
        parts.append((name, int(before or 1), int(size or sizes[name])))
    shape, grouped = [], []
    for name, size in sizes.items():
        left = 1
        for _, before, width in sorted(part for part in parts if part[0] == name):
            if before > left:
                shape.append(before // left)
            grouped.append(len(shape))
            shape.append(width)
            left = before * width
        shape.append(size // left)
    alone = [axis for axis in range(len(shape)) if axis not in grouped]
    width = math.prod(shape[axis] for axis in grouped)
    return ids.reshape(shape).transpose(alone + grouped).reshape(-1, width).tolist()


def _iota(match: re.Match[str]) -> np.ndarray:
    to = [int(i) for i in match[1].split(",")]
    of = [int(i) for i in match[2].split(",")] if match[2] else to
    ids = np.arange(math.prod(of)).reshape(of)
    if match[3]:
        ids = ids.transpose([int(i) for i in match[3].split(",")])
    return ids.reshape(to) if match[2] else ids
