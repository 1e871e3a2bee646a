"""Each layer against its formula in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nanojaxlm.model.config import FeedForwardConfig
from nanojaxlm.model.layers import Einsum, Embed, FeedForward, RMSNorm

RNG = np.random.default_rng(0)
X_BTD = RNG.standard_normal((2, 3, 6)).astype(np.float32) * 5
FLOAT32 = jnp.dtype("float32")


def test_rms_norm_matches_numpy():
    scale = RNG.standard_normal(6).astype(np.float32)
    actual = RMSNorm(0.5).apply({"params": {"scale": scale}}, jnp.asarray(X_BTD))
    x = X_BTD.astype(np.float64)
    expected = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 0.5) * scale
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_rms_norm_of_bfloat16_is_computed_in_float32():
    """1e20 squared overflows float32's range for no dtype here; 200 squared is inexact in bf16."""
    x = jnp.full((1, 1, 512), 200.0, jnp.bfloat16)
    normed = RMSNorm(1e-6).apply({"params": {"scale": np.ones(512, np.float32)}}, x)
    assert normed.dtype == jnp.bfloat16
    np.testing.assert_array_equal(normed.astype(jnp.float32), 1.0)


def feed_forward(gated: bool, activation: str):
    config = FeedForwardConfig(hidden=5, activation=activation, gated=gated)
    names = ("up", "gate", "down") if gated else ("up", "down")
    kernels = {
        name: RNG.standard_normal((5, 6) if name == "down" else (6, 5)).astype(np.float32)
        for name in names
    }
    params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
    actual = FeedForward(config, 6, 1.0, FLOAT32).apply({"params": params}, jnp.asarray(X_BTD))
    return actual, kernels


def test_gated_silu_is_swiglu():
    actual, w = feed_forward(gated=True, activation="silu")
    gate = X_BTD @ w["gate"]
    expected = (gate / (1 + np.exp(-gate)) * (X_BTD @ w["up"])) @ w["down"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_ungated_relu_squared_has_two_matrices():
    actual, w = feed_forward(gated=False, activation="relu_squared")
    expected = np.maximum(X_BTD @ w["up"], 0) ** 2 @ w["down"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("eqn", "shape", "fan_in_axes"),
    [("BTD,DNH->BTNH", (64, 4, 16), (0,)), ("BTNH,NHD->BTD", (4, 16, 64), (0, 1))],
)
def test_a_fresh_einsum_keeps_the_variance_over_the_axes_it_sums(eqn, shape, fan_in_axes):
    layer = Einsum(eqn, shape, ("a", "b", "c"))
    x = RNG.standard_normal((8, 32, *(shape[axis] for axis in fan_in_axes))).astype(np.float32)
    boxed = layer.init(jax.random.key(0), jnp.asarray(x))["params"]
    assert boxed["kernel"].names == ("a", "b", "c")
    assert boxed["kernel"].fan_in_axes == fan_in_axes
    params = nn.meta.unbox(boxed)
    assert params["kernel"].dtype == jnp.float32
    out = layer.apply({"params": params}, jnp.asarray(x))
    assert 0.9 < float(jnp.std(out)) < 1.1


def test_embed_looks_up_rows_and_its_logits_are_products_with_them():
    table = RNG.standard_normal((7, 6)).astype(np.float32)
    embed, variables = Embed(7, 6, FLOAT32), {"params": {"embedding": table}}
    tokens = np.array([[3, 0, 6]], np.int32)
    x_BTD = np.asarray(embed.apply(variables, jnp.asarray(tokens)))
    ratio = x_BTD / table[tokens]
    np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-5)  # rows, up to one factor
    logits_BTV = embed.apply(variables, jnp.asarray(X_BTD), method="logits")
    np.testing.assert_allclose(logits_BTV, X_BTD @ table.T, rtol=1e-4, atol=1e-4)


def test_bfloat16_embed_gives_bfloat16_vectors_and_float32_logits():
    table = RNG.standard_normal((7, 6)).astype(np.float32)
    embed, variables = Embed(7, 6, jnp.dtype("bfloat16")), {"params": {"embedding": table}}
    x_BTD = embed.apply(variables, jnp.zeros((1, 2), jnp.int32))
    assert x_BTD.dtype == jnp.bfloat16
    assert embed.apply(variables, x_BTD, method="logits").dtype == jnp.float32
