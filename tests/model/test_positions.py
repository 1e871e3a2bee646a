"""The rotation against complex numbers, and the property it is made for."""

import jax.numpy as jnp
import numpy as np

from nanojaxlm.model.positions import make_rotation, rotate


def test_rotation_is_a_complex_product_over_half_split_pairs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 3, 8)).astype(np.float32)
    positions = rng.integers(0, 1000, (2, 5)).astype(np.int32)
    theta = 500.0
    frequency = theta ** (-2 * np.arange(4) / 8)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * positions[..., None, None] * frequency)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    actual = rotate(jnp.asarray(x), make_rotation(jnp.asarray(positions), 8, theta))
    # float32 angles of up to 1000 radians carry an error of 1000 * 2^-24
    np.testing.assert_allclose(actual, expected, atol=3e-4)


def test_products_depend_on_the_distance_only():
    rng = np.random.default_rng(1)
    q, k = (jnp.asarray(rng.standard_normal((1, 1, 1, 16)), jnp.float32) for _ in range(2))

    def product(q_position: int, k_position: int) -> float:
        turned = [
            rotate(x, make_rotation(jnp.full((1, 1), position), 16, 10_000.0))
            for x, position in ((q, q_position), (k, k_position))
        ]
        return float(jnp.sum(turned[0] * turned[1]))

    near = [product(start + 3, start) for start in (0, 7, 200)]
    np.testing.assert_allclose(near, near[0], rtol=2e-4)
    assert abs(product(10, 0) - near[0]) > 0.1


def test_position_zero_is_left_alone_and_the_dtype_kept():
    x = jnp.asarray(np.random.default_rng(2).standard_normal((1, 3, 2, 4)), jnp.bfloat16)
    rotated = rotate(x, make_rotation(jnp.zeros((1, 3), jnp.int32), 4, 10_000.0))
    assert rotated.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rotated, x)


def test_a_bfloat16_query_far_out_is_turned_by_its_exact_angle():
    """Angles computed in bfloat16 would be off by whole radians at position 1001."""
    x = jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    rotated = rotate(x, make_rotation(jnp.full((1, 1), 1001), 2, 10_000.0))
    expected = [np.cos(1001) - np.sin(1001), np.cos(1001) + np.sin(1001)]
    np.testing.assert_allclose(rotated.astype(jnp.float32)[0, 0, 0], expected, atol=0.01)
