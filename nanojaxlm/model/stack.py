"""Layers one after another: scanned or unrolled, with or without rematerialisation; the same
numbers."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from nanojaxlm.model.block import Block
from nanojaxlm.model.cache import LayerCache
from nanojaxlm.model.config import StackConfig
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import Rotation

SCANNED = "layers"  # the subtree whose arrays have a leading layer axis
UNROLLED = "layer_{}"

_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Stack(nn.Module):
    config: StackConfig
    d_model: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, cache: LayerCache | None, mask: AttentionMask, rotation: Rotation
    ) -> tuple[jax.Array, LayerCache | None]:
        """cache: with a leading layer axis, or None. Returns (x_BTD, the new cache)."""
        c = self.config
        block = Block
        if c.remat != "none":
            block = nn.remat(Block, policy=_POLICIES[c.remat], prevent_cse=not c.scan)
        if c.scan:
            scanned = nn.scan(
                block,
                length=c.num_layers,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(0, nn.broadcast, nn.broadcast),  # pyright: ignore[reportArgumentType]
                metadata_params={nn.PARTITION_NAME: "layers"},
            )
            return scanned(c, self.d_model, self.dtype, name=SCANNED)(x_BTD, cache, mask, rotation)
        caches = []
        for i in range(c.num_layers):
            layer_cache = jax.tree.map(lambda a, i=i: a[i], cache)
            layer = block(c, self.d_model, self.dtype, name=UNROLLED.format(i))
            x_BTD, layer_cache = layer(x_BTD, layer_cache, mask, rotation)
            caches.append(layer_cache)
        return x_BTD, jax.tree.map(lambda *layers: jnp.stack(layers), *caches)
