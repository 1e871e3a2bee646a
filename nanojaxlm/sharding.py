"""Meshes, the table from logical to mesh axes, and a strict resolver: the only place that knows
PartitionSpec."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import struct
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nanojaxlm.errors import UserError

MESH_AXES = ("data", "fsdp", "tensor")
Names = tuple[str | None, ...]
Rules = Mapping[str, str | tuple[str, ...] | None]

# Logical axis -> mesh axis or axes; every name used in the code appears, None = replicated.
# A mesh axis of size 1 costs nothing, so one table serves data, FSDP and tensor parallelism and
# their hybrids.
RULES: Rules = {
    # activations
    "batch": ("data", "fsdp"),
    "length": None,
    "act_embed": None,
    "act_heads": "tensor",
    "act_kv_heads": "tensor",
    "act_mlp": "tensor",
    "act_vocab": "tensor",
    # parameters
    "vocab": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_dim": None,
    "mlp": "tensor",
    "norm": None,
    "router": None,
    "expert": None,
    "layers": None,  # the scan axis
}


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many devices each mesh axis spans; -1 on one axis takes all that are left."""

    data: int = -1  # copies of the model, each on its own part of the batch
    fsdp: int = 1  # parameters and optimizer state split over these devices, batch too
    tensor: int = 1  # heads, feed-forward and vocabulary split over these devices

    def __post_init__(self) -> None:
        sizes = (self.data, self.fsdp, self.tensor)
        if any(size == 0 or size < -1 for size in sizes):
            raise ValueError(f"data, fsdp and tensor must be >= 1 or -1, got {sizes}")
        if sizes.count(-1) > 1:
            raise ValueError("only one of mesh.data, mesh.fsdp, mesh.tensor may be -1")


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh with axes (data, fsdp, tensor) over these devices, by default `jax.devices()`.

    Raises:
        UserError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    fixed = math.prod(size for size in sizes if size > 0)
    if -1 in sizes and len(devices) % fixed == 0:
        sizes[sizes.index(-1)] = len(devices) // fixed
    if math.prod(sizes) != len(devices):
        raise UserError(
            f"mesh {dict(zip(MESH_AXES, sizes, strict=True))} does not fit {len(devices)} devices: "
            f"choose config.mesh sizes whose product is {len(devices)}, or -1 for one of them"
        )
    if len(devices) == jax.device_count() and devices[0].platform != "cpu":
        return jax.make_mesh(sizes, MESH_AXES, axis_types=(AxisType.Auto,) * 3)  # follows topology
    return Mesh(np.asarray(devices).reshape(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * 3)


class Named(struct.PyTreeNode, nn.meta.AxisMetadata[Any]):
    """A parameter's box at initialisation: the logical name of each axis, and which axes a product
    sums over.

    Ours rather than flax's LogicallyPartitioned, which replicates in silence on an unknown or
    colliding name.
    """

    value: Any
    names: Names = struct.field(pytree_node=False)
    fan_in_axes: tuple[int, ...] = struct.field(pytree_node=False, default=())

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "Named":
        return self.replace(value=val)

    def add_axis(self, index: int, params: Mapping[Any, Any]) -> "Named":
        names = (*self.names[:index], params[nn.PARTITION_NAME], *self.names[index:])
        return self.replace(
            names=names, fan_in_axes=tuple(a + (a >= index) for a in self.fan_in_axes)
        )

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> "Named":
        names = (*self.names[:index], *self.names[index + 1 :])
        return self.replace(
            names=names, fan_in_axes=tuple(a - (a > index) for a in self.fan_in_axes)
        )


def named(
    initializer: Callable[..., Any], names: Names, fan_in_axes: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """The initializer, with its result in a Named box, which Module.param takes off again."""
    return lambda *args: Named(initializer(*args), names, fan_in_axes)


def resolve(names: Names, rules: Rules = RULES) -> PartitionSpec:
    """The PartitionSpec of an array whose axes have these logical names.

    Raises:
        ValueError: a name that no rule knows, or two axes of one array on the same mesh axis.
    """
    axes: list[str | tuple[str, ...] | None] = []
    used: dict[str, str] = {}
    for name in names:
        if name is not None and name not in rules:
            raise ValueError(f"no rule for logical axis {name!r} of {names}; have {sorted(rules)}")
        axis = None if name is None else rules[name]
        for mesh_axis in (axis,) if isinstance(axis, str) else axis or ():
            if mesh_axis in used:
                raise ValueError(f"{names}: {used[mesh_axis]} and {name} both want {mesh_axis!r}")
            used[mesh_axis] = str(name)
        axes.append(axis)
    return PartitionSpec(*axes)


def sharding(mesh: Mesh, names: Names) -> NamedSharding:
    return NamedSharding(mesh, resolve(names))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of every [B, T] array of a batch."""
    return sharding(mesh, ("batch", "length"))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def without_first_axis(of: NamedSharding) -> NamedSharding:
    """Of one layer cut out of an array that is stacked over layers."""
    return NamedSharding(of.mesh, PartitionSpec(*of.spec[1:]))


def check_divisible(path: str, shape: tuple[int, ...], of: NamedSharding) -> None:
    """Raises UserError where an axis of a parameter does not split evenly over its mesh axes."""
    try:
        of.shard_shape(shape)
    except ValueError:
        raise UserError(
            f"parameter {path} of shape {shape} does not split evenly as {of.spec} over mesh "
            f"{dict(of.mesh.shape)}: choose model sizes that divide, or a smaller mesh axis"
        ) from None


def check_batch(mesh: Mesh, num_rows: int) -> None:
    """Raises UserError where the rows of a (micro-)batch do not split evenly over the mesh."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if num_rows % parts:
        raise UserError(
            f"{num_rows} rows (config.data.batch_size / config.training.accumulation) do not split "
            f"over data * fsdp = {parts} devices: choose a multiple of {parts}, or a smaller mesh"
        )


def describe(abstract: Any) -> str:
    """A line for each parameter: path, shape, and the mesh axes that split it."""
    lines = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        lines.append(f"  {name}  {leaf.shape}  {leaf.sharding.spec}")
    return "\n".join(lines)


_constrained: ContextVar[bool] = ContextVar("constrained", default=False)


@contextlib.contextmanager
def use_mesh(mesh: Mesh) -> Iterator[None]:
    """Within it `constrain` holds activations to the table; without it modules run unsharded."""
    token = _constrained.set(True)
    try:
        with jax.set_mesh(mesh):
            yield
    finally:
        _constrained.reset(token)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Holds an activation to the sharding that the table gives its axes; a no-op outside
    `use_mesh`."""
    spec = resolve(names)
    return jax.lax.with_sharding_constraint(x, spec) if _constrained.get() else x
