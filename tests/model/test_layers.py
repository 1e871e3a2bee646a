"""Each layer against its formula in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nanojaxlm.batch import Stream
from nanojaxlm.model.config import (
    ACTIVATIONS,
    EmbedConfig,
    FeedForwardConfig,
    HeadTransformConfig,
    LayerNormConfig,
    RMSNormConfig,
)
from nanojaxlm.model.layers import Einsum, Embed, FeedForward, Head, LayerNorm, RMSNorm

RNG = np.random.default_rng(0)
X_BTD = RNG.standard_normal((2, 3, 6)).astype(np.float32) * 5
FLOAT32 = jnp.dtype("float32")


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def numpy_activation(name: str, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    erf = np.vectorize(math.erf)
    return {
        "silu": lambda: x / (1 + np.exp(-x)),
        "gelu": lambda: x * (1 + erf(x / math.sqrt(2))) / 2,
        "gelu_tanh": lambda: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
        "relu": lambda: np.maximum(x, 0),
        "relu_squared": lambda: np.maximum(x, 0) ** 2,
    }[name]()


def numpy_layer_norm(x, scale, bias, epsilon: float) -> np.ndarray:
    x = np.asarray(x, np.float64)
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * scale + bias


# --- Norms


@pytest.mark.parametrize("centered", [False, True])
def test_rms_norm_matches_numpy(centered: bool):
    """centered: what is stored is what is added to 1."""
    scale = draw(6)
    config = RMSNormConfig(epsilon=0.5, centered=centered)
    actual = RMSNorm(config).apply({"params": {"scale": scale}}, jnp.asarray(X_BTD))
    x = X_BTD.astype(np.float64)
    expected = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 0.5) * (scale + centered)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_rms_norm_over_two_axes_takes_their_mean_together():
    x, scale = X_BTD.reshape(2, 3, 2, 3), draw(2, 3)
    norm = RMSNorm(RMSNormConfig(epsilon=0.5), ("heads", "head_dim"))
    actual = norm.apply({"params": {"scale": scale}}, jnp.asarray(x))
    mean_square = (x.astype(np.float64) ** 2).mean(axis=(-2, -1), keepdims=True)
    np.testing.assert_allclose(actual, x / np.sqrt(mean_square + 0.5) * scale, rtol=1e-5)


@pytest.mark.parametrize("has_bias", [False, True])
def test_layer_norm_matches_numpy(has_bias: bool):
    params = {"scale": draw(6)} | ({"bias": draw(6)} if has_bias else {})
    config = LayerNormConfig(epsilon=0.5, bias=has_bias)
    actual = LayerNorm(config).apply({"params": params}, jnp.asarray(X_BTD))
    expected = numpy_layer_norm(X_BTD, params["scale"], params.get("bias", 0.0), 0.5)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [RMSNorm(RMSNormConfig()), LayerNorm(LayerNormConfig())])
def test_norms_of_bfloat16_are_computed_in_float32(norm: nn.Module):
    """Squares of 200 and 202 are inexact in bfloat16, and so is their mean."""
    x = jnp.tile(jnp.asarray([-202.0, 200.0], jnp.bfloat16), (1, 1, 256))
    normed = norm.apply(norm.init(jax.random.key(0), x), x)
    assert normed.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.abs(normed.astype(jnp.float32)), 1.0, atol=2**-7)


def test_fresh_norms_leave_the_size_alone_centered_or_not():
    for config in (RMSNormConfig(), RMSNormConfig(centered=True)):
        norm = RMSNorm(config)
        normed = norm.apply(norm.init(jax.random.key(0), X_BTD), jnp.asarray(X_BTD))
        np.testing.assert_allclose((np.asarray(normed) ** 2).mean(axis=-1), 1.0, rtol=1e-4)


# --- Products


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_matches_numpy(activation: str, gated: bool, bias: bool):
    """Gated silu is SwiGLU; not gated, there are two matrices."""
    config = FeedForwardConfig(hidden=5, activation=activation, gated=gated, bias=bias)
    names = ("up", "gate", "down") if gated else ("up", "down")
    shapes = {"up": (6, 5), "gate": (6, 5), "down": (5, 6)}
    w = {name: draw(*shapes[name]) for name in names}
    b = {name: draw(shapes[name][1]) if bias else np.zeros(1) for name in names}
    params = {name: {"kernel": w[name]} | ({"bias": b[name]} if bias else {}) for name in names}
    actual = FeedForward(config, 6, 1.0, FLOAT32).apply({"params": params}, jnp.asarray(X_BTD))
    up = X_BTD @ w["up"] + b["up"]
    acted = numpy_activation(activation, X_BTD @ w["gate"] + b["gate"] if gated else up)
    expected = (acted * up if gated else acted) @ w["down"] + b["down"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("eqn", "shape", "fan_in_axes"),
    [("BTD,DNH->BTNH", (64, 4, 16), (0,)), ("BTNH,NHD->BTD", (4, 16, 64), (0, 1))],
)
def test_a_fresh_einsum_keeps_the_variance_over_the_axes_it_sums(eqn, shape, fan_in_axes):
    layer = Einsum(eqn, shape, ("a", "b", "c"), bias=True)
    x = RNG.standard_normal((8, 32, *(shape[axis] for axis in fan_in_axes))).astype(np.float32)
    boxed = layer.init(jax.random.key(0), jnp.asarray(x))["params"]
    assert boxed["kernel"].names == ("a", "b", "c")
    assert boxed["kernel"].fan_in_axes == fan_in_axes
    assert boxed["bias"].names == tuple("abc"[i] for i in range(3) if i not in fan_in_axes)
    assert boxed["bias"].fan_in_axes == ()
    params = nn.meta.unbox(boxed)
    assert params["kernel"].dtype == params["bias"].dtype == jnp.float32
    assert not params["bias"].any()
    out = layer.apply({"params": params}, jnp.asarray(x))
    assert 0.9 < float(jnp.std(out)) < 1.1


# --- Embedding


def stream(tokens: list[int], positions: list[int] | None = None) -> Stream:
    tokens_BT = np.array([tokens], np.int32)
    positions_BT = np.array([positions or range(len(tokens))], np.int32)
    return Stream(tokens_BT, positions_BT, np.ones_like(tokens_BT))


def embed(dtype: str = "float32", **fields) -> Embed:
    return Embed(7, 6, EmbedConfig(**fields), LayerNormConfig(), jnp.dtype(dtype))


def test_embed_looks_up_rows_and_its_logits_are_products_with_them():
    table = draw(7, 6)
    variables = {"params": {"embedding": table}}
    for module, scale in ((embed(), math.sqrt(6)), (embed(scale=0.5), 0.5)):
        x_BTD = module.apply(variables, stream([3, 0, 6]))
        np.testing.assert_allclose(x_BTD[0], table[[3, 0, 6]] * scale, rtol=1e-6)
        logits_BTV = module.apply(variables, jnp.asarray(X_BTD), method="logits")
        np.testing.assert_allclose(logits_BTV, X_BTD @ table.T, rtol=1e-4, atol=1e-4)


def test_embed_adds_positions_and_the_first_type_and_norms_the_sum():
    """BERT and RoBERTa: position 0 takes the row first_position."""
    params = {"embedding": draw(7, 6), "positions": draw(9, 6), "types": draw(2, 6),
              "norm": {"scale": draw(6), "bias": draw(6)}}  # fmt: skip
    module = embed(scale=1.0, num_positions=9, first_position=2, num_types=2, norm=True)
    x_BTD = module.apply({"params": params}, stream([3, 0, 6, 1], [0, 1, 0, 4]))
    total = params["embedding"][[3, 0, 6, 1]] + params["positions"][[2, 3, 2, 6]]
    expected = numpy_layer_norm(total + params["types"][0], *params["norm"].values(), 1e-5)
    np.testing.assert_allclose(x_BTD[0], expected, rtol=1e-4, atol=1e-5)


def test_a_position_beyond_the_table_is_nan_not_another_ones():
    params = {"embedding": draw(7, 6), "positions": draw(4, 6)}
    module = embed(num_positions=4, first_position=2)
    x_BTD = np.asarray(module.apply({"params": params}, stream([1, 1, 1])))
    assert np.isfinite(x_BTD[0, :2]).all() and np.isnan(x_BTD[0, 2]).all()


def test_bfloat16_embed_gives_bfloat16_vectors_and_float32_logits():
    module, variables = embed("bfloat16"), {"params": {"embedding": draw(7, 6)}}
    x_BTD = module.apply(variables, stream([0, 0]))
    assert x_BTD.dtype == jnp.bfloat16
    assert module.apply(variables, x_BTD, method="logits").dtype == jnp.float32


# --- Head


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_transforms_projects_scales_adds_and_caps_in_this_order(tiny_config, tied: bool):
    config = tiny_config(
        d_model=6, vocab_size=7, tie_embeddings=tied, norm=LayerNormConfig(epsilon=1e-3),
        head_transform=HeadTransformConfig(activation="gelu"), head_bias=True, logit_scale=0.5,
        logit_softcap=2.0,
    )  # fmt: skip
    table, kernel = draw(7, 6), draw(6, 7)
    params = {
        "transform": {"kernel": draw(6, 6), "bias": draw(6)},
        "norm": {"scale": draw(6), "bias": draw(6)},
        "bias": draw(7),
    } | ({} if tied else {"kernel": kernel})

    class Both(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            shared = Embed(7, 6, config.embed, config.last.norm, FLOAT32, name="embed")
            return Head(config, name="head")(x, shared)

    variables = {"params": {"head": params, "embed": {"embedding": table}}}
    actual = Both().apply(variables, jnp.asarray(X_BTD))
    transform, norm = params["transform"], params["norm"]
    h = numpy_activation("gelu", X_BTD @ transform["kernel"] + transform["bias"])
    h = numpy_layer_norm(h, norm["scale"], norm["bias"], 1e-3)
    logits = h @ (table.T if tied else kernel) * 0.5 + params["bias"]
    assert np.abs(logits).max() > 2, "the cap is at work"
    np.testing.assert_allclose(actual, 2 * np.tanh(logits / 2), rtol=1e-4, atol=1e-5)
