"""The products of our own, the Pallas kernel for TPU interpreted, against XLA's ragged product."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.grouped import _tile_sizes, looped_product, megablox_product

SIZES = jnp.asarray([70, 0, 110], jnp.int32)  # a group without rows, and rows without a group
R, K, N = 200, 16, 24


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(
    "product",
    [
        pytest.param(partial(megablox_product, interpret=True), marks=pytest.mark.slow),
        looped_product,
    ],
)
def test_ours_is_the_ragged_product_in_values_and_gradients(product):
    x_RK, kernel_GKN, r_RN = draw(R, K), draw(3, K, N, seed=1), draw(R, N, seed=2)
    has_group_R1 = (jnp.arange(R) < jnp.sum(SIZES))[:, None]

    def outcome(product):
        def total(x_RK: jax.Array, kernel_GKN: jax.Array):
            out_RN = jnp.where(has_group_R1, product(x_RK, kernel_GKN, SIZES), 0)
            return jnp.sum(out_RN * r_RN), out_RN

        (_, out_RN), (x_gradient, kernel_gradient) = jax.value_and_grad(
            total, (0, 1), has_aux=True
        )(x_RK, kernel_GKN)
        return out_RN, jnp.where(has_group_R1, x_gradient, 0), kernel_gradient

    ours = outcome(product)
    for actual, expected in zip(ours, outcome(jax.lax.ragged_dot), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_tiles_divide_an_axis_where_they_can():
    assert _tile_sizes(1024, 16384, 4096, 14336) == (512, 1024, 1024)
    assert _tile_sizes(1024, 384, 3584, 24) == (128, 896, 24)
    assert _tile_sizes(512, 256, 1408, 2048) == (256, 512, 512)
