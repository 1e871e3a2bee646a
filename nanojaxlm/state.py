"""The training state, sharded from the start; the optimizer's arrays lie as the parameters do."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from nanojaxlm.host_memory import on_host
from nanojaxlm.model.transformer import Transformer, example_batch
from nanojaxlm.sharding import Named, check_divisible, replicated, sharding, where_it_divides

T = TypeVar("T")


class TrainState(NamedTuple):
    step: jax.Array  # int32[], updates done
    params: Any
    opt_state: Any


def parameter_boxes(model: Transformer) -> Any:
    """The parameters' tree with, at each leaf, a Named box around a ShapeDtypeStruct."""

    def init() -> Any:  # makes its key too: the mesh's devices may be elsewhere, and run nothing
        batch = example_batch(model.config)
        return model.init(jax.random.key(0), batch.decoder, batch.encoder)["params"]

    return jax.eval_shape(init)


def abstract_params(boxes: Any, mesh: Mesh) -> Any:
    """The parameters as ShapeDtypeStructs that carry their sharding.

    Raises:
        UserError: an axis does not divide by its mesh axes.
    """

    def leaf(path: Any, box: Named) -> jax.ShapeDtypeStruct:
        where = sharding(mesh, box.names)
        check_divisible(path_name(path), box.value.shape, where)
        return jax.ShapeDtypeStruct(box.value.shape, box.value.dtype, sharding=where)

    is_box = lambda x: isinstance(x, Named)  # noqa: E731
    return jax.tree_util.tree_map_with_path(leaf, boxes, is_leaf=is_box)


def abstract_state(
    boxes: Any, optimizer: optax.GradientTransformation, mesh: Mesh, offload: bool = False
) -> TrainState:
    """The whole state as ShapeDtypeStructs that carry their sharding.

    An optimizer's array follows its parameter (`parameter_of`): of a moment in blocks of 8 bits,
    the codes lie as the parameter does, and so do the scales along the axes that split evenly. What
    follows none (counts) is replicated.
    offload: what follows a parameter lies in the host's memory.

    Raises:
        UserError: a parameter's axis does not divide by its mesh axes; there is no such memory.
    """
    params = abstract_params(boxes, mesh)
    by_path = {path_keys(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def follow(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        param = parameter_of(path_keys(path), len(leaf.shape), by_path)
        where = replicated(mesh)
        if param is not None:
            where = where_it_divides(param.sharding, leaf.shape)
            where = on_host(where) if offload else where
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    opt_state = jax.eval_shape(optimizer.init, params)
    opt_state = jax.tree_util.tree_map_with_path(follow, opt_state)
    step: Any = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated(mesh))
    return TrainState(step, params, opt_state)


def parameter_of(
    keys: tuple[str, ...], num_axes: int, by_path: Mapping[tuple[str, ...], T]
) -> T | None:
    """The parameter that an optimizer's array at these keys belongs to; None for a count.

    It is the one of as many axes whose path those keys end with, or end with but for a name of the
    array's own.
    """
    for start, stop in itertools.product(range(len(keys)), (len(keys), len(keys) - 1)):
        param: Any = by_path.get(keys[start:stop])
        if param is not None and len(param.shape) == num_axes:
            return param
    return None


def init_state(
    model: Transformer,
    optimizer: optax.GradientTransformation,
    seed: int,
    abstract: TrainState,
) -> TrainState:
    """A fresh state on the mesh of `abstract`; no device ever holds more than its shards."""

    def init(key: jax.Array) -> TrainState:
        batch = example_batch(model.config)
        params = nn.meta.unbox(model.init(key, batch.decoder, batch.encoder)["params"])
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(init, out_shardings=shardings)(jax.random.key(seed))


def state_of(
    params: Any, optimizer: optax.GradientTransformation, abstract: TrainState
) -> TrainState:
    """A fresh state around parameters that are there; they are donated."""

    def start(params: Any) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(start, out_shardings=shardings, donate_argnums=0)(params)


def num_parameters(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def describe(abstract: Any) -> str:
    """A line for each parameter: path, shape, and the mesh axes that split it."""
    return "\n".join(
        f"  {path_name(path)}  {leaf.shape}  {leaf.sharding.spec}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract)
    )


def path_name(path: Any) -> str:
    """decoder/layers/attention/q/kernel"""
    return "/".join(path_keys(path))


def path_keys(path: Any) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
