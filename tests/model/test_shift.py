"""Shifted keys and values against a loop over documents."""

import jax.numpy as jnp
import numpy as np

from nanojaxlm.model.shift import Shift


def test_shift_mixes_each_vector_with_the_one_before_it_in_its_document():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 3, 4)).astype(np.float32)
    rate = np.array([0.0, 0.3, 1.0], np.float32)
    segments = np.array([[1, 1, 1, 2, 2, 3, 0], [0, 0, 1, 1, 1, 1, 1]], np.int32)
    expected = np.zeros_like(x)
    for b in range(2):
        for s in range(7):
            same = s > 0 and segments[b, s] == segments[b, s - 1]
            previous = x[b, s - 1] if same else np.zeros_like(x[b, s])
            expected[b, s] = (1 - rate)[:, None] * x[b, s] + rate[:, None] * previous
    got = Shift().apply({"params": {"rate": jnp.asarray(rate)}}, jnp.asarray(x), segments)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
