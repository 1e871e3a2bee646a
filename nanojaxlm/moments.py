"""How an optimizer keeps its moments from one step to the next: in float32, bfloat16 or 8 bits.

Between two steps the moments of Adam and Muon only lie in memory, 8 bytes a parameter for AdamW.
Here they are kept shorter, and are float32 only while they are updated. A second moment is rounded
at random, up or down so that its expectation is exact: at b2 = 0.999 it falls by a thousandth a
step, which rounding to the nearest would undo each time. A first moment moves by a tenth a step and
is rounded to the nearest.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nanojaxlm.sharding import Named

MOMENTS = ("float32", "bfloat16", "int8")
_MIN_BLOCK = 16  # the scales of shorter ones would take more than a quarter of a byte an entry
_OCTAVES = 24  # from the largest second moment of a block down to the smallest that is told apart


class Blocks(NamedTuple):
    """A moment in 8 bits, after Dettmers et al. 2022: each block of an axis has its own scale.

    codes: int8 of a first moment, uint8 of a second, of the moment's shape.
    scales: float32, the block's largest magnitude; of that shape too, but that one axis of n
        entries has n / block.
    """

    codes: jax.Array
    scales: jax.Array


def keeping(
    transformation: optax.GradientTransformation, moments: str, boxes: Any
) -> optax.GradientTransformation:
    """The same transformation, whose moments are kept as `moments` says, one of MOMENTS.

    Args:
        transformation: of optax, with ScaleByAdamState or MuonState anywhere in its state; all
            else in the state stays as it is.
        boxes: the parameters' tree with a Named box at each leaf. In 8 bits are the moments of
            matrices and embeddings; those of norms and biases, which are few, stay in float32.
    """
    if moments == "float32":
        return transformation
    pack = _pack_bfloat16 if moments == "bfloat16" else _packer(boxes)

    def init(params: Any) -> Any:
        return _map_moments(pack, transformation.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        whole = _map_moments(lambda x, path, key: unpack(x), state)
        updates, whole = transformation.update(updates, whole, params)
        return updates, _map_moments(pack, whole)

    return optax.GradientTransformation(init, update)


def block_axis(box: Named) -> tuple[int, int] | None:
    """(axis, entries a block) along which a parameter's moments are cut into blocks; None: they
    stay in float32.

    Never the last axis where there is another: on a TPU it lies in the lanes. Compiled for v5e, the
    update of one kernel [4, 1024, 4096] took 16 bytes a parameter of temporaries with blocks along
    the 4096, and none with blocks along the 1024.
    First choice is an axis that is whole on a device or in long parts, in blocks of 128; then the
    one that FSDP splits, in blocks of 32, so that each lies on one device up to a split into
    d_model / 32 parts; then what tensor parallelism splits. It depends neither on the mesh nor on
    whether layers are stacked.
    """
    if not (box.fan_in_axes or "embed" in box.names):
        return None
    last = len(box.names) - 1
    choices = []
    for axis, name in enumerate(map(str, box.names)):
        if name in ("layers", "expert"):
            continue
        fsdp, tensor = name in ("embed", "expert_embed"), name in ("heads", "kv_heads")
        size, longest = box.value.shape[axis], 32 if fsdp else 128
        block = max(b for b in range(1, min(size, longest) + 1) if size % b == 0)
        if block >= _MIN_BLOCK:
            choices.append((axis == last, tensor, fsdp, axis, block))
    return min(choices)[3:] if choices else None


def first_in_blocks(x: jax.Array, axis: int, block: int) -> Blocks:
    """float32, any sign -> the cube root of its share of the block's largest magnitude, as int8.

    Steps are 2.4% wide near the largest, and the smallest is 5e-7 of it.
    """
    share, scales = _shares(x, axis, block)
    codes = jnp.round(127 * jnp.cbrt(share)).astype(jnp.int8)
    return Blocks(codes.reshape(x.shape), scales)


def second_in_blocks(x: jax.Array, axis: int, block: int, key: jax.Array) -> Blocks:
    """float32 >= 0 -> the logarithm of its share of the block's largest, as uint8, rounded at
    random.

    Code c > 0 is a share of 2^(24 (c - 255) / 254), 6.8% from one to the next; 0 is 0 and nothing
    else: what is below the last code is taken for it, since Adam divides by it.
    """
    share, scales = _shares(x, axis, block)
    log2 = jnp.log2(jnp.where(share > 0, share, 1.0))
    below = jnp.clip(jnp.floor(255 + 254 / _OCTAVES * log2), 1, 254)
    low, high = _share_of(below), _share_of(below + 1)
    up = jax.random.uniform(key, share.shape) < (share - low) / (high - low)
    codes = jnp.where(share > 0, below + up.astype(jnp.float32), 0.0)
    return Blocks(codes.astype(jnp.uint8).reshape(x.shape), scales)


def unpack(kept: Any) -> jax.Array:
    """A moment in float32, from however it is kept."""
    if not isinstance(kept, Blocks):
        return kept.astype(jnp.float32)
    codes = kept.codes.astype(jnp.float32)
    shares = (codes / 127) ** 3 if kept.codes.dtype == jnp.int8 else _share_of(codes)
    sizes = zip(kept.codes.shape, kept.scales.shape, strict=True)
    axis = next(i for i, (size, blocks) in enumerate(sizes) if size != blocks)
    block = kept.codes.shape[axis] // kept.scales.shape[axis]
    split = _split(shares, axis, block) * jnp.expand_dims(kept.scales, axis + 1)
    return split.reshape(kept.codes.shape)


def to_bfloat16_at_random(x: jax.Array, key: jax.Array) -> jax.Array:
    """float32 -> bfloat16, up with the probability that makes its expectation x."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint32) >> 16
    bits = (bits + noise) & jnp.uint32(0xFFFF0000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32).astype(jnp.bfloat16)


