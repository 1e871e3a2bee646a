"""Which queries a device gets, and how they get there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.row_split import exchange, places
from nanojaxlm.sharding import MeshConfig, make_mesh, per_device, use_mesh


def test_two_devices_balance_eight_queries():
    assert places(8, 2, False).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert places(8, 2, True).tolist() == [[0, 1, 6, 7], [4, 5, 2, 3]]


@pytest.mark.parametrize("num", [1, 2, 3, 4, 8, 16])
def test_balanced_devices_see_the_same_number_of_keys(num: int):
    index_nT = places(96, num, True)
    assert sorted(index_nT.reshape(-1)) == list(range(96))
    assert len(set((index_nT + 1).sum(axis=1))) == 1
    runs = index_nT.reshape(2 * num, -1)
    assert (np.diff(runs) == 1).all()


@pytest.mark.parametrize("num", [2, 4, 8])
def test_an_exchange_brings_each_device_its_places_and_back(num: int):
    index = jnp.arange(48, dtype=jnp.int32)[None, :, None] * jnp.ones((8, 1, 3), jnp.int32)
    names = ("batch", "length", None)

    def there_and_back(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        there = exchange(x, 1)
        return there, exchange(there, 1, back=True)

    with use_mesh(make_mesh(MeshConfig(context=num))):
        f = per_device(there_and_back, (names,), (names, names))
        there, back = jax.jit(f)(index)
    np.testing.assert_array_equal(back, index)
    np.testing.assert_array_equal(there[0, :, 0], places(48, num, True).reshape(-1))
