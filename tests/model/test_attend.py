"""attend: each backend against loops over every query and key in numpy, and which one serves."""

import itertools
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model import attend as module
from nanojaxlm.model.attend import attend, dense
from nanojaxlm.model.blockwise import blockwise
from nanojaxlm.model.masks import AttentionMask

BACKENDS = {"dense": dense, "blockwise": partial(blockwise, block=4)}


def reference(q, k, v, mask, scale, softcap=None, bias=None) -> np.ndarray:
    """softmax(cap(scale q k) + bias) v, one query at a time, over the keys that it may see."""
    batch_size, length, num_heads, _ = q.shape
    group = num_heads // k.shape[2]
    out = np.zeros(q.shape)
    for b, t, n in itertools.product(range(batch_size), range(length), range(num_heads)):
        keys = np.flatnonzero(mask[b, 0, t])
        scores = np.array([q[b, t, n] @ k[b, s, n // group] for s in keys], np.float64) * scale
        if softcap is not None:
            scores = softcap * np.tanh(scores / softcap)
        if bias is not None:
            scores = scores + bias[0, n, t, keys]
        weights = np.exp(scores - scores.max())
        out[b, t, n] = (weights / weights.sum()) @ v[b, keys, n // group]
    return out


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("variant", ["plain", "softcap", "bias"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_attend_matches_numpy(backend: str, num_kv_heads: int, variant: str):
    """Rows of 2 documents, the second with a prefix, the queries from the fourth place on."""
    rng = np.random.default_rng(0)
    q = rng.standard_normal((2, 6, 4, 8)).astype(np.float32)
    k, v = rng.standard_normal((2, 2, 9, num_kv_heads, 8)).astype(np.float32)
    segments = np.array([[1, 1, 2, 2, 2, 2, 2, 2, 2], [0, 1, 1, 1, 1, 2, 2, 2, 0]], np.int32)
    prefix = np.array([[0, 0, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 0, 0]], np.int32)
    mask = AttentionMask(*map(jnp.asarray, (segments[:, 3:], segments)), 3, jnp.asarray(prefix))
    softcap = 0.7 if variant == "softcap" else None
    bias = rng.standard_normal((1, 4, 6, 9)).astype(np.float32) if variant == "bias" else None
    out = BACKENDS[backend](
        *map(jnp.asarray, (q, k, v)),
        mask,
        causal=True,
        window=5,
        scale=0.6,
        softcap=softcap,
        bias_1NTS=None if bias is None else jnp.asarray(bias),
    )
    expected = reference(q, k, v, np.asarray(mask.dense(True, 5)), 0.6, softcap, bias)
    np.testing.assert_allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_attend_computes_the_softmax_of_bfloat16_in_float32(backend: str, softcap: float | None):
    """512 equal keys: in bfloat16 a sum of ones stops at 256 and the mean would be twice too big.
    The values are of one sign so that such an error shows."""
    k = jnp.zeros((1, 512, 1, 8), jnp.bfloat16)
    v = jnp.ones((1, 512, 1, 8), jnp.bfloat16)
    q = jnp.zeros((1, 1, 1, 8), jnp.bfloat16)
    mask = AttentionMask(jnp.ones((1, 1), jnp.int32), jnp.ones((1, 512), jnp.int32))
    options: Any = {"causal": False, "window": None, "scale": 1.0, "softcap": softcap}
    out = BACKENDS[backend](q, k, v, mask, **options)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), 1.0, atol=0.01)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_that_may_see_nothing_is_no_nan(backend: str, softcap: float | None):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.standard_normal((1, 3, 2, 4)), jnp.float32) for _ in range(3))
    mask = AttentionMask(jnp.asarray([[1, 5, 2]]), jnp.asarray([[1, 2, 2]]))
    options: Any = {"causal": False, "window": None, "scale": 0.5, "softcap": softcap}
    out = BACKENDS[backend](q, k, v, mask, **options)
    np.testing.assert_allclose(out[0, 1], v[0].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("platform", "length", "change", "expected"),
    [
        ("cpu", 512, {}, "dense"),
        ("gpu", 4096, {}, "blockwise"),
        ("tpu", 1024, {}, "splash"),
        ("tpu", 1024, {"softcap": 30.0, "window": 256}, "splash"),
        ("tpu", 1000, {}, "dense"),
        ("tpu", 512, {"bias_1NTS": jnp.zeros((1, 2, 1, 1))}, "dense"),
        ("tpu", 512, {"q_start": jnp.int32(0)}, "dense"),
        ("tpu", 4096, {"k_prefix_BS": jnp.zeros((1, 4096), jnp.int32)}, "blockwise"),
    ],
)
def test_the_machine_and_the_arrays_choose_the_backend(
    monkeypatch: pytest.MonkeyPatch, platform: str, length: int, change: Any, expected: str
):
    def named(name: str):
        return lambda *args, **options: name

    monkeypatch.setattr(module, "platform", lambda: platform)
    for name in ("dense", "blockwise", "splash"):
        monkeypatch.setattr(module, name, named(name))
    x, segments = jnp.zeros((1, length, 2, 8)), jnp.ones((1, length), jnp.int32)
    of_mask = {name: change[name] for name in change if name in AttentionMask._fields}
    mask = AttentionMask(segments, segments, **of_mask)
    options = {name: change[name] for name in change if name not in of_mask}
    defaults: Any = {"causal": True, "window": None, "scale": 1.0}
    assert attend(x, x, x, mask, **defaults | options) == expected
