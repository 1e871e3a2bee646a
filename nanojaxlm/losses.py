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
    Names,
    active,
    axis_size,
    mesh_axes,
    per_device,
    splits_evenly,
)

# Fewer, and the head's gradient, which each chunk adds to, is moved more often than it is worth;
# more, and the logits take more memory than the rest: 2048 x 128,256 float32 are 1.05 GB.
CHUNK_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    z_loss: float = 0.0  # weight of mean (log Z)², keeps logits from drifting (PaLM: 1e-4)
    chunk_length: int | None = None  # tokens of each row whose logits exist at one time; None =
    # so many that a device has CHUNK_TOKENS of all its rows
    future: float = 1.0  # weight of the loss of each extra head (Gloeckle et al. 2024)

    def __post_init__(self) -> None:
        if self.z_loss < 0:
            raise ValueError(f"z_loss must be >= 0, got {self.z_loss}")
        if self.future < 0:
            raise ValueError(f"future must be >= 0, got {self.future}")
        if self.chunk_length is not None and self.chunk_length < 1:
            raise ValueError(f"chunk_length must be >= 1 or None, got {self.chunk_length}")


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


class HeadLayout(NamedTuple):
    """names: the logical axes of each of the head's parameters, a tree like theirs. dtype: of the
    head's products, in which matrices are gathered."""

    names: Any
    dtype: jnp.dtype


@partial(jax.custom_vjp, nondiff_argnums=(0, 5, 6, 7))
def chunked_loss(
    head: Head,
    head_params: Any,
    x_BTD: jax.Array,
    targets_BT: jax.Array,
    weights_BT: jax.Array,
    chunk_length: int | None,
    z_loss: float,
    layout: HeadLayout | None = None,
) -> tuple[jax.Array, Sums]:
    """(nll + z_loss * z, sums) of `cross_entropy(head(head_params, x), …)`, a chunk at a time.

    Only one chunk's logits exist at one time. Where a gradient is asked for, it is computed along
    with the loss, so no logits are computed twice (as in Hsu et al. 2024, Liger Kernel); it reaches
    head_params and x, through the first result only.

    On a mesh each device goes through the chunks of its own tokens, and what they add up to meets
    once at the end, not once a chunk.

    Args:
        chunk_length: tokens of each row in a chunk, over all devices; the last one is padded. None:
            so many that a device has CHUNK_TOKENS of all its rows.
        layout: of head_params; needed on a mesh.
    """

    def own(head_params: Any, *row: jax.Array) -> Sums:
        def add_chunk(sums: Sums, chunk: tuple[jax.Array, ...]) -> tuple[Sums, None]:
            x, targets, weights = chunk
            more = cross_entropy(head(head_params, x), targets, weights)
            return jax.tree.map(jnp.add, sums, more), None

        return jax.lax.scan(add_chunk, zero_sums(), _chunks(chunk_length, *row))[0]

    row = (x_BTD, targets_BT, weights_BT)
    if layout is None or not _is_split(x_BTD):
        sums = own(head_params, *row)
    else:
        gather = _Gather(layout)

        def part(head_params: Any, *row: jax.Array) -> Sums:
            return jax.lax.psum(own(gather.whole(head_params), *row), TOKEN_AXES)

        sums = per_device(part, (layout.names, *_ROWS), _SCALARS, TOKEN_AXES)(head_params, *row)
    return sums.nll + z_loss * sums.z, sums


