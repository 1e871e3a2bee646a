"""Parameters from a folder onto a mesh, one array after another.

The host holds one tensor and the shards of one array at a time, whatever the model's size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from nanojaxlm.checkpoint import disk_paths
from nanojaxlm.interop.family import Part, Tensor, to_ours
from nanojaxlm.interop.folder import Folder
from nanojaxlm.model.stack import SCANNED
from nanojaxlm.state import path_name

ALIGNMENT = 64  # bytes; from there XLA takes an array on the CPU without a copy


class Block(NamedTuple):
    """Where a block goes: the array's entry [at], in which the part's axes follow."""

    at: tuple[int, ...]  # of the layer, the expert, where there are such axes
    tensor: Tensor
    part: Part


Places = Mapping[str, Sequence[tuple[Tensor, Part]]]


def places_of(tensors: Sequence[Tensor]) -> dict[str, list[tuple[Tensor, Part]]]:
    """{our path: the blocks that it is made of}: one, or one an expert."""
    places: dict[str, list[tuple[Tensor, Part]]] = {}
    for tensor in tensors:
        for part in tensor.parts:
            places.setdefault(part.path, []).append((tensor, part))
    return places


def check_places(places: Places, abstract: Any) -> None:
    """Raises ValueError unless these are exactly the arrays of `abstract` (on-disk layout), each
    whole: then the family's table is wrong, or lags behind the model."""
    shapes = leaves_by_path(abstract)
    if places.keys() != shapes.keys():
        raise ValueError(
            f"the family's tensors do not make the model's arrays: without a tensor "
            f"{sorted(shapes.keys() - places.keys())}, without an array "
            f"{sorted(places.keys() - shapes.keys())}"
        )
    for path, leaf in shapes.items():
        experts = [part.expert for _, part in places[path]]
        whole = experts == [None] or sorted(e for e in experts if e is not None) == list(
            range(leaf.shape[0])
        )
        of_experts = () if experts == [None] else leaf.shape[:1]
        for tensor, part in places[path]:
            if not whole or of_experts + part.shape != leaf.shape:
                raise ValueError(
                    f"{path} of shape {leaf.shape} is not what {tensor.name} gives: {part}"
                )


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """{"decoder/layer_0/…/kernel": leaf}"""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def read_on_disk_layout(folder: Folder, places: Places, abstract: Any) -> Any:
    """All parameters on the mesh of `abstract`, as a checkpoint lays them out.

    abstract: nested dicts of ShapeDtypeStructs with shardings; float32.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _read_array(folder, _numbered((), places[path_name(path)]), leaf),
        abstract,
    )


def read_params(folder: Folder, places: Places, abstract: Any) -> Any:
    """All parameters on the mesh of `abstract`, as the model takes them (scanned layers stacked).

    abstract: the parameters' tree of ShapeDtypeStructs with shardings; float32.
    """
    blocks = blocks_of(places, abstract)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _read_array(folder, blocks[path_name(path)], leaf), abstract
    )


def rounded(params: Any, places: Places, dtypes: Mapping[str, str]) -> Any:
    """The parameters with the numbers that tensors of these types hold, in float32 again."""
    blocks = blocks_of(places, params)

    def round_leaf(path: Any, leaf: jax.Array) -> jax.Array:
        own = blocks[path_name(path)]
        if all(dtypes[block.tensor.name] == "float32" for block in own):
            return leaf
        value = np.array(leaf)
        for at, tensor, _ in own:
            value[at] = value[at].astype(dtypes[tensor.name]).astype(value.dtype)
        return jax.device_put(value, leaf.sharding)

    return jax.tree_util.tree_map_with_path(round_leaf, params)


def blocks_of(places: Places, params: Any) -> dict[str, list[Block]]:
    """{path in memory: the blocks that the array is made of}; `params` may be abstract."""
    blocks = {}
    for name, paths in disk_paths(params).items():
        stacked = SCANNED in name.split("/")
        blocks[name] = [
            block
            for i, path in enumerate(paths)
            for block in _numbered((i,) if stacked else (), places[path])
        ]
    return blocks


def _numbered(above: tuple[int, ...], places: Sequence[tuple[Tensor, Part]]) -> list[Block]:
    return [
        Block(above if part.expert is None else (*above, part.expert), tensor, part)
        for tensor, part in places
    ]


def _read_array(folder: Folder, blocks: Sequence[Block], leaf: Any) -> jax.Array:
    """One array on the devices that its sharding names; each block is read once."""
    indices = leaf.sharding.addressable_devices_indices_map(leaf.shape)
    ranges = {
        device: tuple(
            range(*where.indices(size)) for where, size in zip(index, leaf.shape, strict=True)
        )
        for device, index in indices.items()
    }
    shards: dict[tuple[range, ...], np.ndarray] = {}  # devices may hold the same one
    for where in ranges.values():
        if where not in shards:
            shards[where] = aligned(tuple(map(len, where)), leaf.dtype)
    for at, tensor, part in blocks:
        # zip stops at the axes that `at` numbers: the layer's, the expert's
        takers = [
            where for where in shards if all(i in one for i, one in zip(at, where, strict=False))
        ]
        if not takers:  # another process holds it
            continue
        ours = to_ours(part, folder.read(tensor.name, part.index))
        for where in takers:
            to = tuple(i - one.start for i, one in zip(at, where, strict=False))
            rest = tuple(slice(one.start, one.stop) for one in where[len(at) :])
            shards[where][to] = ours[rest]
    return jax.make_array_from_single_device_arrays(
        leaf.shape,
        leaf.sharding,
        [jax.device_put(shards[where], device) for device, where in ranges.items()],
    )


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array with undefined values that starts at a multiple of ALIGNMENT."""
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + num_bytes].view(dtype).reshape(shape)
