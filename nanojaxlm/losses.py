"""Cross-entropy as sums, computed over the vocabulary in chunks, never the whole logits at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


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
    """

    nll: jax.Array  # nats
    z: jax.Array  # (log Z)²
    count: jax.Array  # sum of weights  # pyright: ignore[reportIncompatibleMethodOverride]
    extra: jax.Array


def cross_entropy(logits_BTV: jax.Array, targets_BT: jax.Array, weights_BT: jax.Array) -> Sums:
    """Weighted sums of -log softmax(logits)[target] in nats, and of (log Z)²."""
    log_z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    nll = jnp.sum((log_z_BT - target_BT) * weights_BT)
    z = jnp.sum(jnp.square(log_z_BT) * weights_BT)
    return Sums(nll, z, jnp.sum(weights_BT), jnp.zeros((), jnp.float32))


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

    Args:
        chunk_length: tokens of each row in a chunk; the last one is padded. The cut is along T, so
            the batch keeps its sharding.
    """

    def add_chunk(sums: Sums, chunk: tuple[jax.Array, ...]) -> tuple[Sums, None]:
        x, targets, weights = chunk
        more = cross_entropy(head(head_params, x), targets, weights)
        return jax.tree.map(jnp.add, sums, more), None

    chunks = _chunks(chunk_length, x_BTD, targets_BT, weights_BT)
    sums, _ = jax.lax.scan(add_chunk, _zero_sums(), chunks)
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
    def add_chunk(carry: Any, chunk: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        x, targets, weights = chunk

        def objective(params: Any, x: jax.Array) -> tuple[jax.Array, Sums]:
            sums = cross_entropy(head(params, x), targets, weights)
            return sums.nll + z_loss * sums.z, sums

        gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)
        (params_gradient, x_gradient), sums = gradient(head_params, x)
        return jax.tree.map(jnp.add, carry, (sums, params_gradient)), x_gradient

    chunks = _chunks(chunk_length, x_BTD, targets_BT, weights_BT)
    start = (_zero_sums(), jax.tree.map(jnp.zeros_like, head_params))
    (sums, params_gradient), x_gradients = jax.lax.scan(add_chunk, start, chunks)
    batch_size, length, width = x_BTD.shape
    x_gradient_BTD = jnp.moveaxis(x_gradients, 0, 1).reshape(batch_size, -1, width)[:, :length]
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


def _chunks(chunk_length: int, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """[B, T, …] -> [C, B, chunk_length, …] each, with zeros after the last of T."""
    batch_size, length = arrays[0].shape[:2]
    chunk_length = min(chunk_length, length)
    num_chunks = -(-length // chunk_length)

    def cut(a: jax.Array) -> jax.Array:
        missing = num_chunks * chunk_length - length
        if missing:
            a = jnp.pad(a, ((0, 0), (0, missing), *((0, 0),) * (a.ndim - 2)))
        return jnp.moveaxis(a.reshape(batch_size, num_chunks, chunk_length, *a.shape[2:]), 1, 0)

    return tuple(cut(a) for a in arrays)


def _zero_sums() -> Sums:
    return Sums(*(jnp.zeros((), jnp.float32) for _ in Sums._fields))
