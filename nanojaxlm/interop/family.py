"""What a family of models in the ecosystem is: its config, its tensors, and where each goes here.

A `Part` is a reshape and a transpose, so the same line of a family's table imports and exports.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanojaxlm.model.config import ModelConfig


@dataclass(frozen=True)
class Part:
    """A block of one tensor in the folder <-> one array of ours, or one expert of it.

    path: ours, as a checkpoint spells it ("decoder/layer_0/attention/q/kernel").
    split, axes: the block reshaped to `split`, then transposed by `axes`, is ours.
    rows, columns: the block is these of the tensor's first and second axis; None = all.
    expert: ours is this index of the array's first axis.

    A torch Linear of N heads, [N*H, D], is our [D, N, H]: split=(N, H, D), axes=(2, 0, 1).
    """

    path: str
    split: tuple[int, ...]
    axes: tuple[int, ...]
    rows: slice | None = None
    columns: slice | None = None
    expert: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of ours, without the experts' axis."""
        return tuple(self.split[axis] for axis in self.axes)

    @property
    def index(self) -> tuple[slice, ...]:
        """What cuts the block out of the tensor; () takes all of it."""
        if self.columns is not None:
            return (self.rows or slice(None), self.columns)
        return () if self.rows is None else (self.rows,)


@dataclass(frozen=True)
class Tensor:
    """One tensor of the folder: its name, its shape there, and the parts that make it up."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Family:
    """One family of models.

    model_types, architectures: what "model_type" and "architectures" of config.json may say.
    read_config: config.json to ours; UserError naming an unknown field or unsupported value.
    write_config: the inverse; UserError naming our field that the family cannot express.
    tensors: all of a model, in the order in which they are written.
    ignored: regular expressions of names in a folder that hold nothing of their own (buffers of
        rotary frequencies).
    copies: {name: the tensor it must equal}, of tied weights that a folder may hold twice.
    renamed: (regular expression, replacement) of names that older folders spell otherwise.
    """

    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    read_config: Callable[[Mapping[str, Any]], ModelConfig]
    write_config: Callable[[ModelConfig], dict[str, Any]]
    tensors: Callable[[ModelConfig], list[Tensor]]
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    renamed: tuple[tuple[str, str], ...] = ()


def to_ours(part: Part, block: np.ndarray) -> np.ndarray:
    """The array of ours that a block of a tensor holds; a view where the block is contiguous.

    Raises:
        ValueError: the block has not the size that `part.split` says.
    """
    return block.reshape(part.split).transpose(part.axes)


def to_theirs(part: Part, ours: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The block, of this shape, that an array of ours (`part.shape`) is in the folder; the inverse
    of `to_ours`.

    Raises:
        ValueError: `ours` has another shape than the part's.
    """
    if ours.shape != part.shape:
        raise ValueError(f"{part.path} has shape {ours.shape}, the family says {part.shape}")
    return ours.transpose(np.argsort(part.axes)).reshape(shape)


def block_shape(tensor: Tensor, part: Part) -> tuple[int, ...]:
    """Of the part's block in the tensor.

    Raises:
        ValueError: the block has not as many numbers as ours.
    """
    cut = list(tensor.shape)
    for axis, where in enumerate(part.index):
        cut[axis] = len(range(*where.indices(tensor.shape[axis])))
    if math.prod(cut) != math.prod(part.split):
        raise ValueError(
            f"{tensor.name}: a block of shape {tuple(cut)} cannot be split as {part.split} "
            f"for {part.path}"
        )
    return tuple(cut)