_Pack = Callable[[Any, tuple[str, ...], "jax.Array | None"], Any]


def _map_moments(f: _Pack, state: Any) -> Any:
    """f(moment, path of its parameter, key of a second moment) over those of an optax state."""

    def over(tree: Any, key: jax.Array | None) -> Any:
        is_blocks = lambda x: isinstance(x, Blocks)  # noqa: E731
        leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_blocks)
        keys = [None if key is None else jax.random.fold_in(key, i) for i in range(len(leaves))]
        return structure.unflatten(
            f(leaf, _names(path), of) for (path, leaf), of in zip(leaves, keys, strict=True)
        )

    def node(part: Any) -> Any:
        if isinstance(part, optax.contrib.MuonState):
            return part._replace(mu=over(part.mu, None))
        if isinstance(part, optax.ScaleByAdamState):
            key = jax.random.fold_in(jax.random.key(0), part.count)
            return part._replace(mu=over(part.mu, None), nu=over(part.nu, key))
        return part

    has_moments = lambda x: isinstance(x, optax.contrib.MuonState | optax.ScaleByAdamState)  # noqa: E731
    return jax.tree.map(node, state, is_leaf=has_moments)


def _pack_bfloat16(x: jax.Array, path: tuple[str, ...], key: jax.Array | None) -> jax.Array:
    return x.astype(jnp.bfloat16) if key is None else to_bfloat16_at_random(x, key)


def _packer(boxes: Any) -> _Pack:
    """Packs into blocks, along the axes that the boxes give."""
    is_box = lambda x: isinstance(x, Named)  # noqa: E731
    found = jax.tree_util.tree_leaves_with_path(boxes, is_leaf=is_box)
    axes: Mapping[tuple[str, ...], tuple[int, int] | None] = {
        _names(path): block_axis(box) for path, box in found
    }

    def pack(x: jax.Array, path: tuple[str, ...], key: jax.Array | None) -> Any:
        where = axes[path]
        if where is None:
            return x
        return first_in_blocks(x, *where) if key is None else second_in_blocks(x, *where, key)

    return pack


def _shares(x: jax.Array, axis: int, block: int) -> tuple[jax.Array, jax.Array]:
    """(x as a share of its block's largest magnitude, with the axis split; those magnitudes)."""
    split = _split(x, axis, block)
    largest = jnp.max(jnp.abs(split), axis=axis + 1, keepdims=True)
    share = split / jnp.where(largest > 0, largest, 1.0)
    return share, jnp.squeeze(largest, axis + 1)


def _split(x: jax.Array, axis: int, block: int) -> jax.Array:
    """[…, n, …] -> […, n / block, block, …]"""
    return x.reshape(*x.shape[:axis], -1, block, *x.shape[axis + 1 :])


def _share_of(codes: jax.Array) -> jax.Array:
    shares = jnp.exp2(_OCTAVES / 254 * (codes - 255))
    return jnp.where(codes > 0, shares, 0.0)


def _names(path: Any) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
