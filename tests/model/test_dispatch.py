"""Where assignments go, on small examples written out, and rows that go there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.dispatch import buffer_rows, buffers, sort_by, take_rows, through_experts


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def test_assignments_are_sorted_by_key_and_those_of_none_take_no_row():
    layout, sizes = sort_by(jnp.asarray([1, 2, 0, 1]), 2)
    assert layout.row_A.tolist() == [1, 4, 0, 2]
    assert layout.assignment_R.tolist() == [2, 0, 3, 4]
    assert sizes.tolist() == [1, 2]


def test_a_buffer_takes_the_first_that_come():
    layout = buffers(jnp.asarray([1, 0, 1, 1]), 2, 2)
    assert layout.row_A.tolist() == [2, 0, 3, 4]
    assert layout.assignment_R.tolist() == [1, 4, 0, 2]


def test_layouts_are_inverses_of_each_other():
    rng = np.random.default_rng(0)
    key_A = jnp.asarray(rng.integers(0, 6, 40))  # 5 is none
    for layout in (sort_by(key_A, 5)[0], buffers(key_A, 5, 4), buffers(key_A, 5, 40)):
        num_rows, num = layout.assignment_R.size, key_A.size
        row_of = {a: r for r, a in enumerate(layout.assignment_R.tolist()) if a < num}
        assert [row_of.get(a, num_rows) for a in range(num)] == layout.row_A.tolist()


@pytest.mark.parametrize(
    ("experts", "owners", "capacity", "rows"),
    [
        (8, 8, None, 16),  # one expert an owner, to which a token goes once
        (8, 2, None, 48),  # top_k of them
        (8, 2, 1.0, 24),
        (8, 2, 1.01, 25),
        (8, 2, 9.0, 48),  # never more than enough
    ],
)
def test_buffers_hold_any_routing_or_a_factor_of_even_routing(experts, owners, capacity, rows):
    assert buffer_rows(16, 3, experts, owners, capacity) == rows


def test_taking_rows_has_the_gradient_of_indexing():
    layout, _ = sort_by(jnp.asarray([1, 2, 0, 1, 0, 0]), 2)  # 3 tokens, 2 experts each
    x_MD, r_RD = draw(3, 4), draw(6, 4, seed=1)
    index_R, back_MK = layout.assignment_R // 2, layout.row_A.reshape(3, 2)

    def ours(x_MD: jax.Array) -> jax.Array:
        return jnp.sum(take_rows(x_MD, index_R, back_MK) * r_RD)

    def indexed(x_MD: jax.Array) -> jax.Array:
        return jnp.sum(jnp.concatenate([x_MD, jnp.zeros((1, 4))])[index_R] * r_RD)

    for actual, expected in zip(
        jax.value_and_grad(ours)(x_MD), jax.value_and_grad(indexed)(x_MD), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_each_assignment_gets_what_its_expert_says_and_none_gets_zeros():
    x_MD, experts_MK = draw(3, 4), jnp.asarray([[1, 0], [2, 1], [2, 2]])  # 2 is none

    def experts(rows_RD: jax.Array, sizes_E: jax.Array) -> jax.Array:
        """Times 10 and 100; beyond, where nothing is promised, NaN."""
        factor_R = jnp.repeat(jnp.asarray([10.0, 100.0, jnp.nan]), jnp.append(sizes_E, 3),
                              total_repeat_length=6)  # fmt: skip
        return rows_RD * factor_R[:, None]

    out_MKD = through_experts(x_MD, experts_MK, experts, 2)
    factor_MK = jnp.asarray([[100.0, 10.0], [0.0, 100.0], [0.0, 0.0]])
    np.testing.assert_allclose(out_MKD, x_MD[:, None] * factor_MK[..., None], rtol=1e-6)
