"""A layer is its branches and norms in this order; the branches have tests of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nanojaxlm.model.attention import CrossAttention, SelfAttention
from nanojaxlm.model.block import Block, Context
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    LayerNormConfig,
    RMSNormConfig,
    Rope,
    StackConfig,
)
from nanojaxlm.model.layers import FeedForward
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import make_rotation

pytestmark = pytest.mark.usefixtures("quick_compile")
B, T, S, D = 2, 5, 4, 12
FLOAT32 = jnp.dtype("float32")
ATTENTION = AttentionConfig(num_heads=2, num_kv_heads=1, head_dim=8, qk_norm="head")
FEED_FORWARD = FeedForwardConfig(hidden=10)
SEGMENTS = np.array([[1, 1, 1, 2, 2], [1, 1, 1, 1, 0]], np.int32)
TEXT = np.array([[1, 2, 2, 0], [1, 1, 1, 1]], np.int32)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def numpy_norm(config: Any, params: Any, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    scale, bias = np.asarray(params["scale"], np.float64), 0.0
    if isinstance(config, LayerNormConfig):
        x, bias = x - x.mean(axis=-1, keepdims=True), params["bias"]
    else:
        scale = scale + config.centered
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + config.epsilon) * scale + bias


@pytest.mark.parametrize(
    ("places", "norm"),
    [
        ({"pre_norm": True}, LayerNormConfig(epsilon=0.2)),  # GPT-2, Llama
        ({"pre_norm": False, "post_norm": True}, RMSNormConfig(epsilon=0.2)),  # OLMo 2
        ({"post_norm": True}, RMSNormConfig(epsilon=0.2, centered=True)),  # Gemma
        ({"pre_norm": False, "sum_norm": True}, LayerNormConfig(epsilon=0.2)),  # BERT
    ],
    ids=["pre", "post", "pre and post", "sum"],
)
@pytest.mark.parametrize("crosses", [False, True], ids=["alone", "with a memory"])
def test_norms_stand_where_the_config_says(places: dict[str, bool], norm: Any, crosses: bool):
    stack = StackConfig(
        num_layers=1, attention=ATTENTION, feed_forward=FEED_FORWARD, norm=norm, **places
    )
    block = Block(stack, stack.layer(0), D, True, FLOAT32)
    x, memory = jnp.asarray(draw(B, T, D, seed=1)), jnp.asarray(draw(B, S, D, seed=2))
    mask = AttentionMask(jnp.asarray(SEGMENTS), jnp.asarray(SEGMENTS))
    memory_mask = AttentionMask(jnp.asarray(SEGMENTS), jnp.asarray(TEXT))
    positions = jnp.asarray(np.arange(B * T, dtype=np.int32).reshape(B, T))
    rotation = make_rotation(positions, Rope(), 8)
    context = Context(mask, rotation, None, None, memory, memory_mask if crosses else None)
    boxes = jax.eval_shape(block.init, jax.random.key(0), x, None, context)["params"]
    leaves, tree = jax.tree.flatten(nn.meta.unbox(boxes))
    params = tree.unflatten([draw(*a.shape, seed=i) for i, a in enumerate(leaves)])
    actual, _ = jax.jit(block.apply)({"params": params}, x, None, context)

    qk_norm = RMSNormConfig(epsilon=0.2, centered=getattr(norm, "centered", False))
    shared = (ATTENTION, D, qk_norm, 1.0, FLOAT32)

    def attention(h: jax.Array) -> Any:
        module = SelfAttention(*shared, causal=True)
        return module.apply({"params": params["attention"]}, h, mask, rotation, None, None)[0]

    def cross(h: jax.Array) -> Any:
        variables = {"params": params["cross_attention"]}
        return CrossAttention(*shared).apply(variables, h, memory, memory_mask, None)[0]

    def feed_forward(h: jax.Array) -> Any:
        module = FeedForward(FEED_FORWARD, D, 1.0, FLOAT32)
        return module.apply({"params": params["feed_forward"]}, h)

    branches = {"attention": attention, "cross": cross, "feed_forward": feed_forward}
    expected = np.asarray(x, np.float64)
    for name, branch in branches.items():
        if name == "cross" and not crosses:
            continue
        h = expected
        if stack.pre_norm:
            h = numpy_norm(norm, params[f"{name}_norm"], h)
        h = np.asarray(branch(jnp.asarray(h, jnp.float32)))
        if stack.post_norm:
            h = numpy_norm(norm, params[f"{name}_post_norm"], h)
        expected = expected + h
        if stack.sum_norm:
            expected = numpy_norm(norm, params[f"{name}_sum_norm"], expected)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, atol=1e-5 * largest)
