"""Layers one after another: scanned, unrolled or in a pipeline, with or without rematerialisation;
the same numbers."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.batch import Stream
from nanojaxlm.model import pipeline
from nanojaxlm.model.block import Block, Context
from nanojaxlm.model.cache import LayerCache, StackCache
from nanojaxlm.model.config import StackConfig
from nanojaxlm.model.layers import norm
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.mixture import COUNTS, LOSSES
from nanojaxlm.model.partition import partition
from nanojaxlm.model.positions import RelativeBias, Rotation, make_rotation
from nanojaxlm.model.remat import REMAT_POLICIES
from nanojaxlm.sharding import axis_size

SCANNED = "layers"  # the subtree whose arrays have a leading axis, one entry a repeat
SOWN = (LOSSES, COUNTS)  # the collections that layers sow into
LAYER = "layer_{}"  # within it, the first of the layers that the entries are of


class Stack(nn.Module):
    """causal: a decoder's. Its layers attend to a memory where one is given."""

    config: StackConfig
    d_model: int
    causal: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        stream: Stream,
        mask: AttentionMask,
        cache: StackCache | None = None,
        memory_BSD: jax.Array | None = None,
        memory_mask: AttentionMask | None = None,
    ) -> tuple[jax.Array, StackCache | None]:
        """The last residual, normed where the config says so, and the cache with this stream's keys
        and values added."""
        c = self.config
        bias = None
        if c.relative_bias is not None:
            heads = c.attention.num_heads
            relative = RelativeBias(c.relative_bias, heads, self.causal, name="relative_bias")
            lengths = (mask.q_segments_BT.shape[1], mask.k_segments_BS.shape[1])
            bias = relative(*lengths, mask.q_start)
        rotation, local_rotation = self._rotations(stream)
        context = Context(mask, rotation, local_rotation, bias, memory_BSD, memory_mask)

        parts = partition(c)
        if (num_stages := axis_size("layers")) > 1:
            pipeline.check_stages(self.name or "decoder", parts.repeats, parts.period, num_stages)
        first, repeated, rest = (None, None, None) if cache is None else cache
        x_BTD, first = self._one_by_one(0, parts.num_first, x_BTD, first, context)
        if parts.repeats:
            x_BTD, repeated = self._repeated(x_BTD, repeated, context)
        start = c.num_layers - parts.num_rest
        x_BTD, rest = self._one_by_one(start, c.num_layers, x_BTD, rest, context)
        if c.final_norm:
            x_BTD = norm(c.norm, "final_norm")(x_BTD)
        if cache is not None:
            assert first is not None and repeated is not None and rest is not None
            cache = StackCache(first, repeated, rest)
        return x_BTD, cache

    def _rotations(self, stream: Stream) -> tuple[Rotation | None, Rotation | None]:
        attention, local = self.config.attention, self.config.local
        if attention.rope is None:
            return None, None
        positions_BT = jnp.asarray(stream.positions_BT)
        rotation = make_rotation(positions_BT, attention.rope, attention.rotated)
        if local is None or local.rope is None:
            return rotation, rotation
        return rotation, make_rotation(positions_BT, local.rope, attention.rotated)

    def _repeated(
        self, x_BTD: jax.Array, caches: tuple[LayerCache, ...] | None, context: Context
    ) -> tuple[jax.Array, tuple[LayerCache, ...] | None]:
        """In a pipeline where the layers lie over several stages. What is initialised or decoded
        goes layer by layer, and the compiler brings each layer to all stages."""
        repeats, num_stages = partition(self.config).repeats, axis_size("layers")
        if num_stages == 1 or self.is_initializing() or caches is not None:
            return self._scanned(self.config, repeats, name=SCANNED)(x_BTD, caches, context)

        policy = REMAT_POLICIES[self.config.remat].stage
        config = self.config if policy is None else replace(self.config, remat="full")

        def layers(params: Any, x_BTD: jax.Array, context: Context) -> Any:
            group = self._scanned(config, repeats // num_stages, parent=None)
            apply: Any = partial(group.apply, {"params": params}, mutable=[*SOWN])
            (x_BTD, _), sown = apply(x_BTD, None, context)
            return x_BTD, sown

        params = self.get_variable("params", SCANNED)
        x_BTD, sown = pipeline.run(layers, params, x_BTD, context, policy)
        for collection, tree in sown.items():
            if self.is_mutable_collection(collection):
                self.put_variable(collection, SCANNED, tree)
        return x_BTD, None

    def _scanned(self, config: StackConfig, length: int, **place: Any) -> Any:
        """A loop over so many repeats of the period. place: its name or its parent."""
        group = nn.scan(
            Group,
            length=length,
            variable_axes={"params": 0, **dict.fromkeys(SOWN, 0)},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),  # pyright: ignore[reportArgumentType]
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        parts = partition(config)
        layers = range(parts.num_first, parts.num_first + parts.period)
        return group(config, layers, self.d_model, self.causal, self.dtype, **place)

    def _one_by_one(
        self,
        start: int,
        stop: int,
        x_BTD: jax.Array,
        caches: tuple[LayerCache, ...] | None,
        context: Context,
    ) -> tuple[jax.Array, tuple[LayerCache, ...] | None]:
        group = (self.config, range(start, stop), self.d_model, self.causal, self.dtype)
        return run_layers(*group, x_BTD, caches, context)


class Group(nn.Module):
    """The layers of one period."""

    config: StackConfig
    layers: range
    d_model: int
    causal: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, caches: tuple[LayerCache, ...] | None, context: Context
    ) -> tuple[jax.Array, tuple[LayerCache, ...] | None]:
        group = (self.config, self.layers, self.d_model, self.causal, self.dtype)
        return run_layers(*group, x_BTD, caches, context, in_loop=True)


def run_layers(
    config: StackConfig,
    layers: range,
    d_model: int,
    causal: bool,
    dtype: jnp.dtype,
    x_BTD: jax.Array,
    caches: tuple[LayerCache, ...] | None,
    context: Context,
    in_loop: bool = False,
) -> tuple[jax.Array, tuple[LayerCache, ...] | None]:
    """These layers in the module that calls, named by their number in the stack.

    in_loop: the forward and the backward pass are two loops, so that XLA cannot merge what is
    computed again with what was computed first.
    """
    block: Any = Block
    policy = REMAT_POLICIES[config.remat].policy
    if policy is not None:
        block = nn.remat(Block, policy=policy, prevent_cse=not in_loop)
    new = []
    for place, i in enumerate(layers):
        layer = block(config, config.layer(i), d_model, causal, dtype, name=LAYER.format(i))
        x_BTD, cache = layer(x_BTD, None if caches is None else caches[place], context)
        new.append(cache)
    return x_BTD, None if caches is None else tuple(new)
