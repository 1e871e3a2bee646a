"""Meshes, the table from logical to mesh axes, and a strict resolver: the only place that knows
PartitionSpec."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from flax import struct
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nanojaxlm.devices import arranged
from nanojaxlm.errors import UserError

# Outermost first: neighbours along the last axis exchange most, so they get the fastest links.
MESH_AXES = ("replica", "stage", "data", "fsdp", "expert", "context", "tensor")
TOKEN_AXES = ("replica", "data", "fsdp", "expert", "context")  # all that split a batch's tokens
STAGE_AXIS, EXPERT_AXIS, CONTEXT_AXIS, TENSOR_AXIS = "stage", "expert", "context", "tensor"
Names = tuple[str | None, ...]
Rules = Mapping[str, str | tuple[str, ...] | None]

# Logical axis -> mesh axis or axes; every name used in the code appears, None = replicated.
# A mesh axis of size 1 costs nothing: one table serves every parallelism, and their hybrids.
RULES: Rules = {
    # activations
    "batch": ("replica", "data", "fsdp", "expert"),
    "length": "context",
    "residual_length": "context",  # between blocks; over tensor too where mesh.sequence asks for it
    "key_length": None,  # keys and values are gathered over context
    "act_embed": None,
    "act_heads": "tensor",
    "act_kv_heads": "tensor",
    "act_mlp": "tensor",
    "act_vocab": ("tensor", "stage"),
    "act_stage": "stage",  # the first axis of what moves through a pipeline
    # parameters
    "vocab": ("tensor", "stage"),
    "embed": ("fsdp", "expert", "context"),  # all that hold different tokens within a replica
    "expert_embed": ("fsdp", "context"),  # of the experts' kernels
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_dim": None,
    "mlp": "tensor",
    "norm": None,
    "router": None,
    "expert": "expert",
    "layers": "stage",  # the scan axis
}
SEQUENCE_RULES: Rules = {**RULES, "residual_length": ("context", "tensor")}


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many devices each mesh axis spans, and what it splits; -1 on one axis takes the rest.
    Every combination computes the same training step."""

    replica: int = 1  # slices: copies of the model that meet over the data-centre network
    stage: int = 1  # layers, a pipeline of so many stages; the vocabulary too
    data: int = -1  # the batch; parameters and optimizer state are copies
    fsdp: int = 1  # the batch, parameters and optimizer state
    expert: int = 1  # the batch and a mixture's experts; all other parameters as fsdp does
    context: int = 1  # each row along its length; parameters as fsdp does
    tensor: int = 1  # heads, feed-forward and vocabulary
    sequence: bool = False  # what lies between blocks along its length over tensor too
    microbatches: int | None = None  # parts of the batch that follow one another through the stages

    def __post_init__(self) -> None:
        sizes = dict(zip(MESH_AXES, self.sizes, strict=True))
        if any(size == 0 or size < -1 for size in self.sizes):
            raise ValueError(f"{', '.join(MESH_AXES)} must be >= 1 or -1, got {sizes}")
        if self.sizes.count(-1) > 1:
            unknown = [f"mesh.{axis}" for axis in MESH_AXES if sizes[axis] == -1]
            raise ValueError(f"only one of the mesh's axes may be -1, got {', '.join(unknown)}")
        if self.microbatches is not None and self.microbatches < 1:
            raise ValueError(f"microbatches must be >= 1 or None, got {self.microbatches}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """One for each of MESH_AXES."""
        return tuple(getattr(self, axis) for axis in MESH_AXES)

    def over(self, num_devices: int) -> dict[str, int]:
        """The size of each axis over so many devices, which fill the one that is -1.

        Raises:
            UserError: the sizes do not multiply to the number of devices.
        """
        sizes: dict[str, int] = dict(zip(MESH_AXES, self.sizes, strict=True))
        fixed = math.prod(size for size in self.sizes if size > 0)
        if num_devices % fixed == 0:
            sizes = {a: num_devices // fixed if n == -1 else n for a, n in sizes.items()}
        if math.prod(sizes.values()) != num_devices:
            raise UserError(
                f"mesh {sizes} does not fit {num_devices} devices: choose config.mesh sizes whose "
                f"product is {num_devices}, or -1 for one of them"
            )
        return sizes

    @property
    def rules(self) -> Rules:
        return SEQUENCE_RULES if self.sequence else RULES


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh with axes MESH_AXES over these devices, by default `jax.devices()`.

    Neighbours in the mesh are neighbours in the machine where its topology is known; slices of a
    TPU, which the data-centre network joins, lie along replica and then stage.

    Raises:
        UserError: the sizes do not multiply to the number of devices, or do not fit the slices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = tuple(config.over(len(devices)).values())
    auto = (AxisType.Auto,) * len(MESH_AXES)
    return Mesh(arranged(sizes, devices), MESH_AXES, axis_types=auto)


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
        for mesh_axis in () if name is None else axes_of(name, rules):
            if mesh_axis in used:
                raise ValueError(f"{names}: {used[mesh_axis]} and {name} both want {mesh_axis!r}")
            used[mesh_axis] = str(name)
        axes.append(axis)
    return PartitionSpec(*axes)


def sharding(mesh: Mesh, names: Names) -> NamedSharding:
    return NamedSharding(mesh, resolve(names))


def batch_sharding(mesh: Mesh) -> NamedSharding:  # of every [B, T] array of a batch
    return sharding(mesh, ("batch", "length"))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def without_first_axis(of: NamedSharding) -> NamedSharding:
    """Of one layer cut out of an array that is stacked over layers."""
    return NamedSharding(of.mesh, PartitionSpec(*of.spec[1:]), memory_kind=of.memory_kind)


def where_it_divides(of: NamedSharding, shape: tuple[int, ...]) -> NamedSharding:
    """`of`, with its mesh axes where `even_axes` puts them."""
    given = [_as_tuple(entry) for entry in (*of.spec, *(None,) * (len(shape) - len(of.spec)))]
    return NamedSharding(of.mesh, PartitionSpec(*even_axes(shape, given, of.mesh.shape)))


def even_axes(
    shape: tuple[int, ...], axes: Sequence[tuple[str, ...]], sizes: Mapping[str, int]
) -> list[tuple[str, ...]]:
    """The mesh axes of each axis of an array; those that do not split it evenly go to the last axis
    that they do split, where there is one."""
    even = list(axes)

    def splits(i: int, over: tuple[str, ...]) -> bool:
        return shape[i] % math.prod(sizes[axis] for axis in over) == 0

    for i, over in enumerate(even):
        if not splits(i, over):
            even[i] = ()
            able = [k for k in range(len(shape)) if splits(k, even[k] + over)]
            if able:
                even[able[-1]] += over
    return even


def check_divisible(path: str, shape: tuple[int, ...], of: NamedSharding) -> None:
    """Raises UserError where an axis of a parameter does not split evenly over its mesh axes."""
    try:
        of.shard_shape(shape)
    except ValueError:
        raise UserError(
            f"parameter {path} of shape {shape} does not split evenly as {of.spec} over mesh "
            f"{dict(of.mesh.shape)}: choose model sizes that divide, or a smaller mesh axis"
        ) from None


def check_batch(mesh: Mesh, num_rows: int, lengths: Sequence[int] = (), sequence: bool = False):
    """Raises UserError where a (micro-)batch does not split evenly over the mesh.

    lengths: tokens of its rows, of each stream. sequence: as in the mesh's config.
    """
    parts = math.prod(mesh.shape[axis] for axis in axes_of("batch", RULES))
    if num_rows % parts:
        raise UserError(
            f"{num_rows} rows (config.data.batch_size / config.training.accumulation) do not split "
            f"over {' * '.join(axes_of('batch', RULES))} = {parts} devices: choose a multiple of "
            f"{parts}, or a smaller mesh"
        )
    axes = axes_of("residual_length", SEQUENCE_RULES if sequence else RULES)
    parts = math.prod(mesh.shape[axis] for axis in axes)
    for length in lengths:
        if length % parts:
            raise UserError(
                f"rows of {length} tokens do not split over {' * '.join(axes)} = {parts} devices: "
                f"choose a config.data.sequence_length that gives a multiple of {parts}, or a "
                "smaller mesh"
            )


class Active(NamedTuple):
    """The layout that code within `use_mesh` runs under. microbatches: as in the mesh's config.
    manual: the mesh axes that code within `per_device` sees only its own place of."""

    mesh: Mesh
    rules: Rules
    microbatches: int | None
    manual: frozenset[str] = frozenset()


_active: ContextVar[Active | None] = ContextVar("active", default=None)


def active() -> Active | None:
    return _active.get()


@contextlib.contextmanager
def use_mesh(mesh: Mesh, config: MeshConfig | None = None) -> Iterator[None]:
    """Within it `constrain` and `per_device` hold to the table; without it modules run unsharded.

    config: for what a mesh does not say itself, `sequence` and `microbatches`.
    """
    config = config or MeshConfig()
    token = _active.set(Active(mesh, config.rules, config.microbatches))
    try:
        with jax.set_mesh(mesh):
            yield
    finally:
        _active.reset(token)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Holds an activation to the sharding that the table gives its axes; a no-op outside
    `use_mesh`."""
    now = active()
    spec = resolve(names, RULES if now is None else now.rules)
    if now is None or len(now.manual) == len(MESH_AXES):
        return x
    return jax.lax.with_sharding_constraint(x, _without(spec, now.manual))


def axis_size(name: str) -> int:
    """The number of devices that a logical axis is split over; 1 outside `use_mesh`."""
    now = active()
    return 1 if now is None else math.prod(now.mesh.shape[axis] for axis in mesh_axes(name))


def mesh_axes(name: str) -> tuple[str, ...]:
    """The mesh axes that a logical axis is split over, without those that `per_device` has split
    already; none outside `use_mesh`."""
    now = active()
    if now is None:
        return ()
    return tuple(axis for axis in axes_of(name, now.rules) if axis not in now.manual)


def splits_evenly(shape: Sequence[int], names: Names) -> bool:
    """Whether an array of this shape can be cut for `per_device`; a prompt of one row cannot."""
    return all(
        name is None or size % axis_size(name) == 0 for size, name in zip(shape, names, strict=True)
    )


def per_device(
    f: Callable[..., Any], in_names: Any, out_names: Any, axes: Sequence[str] = MESH_AXES
) -> Callable[..., Any]:
    """`f` as what each device of the active mesh does with its own parts of the arrays.

    in_names, out_names: trees of logical names, a tuple of them for each array. Within `f`,
    `jax.lax` collectives go over the mesh axes by their names. Every array must split evenly.
    axes: those that `f` is written for; the compiler splits over the others, as everywhere else.
    Outside `use_mesh` this is `f` itself.
    """
    now = active()
    if now is None:
        return f
    others = frozenset(MESH_AXES) - frozenset(axes)

    def is_names(x: Any) -> bool:
        return type(x) is tuple and all(name is None or isinstance(name, str) for name in x)

    def specs(tree: Any) -> Any:
        spec = lambda names: _without(resolve(names, now.rules), others)  # noqa: E731
        return jax.tree.map(spec, tree, is_leaf=is_names)

    def inside(*args: Any) -> Any:
        token = _active.set(now._replace(manual=frozenset(axes)))
        try:
            return f(*args)
        finally:
            _active.reset(token)

    return jax.shard_map(
        inside,
        mesh=now.mesh,
        in_specs=specs(in_names),
        out_specs=specs(out_names),
        axis_names=set(axes),
        check_vma=False,
    )


def platform() -> str:
    """What the program is for: cpu, gpu or tpu; the active mesh may be of devices elsewhere."""
    now = active()
    return jax.default_backend() if now is None else now.mesh.devices.flat[0].platform


def _without(spec: PartitionSpec, axes: frozenset[str]) -> PartitionSpec:
    """The spec with these mesh axes left out."""
    if not axes:
        return spec
    kept = [
        tuple(a for a in (part if isinstance(part, tuple) else (part,)) if a and a not in axes)
        for part in spec
    ]
    return PartitionSpec(*(part or None for part in kept))


def axes_of(name: str, rules: Rules) -> tuple[str, ...]:
    """The mesh axes that a rule table gives a logical axis."""
    return _as_tuple(rules[name])


def _as_tuple(axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else axes or ()
