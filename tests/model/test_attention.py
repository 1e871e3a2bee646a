"""Attention with all its parts against numpy: biases, norms of queries and keys, rotation, scale,
cap."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nanojaxlm.model.attention import CrossAttention, SelfAttention
from nanojaxlm.model.config import AttentionConfig, RMSNormConfig, Rope
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.positions import make_rotation

pytestmark = pytest.mark.usefixtures("quick_compile")
B, T, S, D, N, K, H = 2, 5, 7, 12, 4, 2, 8
SIZES = {"num_heads": N, "num_kv_heads": K, "head_dim": H}
QUERIES = np.array([[1, 1, 2, 2, 2], [1, 1, 1, 1, 0]], np.int32)
KEYS = np.array([[1, 1, 1, 1, 2, 2, 0], [1, 1, 0, 0, 0, 0, 0]], np.int32)
POSITIONS = np.array([[0, 1, 0, 1, 2], [0, 1, 2, 3, 0]], np.int32)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_params(module: nn.Module, *inputs: Any) -> Any:
    boxes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    leaves, tree = jax.tree.flatten(nn.meta.unbox(boxes))
    return tree.unflatten([draw(*a.shape, seed=i) for i, a in enumerate(leaves)])


def numpy_attention(
    x: np.ndarray, memory: np.ndarray, p: Any, c: AttentionConfig, norm: RMSNormConfig,
    visible: np.ndarray, rotated: bool,
) -> np.ndarray:  # fmt: skip
    """One head at a time, in float64."""

    def project(name: str, of: np.ndarray, head: int) -> np.ndarray:
        y = of.astype(np.float64) @ p[name]["kernel"][:, head]
        return y + p[name]["bias"][head] if c.qkv_bias else y

    def normed(name: str, heads: list[np.ndarray]) -> list[np.ndarray]:
        """head: each by its own rms and the one scale; width: all by theirs together."""
        if c.qk_norm is None:
            return heads
        scale = p[name]["scale"] + norm.centered
        squares = [(y**2).mean(axis=-1, keepdims=True) for y in heads]
        if c.qk_norm == "width":
            squares = [sum(squares) / len(squares)] * len(heads)
        scales = scale if c.qk_norm == "width" else [scale] * len(heads)
        parts = zip(heads, squares, scales, strict=True)
        return [y / np.sqrt(square + norm.epsilon) * s for y, square, s in parts]

    def turned(y: np.ndarray) -> np.ndarray:
        if not rotated or c.rope is None:
            return y
        half = int(H * c.rope.rate) // 2
        frequency = c.rope.theta ** (-np.arange(half) / half)
        pairs = (y[..., :half] + 1j * y[..., half : 2 * half]) * np.exp(
            1j * POSITIONS[..., None] * frequency
        )
        return np.concatenate([pairs.real, pairs.imag, y[..., 2 * half :]], axis=-1)

    q = [turned(y) for y in normed("q_norm", [project("q", x, n) for n in range(N)])]
    k = [turned(y) for y in normed("k_norm", [project("k", memory, n) for n in range(K)])]
    v = [project("v", memory, n) for n in range(K)]
    out = np.zeros((*x.shape[:2], D))
    for n in range(N):
        scores = np.einsum("bth,bsh->bts", q[n], k[n * K // N]) * (c.scale or H**-0.5)
        if c.softcap is not None:
            scores = c.softcap * np.tanh(scores / c.softcap)
        weights = np.where(visible, np.exp(scores), 0)
        with np.errstate(invalid="ignore"):
            weights /= weights.sum(axis=-1, keepdims=True)
        out += np.einsum("bts,bsh->bth", weights, v[n * K // N]) @ p["out"]["kernel"][n]
    return out + p["out"]["bias"] if c.out_bias else out


PARTS = {
    "plain": {},
    "biases, partial rotation": {
        "qkv_bias": True, "out_bias": True, "rope": Rope(theta=100.0, rate=0.5),
    },
    "head norms, softcap": {"qk_norm": "head", "softcap": 1.5, "rope": Rope(theta=100.0)},
    "width norms, scale": {"qk_norm": "width", "scale": 0.7, "rope": None},
}  # fmt: skip
NORMS = {"head norms, softcap": RMSNormConfig(epsilon=0.3, centered=True)}


@pytest.mark.parametrize("parts", PARTS)
def test_self_attention_matches_numpy(parts: str):
    config = AttentionConfig(**SIZES, **PARTS[parts], window=3)
    norm = NORMS.get(parts, RMSNormConfig(epsilon=0.3))
    causal = parts != "biases, partial rotation"
    module = SelfAttention(config, D, norm, 1.0, jnp.dtype("float32"), causal=causal)
    x, mask = jnp.asarray(draw(B, T, D, seed=9)), AttentionMask(QUERIES, QUERIES)
    rotation = None
    if config.rope is not None:
        rotation = make_rotation(jnp.asarray(POSITIONS), config.rope, config.rotated)
    params = random_params(module, x, mask, rotation, None, None)
    actual, _ = jax.jit(module.apply)({"params": params}, x, mask, rotation, None, None)
    distance = np.arange(T)[:, None] - np.arange(T)[None]
    near = (np.abs(distance) < 3) & ((distance >= 0) | (not causal))
    visible = (QUERIES[:, :, None] == QUERIES[:, None, :]) & near
    expected = numpy_attention(np.asarray(x), np.asarray(x), params, config, norm, visible, True)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", PARTS)
def test_cross_attention_matches_numpy_and_knows_no_position_and_no_window(parts: str):
    """The last query of row 1 is padding, which may see the padding of the text."""
    config = AttentionConfig(**SIZES, **PARTS[parts], window=1)
    norm = NORMS.get(parts, RMSNormConfig(epsilon=0.3))
    module = CrossAttention(config, D, norm, 1.0, jnp.dtype("float32"))
    x, memory = jnp.asarray(draw(B, T, D, seed=9)), jnp.asarray(draw(B, S, D, seed=8))
    mask = AttentionMask(QUERIES, KEYS)
    params = random_params(module, x, memory, mask, None)
    actual, _ = jax.jit(module.apply)({"params": params}, x, memory, mask, None)
    visible = QUERIES[:, :, None] == KEYS[:, None, :]
    arguments = (params, config, norm, visible, False)
    expected = numpy_attention(np.asarray(x), np.asarray(memory), *arguments)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_document_that_the_encoder_has_no_text_of_gives_no_nan():
    config = AttentionConfig(**SIZES)
    module = CrossAttention(config, D, RMSNormConfig(), 1.0, jnp.dtype("float32"))
    x, memory = jnp.asarray(draw(B, T, D, seed=9)), jnp.asarray(draw(B, S, D, seed=8))
    mask = AttentionMask(QUERIES + 5, KEYS)
    params = random_params(module, x, memory, mask, None)
    actual, _ = module.apply({"params": params}, x, memory, mask, None)
    assert np.isfinite(np.asarray(actual)).all()
