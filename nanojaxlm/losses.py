"""Cross-entropy as sums, computed over the vocabulary in chunks, never the whole logits at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nanojaxlm.sharding import (
    CONTEXT_AXIS,
    TOKEN_AXES,
    active,
    axis_size,
    per_device,
    splits_evenly,
)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    z_loss: float = 0.0  # weight of mean (log Z)², keeps logits from drifting (PaLM: 1e-4)
    chunk_length: int = 128  # tokens of each row whose logits exist at one time
    future: float = 1.0  # weight of the loss of each extra head (Gloeckle et al. 2024)

    def __post_init__(self) -> None:
        if self.z_loss < 0:
            raise ValueError(f"z_loss must be >= 0, got {self.z_loss}")
        if self.future < 0:
            raise ValueError(f"future must be >= 0, got {self.future}")
        if self.chunk_length < 1:
            raise ValueError(f"chunk_length must be >= 1, got {self.chunk_length}")


class Sums(NamedTuple):
    """float32[] sums over targets; divide once, after summing over micro-batches and devices.

    extra: what the loss has beside nll and z: routers' losses, times count, and extra heads' nll.
    assigned, dropped: tokens sent to experts, and those that found no room; 0 where none are ever
    dropped (MixtureConfig.capacity None).
    """

    nll: jax.Array  # nats
    z: jax.Array  # (log Z)²
    count: jax.Array  # sum of weights  # pyright: ignore[reportIncompatibleMethodOverride]
    extra: jax.Array
    assigned: jax.Array
    dropped: jax.Array


def cross_entropy(logits_BTV: jax.Array, targets_BT: jax.Array, weights_BT: jax.Array) -> Sums:
    """Weighted sums of -log softmax(logits)[target] in nats, and of (log Z)²."""
    log_z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    nll = jnp.sum((log_z_BT - target_BT) * weights_BT)
    z = jnp.sum(jnp.square(log_z_BT) * weights_BT)
    return zero_sums()._replace(nll=nll, z=z, count=jnp.sum(weights_BT))


Head = Callable[[Any, jax.Array], jax.Array]  # (parameters, x_BTD) -> float32 logits_BTV


@partial(jax.custom_vjp, nondiff_argnums=(0, 5, 6))
def chunked_loss(
    head: Head,
    head_params: Any,
    x_BTD: jax.Array,
    targets_BT: jax.Array,
    weights_BT: jax.Array,
    chunk_length: int,
    z_loss: float,
) -> tuple[jax.Array, Sums]:
    """(nll + z_loss * z, sums) of `cross_entropy(head(head_params, x), …)`, a chunk at a time.

    Only one chunk's logits exist at one time. Where a gradient is asked for, it is computed along
    with the loss, so no logits are computed twice (as in Hsu et al. 2024, Liger Kernel); it reaches
    head_params and x, through the first result only.

    On a mesh each device goes through the chunks of its own tokens, and what they add up to meets
    once at the end, not once a chunk.

    Args:
        chunk_length: tokens of each row in a chunk, over all devices; the last one is padded.
    """

    def own(head_params: Any, *row: jax.Array) -> Sums:
        def add_chunk(sums: Sums, chunk: tuple[jax.Array, ...]) -> tuple[Sums, None]:
            x, targets, weights = chunk
            more = cross_entropy(head(head_params, x), targets, weights)
            return jax.tree.map(jnp.add, sums, more), None

        sums, _ = jax.lax.scan(add_chunk, zero_sums(), _chunks(chunk_length, *row))
        return _over_devices(sums)

    args = (head_params, x_BTD, targets_BT, weights_BT)
    sums = _on_own_tokens(own, _SCALARS, *args)
    return sums.nll + z_loss * sums.z, sums


def _forward(
    head: Head,
    head_params: Any,
    x_BTD: jax.Array,
    targets_BT: jax.Array,
    weights_BT: jax.Array,
    chunk_length: int,
    z_loss: float,
) -> tuple[tuple[jax.Array, Sums], tuple[Any, jax.Array]]:
    def own(head_params: Any, *row: jax.Array) -> tuple[Sums, Any, jax.Array]:
        def add_chunk(carry: Any, chunk: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
            x, targets, weights = chunk

            def objective(params: Any, x: jax.Array) -> tuple[jax.Array, Sums]:
                sums = cross_entropy(head(params, x), targets, weights)
                return sums.nll + z_loss * sums.z, sums

            gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)
            (params_gradient, x_gradient), sums = gradient(head_params, x)
            return jax.tree.map(jnp.add, carry, (sums, params_gradient)), x_gradient

        start = (zero_sums(), jax.tree.map(jnp.zeros_like, head_params))
        (sums, params_gradient), x_gradients = jax.lax.scan(
            add_chunk, start, _chunks(chunk_length, *row)
        )
        batch_size, length, width = row[0].shape
        x_gradient_BTD = jnp.moveaxis(x_gradients, 0, 1).reshape(batch_size, -1, width)[:, :length]
        return *_over_devices((sums, params_gradient)), x_gradient_BTD

    args = (head_params, x_BTD, targets_BT, weights_BT)
    out_names = (_SCALARS, _whole(head_params), _ROWS)
    sums, params_gradient, x_gradient_BTD = _on_own_tokens(own, out_names, *args)
    return (sums.nll + z_loss * sums.z, sums), (params_gradient, x_gradient_BTD)


def _backward(
    head: Head,
    chunk_length: int,
    z_loss: float,
    gradients: tuple[Any, jax.Array],
    cotangents: tuple[jax.Array, Sums],
) -> tuple[Any, ...]:
    scale, _ = cotangents
    params_gradient, x_gradient = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradients)
    return params_gradient, x_gradient, None, None


chunked_loss.defvjp(_forward, _backward)


def _on_own_tokens(
    own: Callable[..., Any], out_names: Any, head_params: Any, *row: jax.Array
) -> Any:
    """own(head_params, x, targets, weights), on each device of the mesh with its part of the rows
    and with whole parameters; what splits the vocabulary goes on to do so."""
    if not _is_split(row[0]):
        return own(head_params, *row)
    in_names = (_whole(head_params), _ROWS, _ROWS[:2], _ROWS[:2])
    return per_device(own, in_names, out_names, TOKEN_AXES)(head_params, *row)


_ROWS = ("batch", "length", None)
_SCALARS = Sums(*((),) * len(Sums._fields))  # type: ignore[arg-type]


def _is_split(x_BTD: jax.Array) -> bool:
    num_devices = axis_size("batch") * axis_size("length")
    return num_devices > 1 and splits_evenly(x_BTD.shape, _ROWS)


def _whole(tree: Any) -> Any:
    return jax.tree.map(lambda a: (None,) * a.ndim, tree)


def _over_devices(tree: Any) -> Any:
    """The sums over all devices, within `_on_own_tokens`; as they are where nothing is split."""
    now = active()
    return jax.lax.psum(tree, TOKEN_AXES) if now is not None and now.manual else tree


def _chunks(chunk_length: int, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """[B, T, …] -> [C, B, chunk_length, …] each, with zeros after the last of T."""
    batch_size, length = arrays[0].shape[:2]
    now = active()
    num_devices = now.mesh.shape[CONTEXT_AXIS] if now is not None and now.manual else 1
    chunk_length = max(1, min(chunk_length // num_devices, length))
    num_chunks = -(-length // chunk_length)

    def cut(a: jax.Array) -> jax.Array:
        missing = num_chunks * chunk_length - length
        if missing:
            a = jnp.pad(a, ((0, 0), (0, missing), *((0, 0),) * (a.ndim - 2)))
        return jnp.moveaxis(a.reshape(batch_size, num_chunks, chunk_length, *a.shape[2:]), 1, 0)

    return tuple(cut(a) for a in arrays)


def zero_sums() -> Sums:
    return Sums(*(jnp.zeros((), jnp.float32) for _ in Sums._fields))
