"""attend against loops over every query and key in numpy, under masks, caps and biases."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.attend import attend


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
def test_attend_matches_numpy(num_kv_heads: int, variant: str):
    rng = np.random.default_rng(0)
    q = rng.standard_normal((2, 6, 4, 8)).astype(np.float32)
    k, v = rng.standard_normal((2, 2, 9, num_kv_heads, 8)).astype(np.float32)
    mask = rng.random((2, 1, 6, 9)) < 0.5
    mask[:, :, :, 3] = True  # no row is empty
    softcap = 0.7 if variant == "softcap" else None
    bias = rng.standard_normal((1, 4, 6, 9)).astype(np.float32) if variant == "bias" else None
    out = attend(
        *map(jnp.asarray, (q, k, v, mask)),
        scale=0.6,
        softcap=softcap,
        bias_1NTS=None if bias is None else jnp.asarray(bias),
    )
    np.testing.assert_allclose(out, reference(q, k, v, mask, 0.6, softcap, bias), atol=2e-6)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_attend_computes_the_softmax_of_bfloat16_in_float32(softcap: float | None):
    """512 equal keys: in bfloat16 a sum of ones stops at 256 and the mean would be twice too big.
    The values are of one sign so that such an error shows."""
    k = jnp.zeros((1, 512, 1, 8), jnp.bfloat16)
    v = jnp.ones((1, 512, 1, 8), jnp.bfloat16)
    q, mask = jnp.zeros((1, 1, 1, 8), jnp.bfloat16), jnp.ones((1, 1, 1, 512), bool)
    out = attend(q, k, v, mask, scale=1.0, softcap=softcap)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), 1.0, atol=0.01)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_a_query_that_may_see_nothing_is_no_nan(softcap: float | None):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.standard_normal((1, 3, 2, 4)), jnp.float32) for _ in range(3))
    mask = jnp.asarray([[[[True, False, False], [False] * 3, [True, True, True]]]])
    out = attend(q, k, v, mask, scale=0.5, softcap=softcap)
    np.testing.assert_allclose(out[0, 1], v[0].mean(axis=0), rtol=1e-5)
