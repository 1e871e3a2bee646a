"""attend against loops over every query and key in numpy, and the mask spelt out."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.attend import attend
from nanojaxlm.model.masks import AttentionMask


def reference(q, k, v, mask: AttentionMask) -> np.ndarray:
    """softmax(q k / sqrt(H)) v, one query at a time, over the keys that it may see."""
    batch_size, length, num_heads, width = q.shape
    group = num_heads // k.shape[2]
    out = np.zeros(q.shape)
    for b, t, n in itertools.product(range(batch_size), range(length), range(num_heads)):
        at = int(mask.q_start) + t
        first = 0 if mask.window is None else max(0, at - mask.window + 1)
        segment = mask.q_segments_BT[b, t]
        keys = [s for s in range(first, at + 1) if mask.k_segments_BS[b, s] == segment]
        scores = np.array([q[b, t, n] @ k[b, s, n // group] for s in keys]) / width**0.5
        weights = np.exp(scores - scores.max())
        out[b, t, n] = (weights / weights.sum()) @ v[b, keys, n // group]
    return out


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("q_start", [0, 3])
def test_attend_matches_numpy(num_kv_heads: int, window: int | None, q_start: int):
    rng = np.random.default_rng(0)
    q = rng.standard_normal((2, 6, 4, 8)).astype(np.float32)
    k, v = rng.standard_normal((2, 2, 6 + q_start, num_kv_heads, 8)).astype(np.float32)
    # Two documents and padding at the end; padding at the start, then one document.
    k_segments = np.array([[1, 1, 1, 2, 2, 2, 2, 0, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1]], np.int32)
    k_segments = k_segments[:, : 6 + q_start]
    mask = AttentionMask(k_segments[:, q_start:], k_segments, q_start, window)
    out = attend(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), mask)
    np.testing.assert_allclose(out, reference(q, k, v, mask), atol=2e-6)


def test_attend_computes_the_softmax_of_bfloat16_in_float32():
    """512 equal keys: in bfloat16 a sum of ones stops at 256 and the mean would be twice too big.
    The values are of one sign so that such an error shows."""
    k = jnp.zeros((1, 512, 1, 8), jnp.bfloat16)
    v = jnp.ones((1, 512, 1, 8), jnp.bfloat16)
    ones = np.ones((1, 512), np.int32)
    out = attend(jnp.zeros((1, 1, 1, 8), jnp.bfloat16), k, v, AttentionMask(ones[:, :1], ones, 511))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), 1.0, atol=0.01)


def test_the_mask_of_two_packed_documents_is_two_triangles():
    segments = np.array([[1, 1, 2]], np.int32)
    expected = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    np.testing.assert_array_equal(AttentionMask(segments, segments).dense()[0, 0], expected)


def test_a_window_of_two_sees_itself_and_one_before():
    segments = np.ones((1, 4), np.int32)
    expected = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], bool)
    dense = AttentionMask(segments, segments, window=2).dense()
    np.testing.assert_array_equal(dense[0, 0], expected)


def test_a_padding_query_has_a_key_so_no_row_is_empty():
    segments = np.array([[0, 0, 1, 1, 0]], np.int32)
    assert AttentionMask(segments, segments).dense().any(axis=-1).all()