def _forward(
    head: Head,
    head_params: Any,
    x_BTD: jax.Array,
    targets_BT: jax.Array,
    weights_BT: jax.Array,
    chunk_length: int | None,
    z_loss: float,
    layout: HeadLayout | None,
) -> tuple[tuple[jax.Array, Sums], tuple[Any, jax.Array]]:
    def own(head_params: Any, *row: jax.Array) -> tuple[Sums, Any, jax.Array]:
        def add_chunk(carry: Any, chunk: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
            x, targets, weights = chunk

            def objective(params: Any, x: jax.Array) -> tuple[jax.Array, Sums]:
                sums = cross_entropy(head(params, x), targets, weights)
                return sums.nll + z_loss * sums.z, sums

            gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)
            (params_gradient, x_gradient), sums = gradient(head_params, x)
            more = sums, jax.tree.map(lambda g: g.astype(jnp.float32), params_gradient)
            return jax.tree.map(jnp.add, carry, more), x_gradient

        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.float32), head_params)
        (sums, params_gradient), x_gradients = jax.lax.scan(
            add_chunk, (zero_sums(), zeros), _chunks(chunk_length, *row)
        )
        batch_size, length, width = row[0].shape
        x_gradient_BTD = jnp.moveaxis(x_gradients, 0, 1).reshape(batch_size, -1, width)[:, :length]
        return sums, params_gradient, x_gradient_BTD

    row = (x_BTD, targets_BT, weights_BT)
    if layout is None or not _is_split(x_BTD):
        sums, params_gradient, x_gradient_BTD = own(head_params, *row)
    else:
        gather = _Gather(layout)

        def part(head_params: Any, *row: jax.Array) -> tuple[Sums, Any, jax.Array]:
            sums, params_gradient, x_gradient = own(gather.whole(head_params), *row)
            return jax.lax.psum(sums, TOKEN_AXES), gather.sum_parts(params_gradient), x_gradient

        in_names, out_names = (layout.names, *_ROWS), (_SCALARS, layout.names, _ROWS[0])
        sums, params_gradient, x_gradient_BTD = per_device(part, in_names, out_names, TOKEN_AXES)(
            head_params, *row
        )
    return (sums.nll + z_loss * sums.z, sums), (params_gradient, x_gradient_BTD)


def _backward(
    head: Head,
    chunk_length: int | None,
    z_loss: float,
    layout: HeadLayout | None,
    gradients: tuple[Any, jax.Array],
    cotangents: tuple[jax.Array, Sums],
) -> tuple[Any, ...]:
    scale, _ = cotangents
    params_gradient, x_gradient = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradients)
    return params_gradient, x_gradient, None, None


chunked_loss.defvjp(_forward, _backward)

_ROWS = (("batch", "length", None), ("batch", "length"), ("batch", "length"))
_SCALARS = Sums(*((),) * len(Sums._fields))  # type: ignore[arg-type]


def _is_split(x_BTD: jax.Array) -> bool:
    num_devices = axis_size("batch") * axis_size("length")
    return num_devices > 1 and splits_evenly(x_BTD.shape, _ROWS[0])


class _Gather:
    """The head's parameters on one device: gathered along the width, and their gradients summed
    over all tokens and cut again. What splits the vocabulary goes on to do so."""

    def __init__(self, layout: HeadLayout):
        self._layout, self._axes = layout, mesh_axes("embed")
        self._others = tuple(axis for axis in TOKEN_AXES if axis not in self._axes)

    def whole(self, head_params: Any) -> Any:
        def leaf(part: jax.Array, names: Names) -> jax.Array:
            if "embed" not in names:
                return part
            part = part.astype(self._layout.dtype)
            return jax.lax.all_gather(part, self._axes, axis=names.index("embed"), tiled=True)

        return self._map(leaf, head_params)

    def sum_parts(self, gradients: Any) -> Any:
        def leaf(whole: jax.Array, names: Names) -> jax.Array:
            if "embed" not in names:
                return jax.lax.psum(whole, TOKEN_AXES)
            part = jax.lax.psum_scatter(
                whole, self._axes, scatter_dimension=names.index("embed"), tiled=True
            )
            return jax.lax.psum(part, self._others)

        return self._map(leaf, gradients)

    def _map(self, f: Callable[[jax.Array, Names], jax.Array], tree: Any) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        names = structure.flatten_up_to(self._layout.names)
        return structure.unflatten([f(*pair) for pair in zip(leaves, names, strict=True)])


def _chunks(chunk_length: int | None, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """[B, T, …] -> [C, B, chunk_length, …] each, with zeros after the last of T."""
    batch_size, length = arrays[0].shape[:2]
    if chunk_length is None:
        size = CHUNK_TOKENS // batch_size
    else:
        now = active()
        num_devices = now.mesh.shape[CONTEXT_AXIS] if now is not None and now.manual else 1
        size = chunk_length // num_devices
    size = max(1, min(size, length))
    num_chunks = -(-length // size)

    def cut(a: jax.Array) -> jax.Array:
        missing = num_chunks * size - length
        if missing:
            a = jnp.pad(a, ((0, 0), (0, missing), *((0, 0),) * (a.ndim - 2)))
        return jnp.moveaxis(a.reshape(batch_size, num_chunks, size, *a.shape[2:]), 1, 0)

    return tuple(cut(a) for a in arrays)


def zero_sums() -> Sums:
    return Sums(*(jnp.zeros((), jnp.float32) for _ in Sums._fields))
