"""The arrays that a training state consists of, and what a device holds of each on any mesh: shapes
only, no devices, so that many meshes can be judged in an instant."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nanojaxlm.config import Config
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, Named, Names, Rules, axes_of, even_axes
from nanojaxlm.state import parameter_boxes, parameter_of, path_keys

LANES = 128  # of a TPU's vector registers: the last axis of an array is padded to a multiple
SUBLANE_BYTES = 32  # the axis before it, to a multiple of 32 bytes' worth of rows


@dataclass(frozen=True)
class Layout:
    """sizes: devices along each of MESH_AXES. tiled: arrays are padded as a TPU does."""

    sizes: Mapping[str, int]
    rules: Rules
    tiled: bool = True

    @classmethod
    def of(cls, mesh: MeshConfig, num_devices: int, tiled: bool = True) -> "Layout":
        """The mesh over so many devices, which fill the axis that is -1.

        Raises:
            UserError: the sizes do not multiply to the number of devices.
        """
        return cls(mesh.over(num_devices), mesh.rules, tiled)

    @property
    def num_devices(self) -> int:
        return math.prod(self.sizes.values())

    @cached_property
    def _axes(self) -> dict[str | None, tuple[str, ...]]:
        found: dict[str | None, tuple[str, ...]] = {None: ()}
        for name in self.rules:
            axes = axes_of(name, self.rules)
            found[name] = tuple(axis for axis in axes if self.sizes[axis] > 1)
        return found

    @cached_property
    def known(self) -> dict["Leaf", int]:
        """Bytes of arrays, each computed once: a search asks for them again and again."""
        return {}

    def axes(self, name: str | None) -> tuple[str, ...]:
        """The mesh axes of more than one device that split a logical axis."""
        return self._axes[name]

    def split(self, *names: str | None) -> int:
        """Into how many parts these logical axes are split, together."""
        return math.prod(self.sizes[axis] for name in names for axis in self._axes[name])


class Leaf(NamedTuple):
    """An array of the state. names: the logical name of each axis."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    itemsize: int
    names: Names

    def shard(self, layout: Layout, whole: Sequence[str] = ()) -> tuple[int, ...]:
        """The shape of a device's part. whole: mesh axes over which it has been gathered.

        Axes that do not split evenly, of the scales of 8-bit moments, as in the state itself.
        """
        axes = [tuple(a for a in layout.axes(name) if a not in whole) for name in self.names]
        even = even_axes(self.shape, axes, layout.sizes)
        parts = (math.prod(layout.sizes[axis] for axis in over) for over in even)
        return tuple(size // n for size, n in zip(self.shape, parts, strict=True))

    @property
    def is_kernel(self) -> bool:
        """Whether a product or a look-up uses it, not a norm or a bias."""
        return "embed" in self.names or "expert_embed" in self.names

    def bytes(self, layout: Layout) -> int:
        """Of a device's part."""
        if self not in layout.known:
            layout.known[self] = array_bytes(self.shard(layout), self.itemsize, layout.tiled)
        return layout.known[self]


class Inventory(NamedTuple):
    """params: what is trained, float32. optimizer: what the optimizer keeps between steps."""

    params: tuple[Leaf, ...]
    optimizer: tuple[Leaf, ...]

    @classmethod
    def of(cls, config: Config) -> "Inventory":
        """Of a config whose vocab_size is set; nothing is computed.

        An optimizer's array lies as the parameter whose path is within its own; what has none or
        another number of axes is on every device.
        """
        boxes = parameter_boxes(Transformer(config.model))
        is_box = lambda x: isinstance(x, Named)  # noqa: E731
        params = tuple(
            Leaf(path_keys(path), box.value.shape, box.value.dtype.itemsize, box.names)
            for path, box in jax.tree_util.tree_leaves_with_path(boxes, is_leaf=is_box)
        )
        optimizer = config.optimizer.make(config.training.steps, boxes)
        shapes = jax.tree.map(lambda box: box.value, boxes, is_leaf=is_box)
        state = jax.eval_shape(optimizer.init, shapes)
        by_path = {leaf.path: leaf for leaf in params}
        kept = [
            _following(path_keys(path), leaf, by_path)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        ]
        return cls(params, tuple(kept))

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(leaf.shape) for leaf in self.params)


@cache
def array_bytes(shape: tuple[int, ...], itemsize: int, tiled: bool = True) -> int:
    """Bytes of an array. tiled: as a TPU lays it out, two of its axes padded to whole registers, of
    all pairs the one that wastes least."""
    size = math.prod(shape)
    if not tiled or size == 0:
        return size * itemsize
    if len(shape) < 2:
        return -(-size // LANES) * LANES * itemsize
    rows = SUBLANE_BYTES // itemsize

    def padded(minor: int, second: int) -> int:
        lanes = -(-shape[minor] // LANES) * LANES
        tall = -(-shape[second] // rows) * rows if shape[second] >= rows else shape[second]
        return size // (shape[minor] * shape[second]) * lanes * tall

    axes = range(len(shape))
    return itemsize * min(padded(a, b) for a in axes for b in axes if a != b)


def _following(path: tuple[str, ...], leaf: Any, by_path: Mapping[tuple[str, ...], Leaf]) -> Leaf:
    """The optimizer's array with the names of the parameter that it belongs to."""
    param = parameter_of(path, len(leaf.shape), by_path)
    names = (None,) * len(leaf.shape) if param is None else param.names
    return Leaf(path, leaf.shape, jnp.dtype(leaf.dtype).itemsize, names)
