"""Cross-entropy in chunks against numpy and against plain differentiation of the whole."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.losses import LossConfig, chunked_loss, cross_entropy

B, T, D, V = 3, 8, 6, 11
Z_LOSS = 0.3


def head(params: Any, x_BTD: jax.Array) -> jax.Array:
    return jnp.einsum("BTD,DV->BTV", x_BTD, params["w_DV"])


@pytest.fixture(scope="module")
def inputs() -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    """(head parameters, x_BTD, targets_BT, weights_BT): weights 0, 1 and between."""
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.standard_normal((D, V)), jnp.float32)
    x = jnp.asarray(rng.standard_normal((B, T, D)), jnp.float32)
    weights = rng.choice([0.0, 0.5, 1.0], (B, T))
    weights[0, 0], weights[1, 1] = 0.0, 1.0
    targets = jnp.asarray(rng.integers(0, V, (B, T)), jnp.int32)
    return {"w_DV": w}, x, targets, jnp.asarray(weights, jnp.float32)


def numpy_sums(params, x, targets, weights) -> tuple[float, float, float]:
    logits = np.asarray(x, np.float64) @ np.asarray(params["w_DV"], np.float64)
    nll = z = count = 0.0
    for b in range(B):
        for t in range(T):
            log_z = np.log(np.exp(logits[b, t]).sum())
            nll += weights[b, t] * (log_z - logits[b, t, targets[b, t]])
            z += weights[b, t] * log_z**2
            count += weights[b, t]
    return float(nll), float(z), float(count)


def test_sums_match_numpy(inputs):
    params, x, targets, weights = inputs
    sums = cross_entropy(head(params, x), targets, weights)
    np.testing.assert_allclose(sums, (*numpy_sums(*inputs), 0.0, 0.0, 0.0), rtol=1e-5)


def test_huge_logits_stay_finite():
    logits = jnp.asarray([[[1e4, -1e4]]], jnp.float32)
    sums = cross_entropy(logits, jnp.ones((1, 1), jnp.int32), jnp.ones((1, 1), jnp.float32))
    assert float(sums.nll) == 2e4


@pytest.mark.parametrize("chunk_length", [1, 2, 3, 5, 8, 100])  # dividing the 8 tokens or not
def test_chunked_equals_whole_in_value_and_gradient(inputs, chunk_length: int):
    params, x, targets, weights = inputs

    def whole(params: Any, x: jax.Array) -> jax.Array:
        sums = cross_entropy(head(params, x), targets, weights)
        return sums.nll + Z_LOSS * sums.z

    def chunked(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        return chunked_loss(head, params, x, targets, weights, chunk_length, Z_LOSS)

    value, sums = chunked(params, x)
    nll, z, count = numpy_sums(*inputs)
    np.testing.assert_allclose(value, nll + Z_LOSS * z, rtol=1e-5)
    np.testing.assert_allclose(sums, (nll, z, count, 0.0, 0.0, 0.0), rtol=1e-5)
    expected = jax.grad(whole, argnums=(0, 1))(params, x)
    (value_again, sums_again), actual = jax.value_and_grad(chunked, argnums=(0, 1), has_aux=True)(
        params, x
    )
    np.testing.assert_allclose(value_again, value, rtol=1e-6)  # the other of the two ways
    np.testing.assert_allclose(sums_again, sums, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), actual, expected)


def test_the_gradient_is_the_slope_of_the_loss(inputs):
    """Central differences in a random direction of x and of the head."""
    params, x, targets, weights = inputs
    rng = np.random.default_rng(1)
    direction = {"w_DV": jnp.asarray(rng.standard_normal((D, V)), jnp.float32)}
    x_direction = jnp.asarray(rng.standard_normal(x.shape), jnp.float32)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return chunked_loss(head, params, x, targets, weights, 4, Z_LOSS)[0]

    def along(step: float) -> float:
        moved = params["w_DV"] + step * direction["w_DV"]
        total = numpy_sums({"w_DV": moved}, x + step * x_direction, targets, weights)
        return total[0] + Z_LOSS * total[1]

    gradients = jax.grad(loss, argnums=(0, 1))(params, x)
    slope = jnp.vdot(gradients[0]["w_DV"], direction["w_DV"]) + jnp.vdot(gradients[1], x_direction)
    np.testing.assert_allclose(slope, (along(1e-3) - along(-1e-3)) / 2e-3, rtol=1e-3)


def test_the_gradient_scales_with_what_follows(inputs):
    params, x, targets, weights = inputs

    def loss(x: jax.Array, factor: float) -> jax.Array:
        return factor * chunked_loss(head, params, x, targets, weights, 4, 0.0)[0]

    np.testing.assert_allclose(jax.grad(loss)(x, 3.0), 3.0 * jax.grad(loss)(x, 1.0), rtol=1e-5)


def test_targets_of_weight_zero_contribute_nothing(inputs):
    params, x, targets, weights = inputs
    other_targets = jnp.where(weights == 0, (targets + 1) % V, targets)
    other_x = jnp.where(weights[..., None] == 0, 7.0, x)

    def loss(x: jax.Array, targets: jax.Array) -> jax.Array:
        return chunked_loss(head, params, x, targets, weights, 4, Z_LOSS)[0]

    value, gradient = jax.value_and_grad(loss)(x, targets)
    assert loss(other_x, other_targets) == value
    np.testing.assert_array_equal(gradient[weights == 0], 0)


def test_bfloat16_activations_get_bfloat16_gradients_near_the_exact_ones(inputs):
    params, x, targets, weights = inputs

    def cast_head(params: Any, x: jax.Array) -> jax.Array:
        return head(params, x.astype(jnp.float32))

    def loss(x: jax.Array) -> jax.Array:
        return chunked_loss(cast_head, params, x, targets, weights, 4, Z_LOSS)[0]

    gradient = jax.grad(loss)(x.astype(jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    exact = jax.grad(loss)(x)
    np.testing.assert_allclose(gradient.astype(jnp.float32), exact, atol=0.1)


def largest_array(jaxpr: Any) -> int:
    """Elements of the largest value that any equation makes, in loops and calls too."""
    largest = 0
    for equation in jaxpr.eqns:
        largest = max([largest, *(getattr(v.aval, "size", 0) for v in equation.outvars)])
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or callable(p)
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                largest = max(largest, largest_array(inner))
    return largest


@pytest.mark.parametrize("differentiate", [False, True])
def test_the_whole_logits_never_exist(differentiate: bool):
    """Sizes such that nothing else is as large as the B*T*V logits; a chunk has an eighth."""
    batch, length, width, vocab = 2, 64, 4, 512
    params = {"w_DV": jnp.ones((width, vocab), jnp.float32)}
    x = jnp.ones((batch, length, width), jnp.float32)
    targets, weights = jnp.ones((batch, length), jnp.int32), jnp.ones((batch, length), jnp.float32)

    def chunked(params: Any, x: jax.Array) -> jax.Array:
        return chunked_loss(head, params, x, targets, weights, 8, Z_LOSS)[0]

    def whole(params: Any, x: jax.Array) -> jax.Array:
        return cross_entropy(head(params, x), targets, weights).nll

    make = (lambda f: jax.grad(f, argnums=(0, 1))) if differentiate else (lambda f: f)
    all_logits = batch * length * vocab
    assert largest_array(jax.make_jaxpr(make(whole))(params, x).jaxpr) >= all_logits
    assert largest_array(jax.make_jaxpr(make(chunked))(params, x).jaxpr) == all_logits // 8


def test_no_logits_are_computed_twice():
    """Per chunk: one product for the logits, two for the gradients of x and of the head."""
    params = {"w_DV": jnp.ones((D, V), jnp.float32)}
    ones = jnp.ones((B, T), jnp.int32)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return chunked_loss(head, params, x, ones, ones.astype(jnp.float32), 4, 0.0)[0]

    gradient = jax.grad(loss, argnums=(0, 1))
    jaxpr = str(jax.make_jaxpr(gradient)(params, jnp.ones((B, T, D), jnp.float32)))
    assert jaxpr.count("dot_general") == 3


@pytest.mark.parametrize("wrong", [{"z_loss": -1e-4}, {"chunk_length": 0}, {"future": -1.0}])
def test_impossible_configs_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LossConfig(**wrong)
