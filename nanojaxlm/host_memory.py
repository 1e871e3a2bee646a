"""Arrays that lie in the memory of the machine between steps, and on its devices only while used.

JAX calls it pinned_host, memory that a device reads and writes by itself. TPUs and GPUs have it,
and so has JAX's CPU backend, where it is the same memory as the device's.
"""

from typing import Any

import jax
from jax.sharding import NamedSharding

from nanojaxlm.errors import UserError

HOST = "pinned_host"


def on_host(of: NamedSharding) -> NamedSharding:
    """The same sharding, in the memory of the machines that the devices are of.

    Raises:
        UserError: the devices have no such memory.
    """
    device: Any = next(iter(of.device_set))
    try:
        device.memory(HOST)
    except (RuntimeError, ValueError):
        raise UserError(
            f"{device.device_kind} has no memory of kind {HOST}: set "
            "config.training.offload_optimizer to False"
        ) from None
    return of.with_memory_kind(HOST)


def is_on_host(of: jax.sharding.Sharding) -> bool:
    return of.memory_kind == HOST


def to_device(tree: Any, where: Any) -> Any:
    """Within jit: the arrays, those that lie on the host read from there.

    where: the tree of their shardings.
    """
    device = jax.memory.Space.Device
    return jax.tree.map(
        lambda x, of: jax.device_put(x, device) if is_on_host(of) else x, tree, where
    )


def to_host(tree: Any, where: Any) -> Any:
    """The inverse of `to_device`, within jit too."""
    return jax.tree.map(lambda x, of: jax.device_put(x, of) if is_on_host(of) else x, tree, where)
