"""From logits to the next token."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """temperature 0 is greedy. Cuts apply after it, in the order top_k, top_p, min_p."""

    temperature: float = 1.0
    top_k: int | None = None  # keep the k likeliest
    top_p: float | None = None  # keep the likeliest that together reach p (Holtzman et al. 2020)
    min_p: float | None = None  # keep those at least min_p as likely as the likeliest (Nguyen 2024)

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be >= 0, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be >= 1 or None, got {self.top_k}")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1] or None, got {value}")


def cut(logits_BV: jax.Array, sampling: Sampling) -> jax.Array:
    """Tempered float32 logits_BV with -inf where a token is cut; the likeliest always stays."""
    logits_BV = logits_BV / sampling.temperature
    order = jnp.argsort(-logits_BV, axis=-1)  # stable: of equals, the first is the likelier
    rank = jnp.argsort(order, axis=-1)
    if sampling.top_k is not None:
        logits_BV = jnp.where(rank < sampling.top_k, logits_BV, -jnp.inf)
    if sampling.top_p is not None and sampling.top_p < 1:
        sorted_probs = jax.nn.softmax(jnp.take_along_axis(logits_BV, order, axis=-1), axis=-1)
        before = jnp.cumsum(sorted_probs, axis=-1) - sorted_probs  # mass of the likelier ones
        keep = jnp.take_along_axis(before < sampling.top_p, rank, axis=-1)
        logits_BV = jnp.where(keep, logits_BV, -jnp.inf)
    if sampling.min_p is not None:
        log_probs = jax.nn.log_softmax(logits_BV, axis=-1)
        floor = jnp.max(log_probs, axis=-1, keepdims=True) + jnp.log(sampling.min_p)
        logits_BV = jnp.where(log_probs < floor, -jnp.inf, logits_BV)
    return logits_BV


def choose(logits_BV: jax.Array, sampling: Sampling, key: jax.Array) -> jax.Array:
    """int32 tokens_B, drawn from what `cut` leaves; the argmax where temperature is 0."""
    if sampling.temperature == 0:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    return jax.random.categorical(key, cut(logits_BV, sampling), axis=-1).astype(jnp.int32)
