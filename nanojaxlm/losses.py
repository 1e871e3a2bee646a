"""Cross-entropy as sums, computed over the vocabulary in chunks, never the whole logits at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    z_loss: float = 0.0  # weight of mean (log Z)², keeps logits from drifting (PaLM: 1e-4)
    chunk_length: int = 128  # tokens of each row whose logits exist at one time

    def __post_init__(self) -> None:
        if self.z_loss < 0:
            raise ValueError(f"z_loss must be >= 0, got {self.z_loss}")
        if self.chunk_length < 1:
            raise ValueError(f"chunk_length must be >= 1, got {self.chunk_length}")


class Sums(NamedTuple):
    """float32[] sums over targets; divide once, after summing over micro-batches and devices."""

    nll: jax.Array  # nats
    z: jax.Array  # (log Z)²
    count: jax.Array  # sum of weights


def cross_entropy(logits_BTV: jax.Array, targets_BT: jax.Array, weights_BT: jax.Array) -> Sums:
    """Weighted sums of -log softmax(logits)[target] in nats, and of (log Z)²."""
    log_z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    nll = jnp.sum((log_z_BT - target_BT) * weights_BT)
    return Sums(nll, jnp.sum(jnp.square(log_z_BT) * weights_BT), jnp.sum(weights_BT))


def chunked_cross_entropy(
    logits: Callable[[jax.Array], jax.Array],
    x_BTD: jax.Array,
    targets_BT: jax.Array,
    weights_BT: jax.Array,
    chunk_length: int,
) -> Sums:
    """`cross_entropy(logits(x), …)`, one chunk of each row at a time, recomputed for the gradient.

    Args:
        logits: the head, x_BTD -> float32 logits_BTV.
        chunk_length: must divide T. The chunk is cut along T, so the batch keeps its sharding.

    Raises:
        ValueError: chunk_length does not divide T.
    """
    batch_size, length = targets_BT.shape
    chunk_length = min(chunk_length, length)
    if length % chunk_length:
        raise ValueError(f"loss chunk_length={chunk_length} must divide sequence length {length}")
    if length == chunk_length:
        return cross_entropy(logits(x_BTD), targets_BT, weights_BT)

    def chunks(a: jax.Array) -> jax.Array:
        shape = (batch_size, length // chunk_length, chunk_length, *a.shape[2:])
        return jnp.moveaxis(a.reshape(shape), 1, 0)

    @jax.checkpoint
    def add_chunk(sums: Sums, chunk: tuple[jax.Array, ...]) -> tuple[Sums, None]:
        x, targets, weights = chunk
        return jax.tree.map(jnp.add, sums, cross_entropy(logits(x), targets, weights)), None

    zero = jnp.zeros((), jnp.float32)
    arrays = (chunks(x_BTD), chunks(targets_BT), chunks(weights_BT))
    sums, _ = jax.lax.scan(add_chunk, Sums(zero, zero, zero), arrays)
    return sums
