"""Rotations against complex numbers, their extensions against direct formulas, and T5's buckets
against loops."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.config import (
    BandScaling,
    LinearScaling,
    RelativeBiasConfig,
    Rope,
    YarnScaling,
)
from nanojaxlm.model.positions import (
    RelativeBias,
    buckets,
    frequencies,
    make_rotation,
    rotate,
)

ROPE = Rope(theta=10_000.0)


def turned(x: np.ndarray, positions: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """A complex product over half-split pairs."""
    half = len(frequency)
    pairs = x[..., :half] + 1j * x[..., half : 2 * half]
    pairs = pairs * np.exp(1j * positions[..., None, None] * frequency)
    return np.concatenate([pairs.real, pairs.imag, x[..., 2 * half :]], axis=-1)


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_rotation_is_a_complex_product_over_half_split_pairs(rate: float):
    """At a rate of a half, the second half of the head is left as it is."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 3, 8)).astype(np.float32)
    positions = rng.integers(0, 1000, (2, 5)).astype(np.int32)
    rotated = int(8 * rate)
    frequency = 500.0 ** (-2 * np.arange(rotated // 2) / rotated)
    rotation = make_rotation(jnp.asarray(positions), Rope(theta=500.0, rate=rate), rotated)
    actual = rotate(jnp.asarray(x), rotation)
    # float32 angles of up to 1000 radians carry an error of 1000 * 2^-24
    np.testing.assert_allclose(actual, turned(x, positions, frequency), atol=3e-4)


def test_products_depend_on_the_distance_only():
    rng = np.random.default_rng(1)
    q, k = (jnp.asarray(rng.standard_normal((1, 1, 1, 16)), jnp.float32) for _ in range(2))

    def product(q_position: int, k_position: int) -> float:
        turned = [
            rotate(x, make_rotation(jnp.full((1, 1), position), ROPE, 16))
            for x, position in ((q, q_position), (k, k_position))
        ]
        return float(jnp.sum(turned[0] * turned[1]))

    near = [product(start + 3, start) for start in (0, 7, 200)]
    np.testing.assert_allclose(near, near[0], rtol=2e-4)
    assert abs(product(10, 0) - near[0]) > 0.1


def test_position_zero_is_left_alone_and_the_dtype_kept():
    x = jnp.asarray(np.random.default_rng(2).standard_normal((1, 3, 2, 4)), jnp.bfloat16)
    rotated = rotate(x, make_rotation(jnp.zeros((1, 3), jnp.int32), ROPE, 4))
    assert rotated.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rotated, x)


def test_a_bfloat16_query_far_out_is_turned_by_its_exact_angle():
    """Angles computed in bfloat16 would be off by whole radians at position 1001."""
    x = jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    rotated = rotate(x, make_rotation(jnp.full((1, 1), 1001), ROPE, 2))
    expected = [np.cos(1001) - np.sin(1001), np.cos(1001) + np.sin(1001)]
    np.testing.assert_allclose(rotated.astype(jnp.float32)[0, 0, 0], expected, atol=0.01)


# --- Longer rows than were trained on


def test_linear_scaling_is_a_rotation_by_a_part_of_the_position():
    scaled = Rope(theta=500.0, scaling=LinearScaling(factor=4.0))
    near, far = (
        make_rotation(jnp.full((1, 1), position), rope, 8)
        for position, rope in ((5, Rope(theta=500.0)), (20, scaled))
    )
    np.testing.assert_allclose(near.cos, far.cos, rtol=1e-6)
    np.testing.assert_allclose(near.sin, far.sin, rtol=1e-6)


def test_band_scaling_is_llamas_by_wavelength():
    """Llama 3.1, one frequency at a time, with that model's numbers."""
    factor, low, high, length = 8.0, 1.0, 4.0, 8192
    plain = 500_000.0 ** (-2 * np.arange(64) / 128)
    expected = []
    for frequency in plain:
        wavelength = 2 * math.pi / frequency
        smooth = (length / wavelength - low) / (high - low)
        if wavelength < length / high:
            expected.append(frequency)
        elif wavelength > length / low:
            expected.append(frequency / factor)
        else:
            expected.append((1 - smooth) * frequency / factor + smooth * frequency)
    assert expected[0] == plain[0] and expected[-1] == plain[-1] / factor
    assert any(f / factor < e < f for e, f in zip(expected, plain, strict=True)), "a ramp"
    scaling = BandScaling(
        factor=factor, low_frequency_factor=low, high_frequency_factor=high, original_length=length
    )
    actual = frequencies(Rope(theta=500_000.0, scaling=scaling), 128)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("attention_factor", "expected_factor"), [(None, 0.1 * math.log(4) + 1), (1.5, 1.5)]
)
def test_yarn_scaling_is_its_papers(attention_factor: float | None, expected_factor: float):
    """Peng et al. 2023, eq. 17 to 23, one pair at a time: those that turn more often than beta_fast
    within the original length are kept, those that turn less often than beta_slow divided; the ramp
    between goes by the pair's number, from the whole one below to the whole one above."""
    theta, width, length, factor, fast, slow = 10_000.0, 64, 2048, 4.0, 32.0, 1.0
    plain = [theta ** (-2 * i / width) for i in range(width // 2)]
    turns = [length * f / (2 * math.pi) for f in plain]
    start = max(i for i in range(width // 2) if turns[i] >= fast)
    stop = min(i for i in range(width // 2) if turns[i] <= slow)
    assert 0 < start < stop < width // 2 - 1
    expected = []
    for i, frequency in enumerate(plain):
        divided = min(max((i - start) / (stop - start), 0.0), 1.0)
        expected.append(divided * frequency / factor + (1 - divided) * frequency)
    scaling = YarnScaling(factor=factor, original_length=length, attention_factor=attention_factor)
    rope = Rope(theta=theta, scaling=scaling)
    np.testing.assert_allclose(frequencies(rope, width), expected, rtol=1e-6)
    rotation = make_rotation(jnp.full((1, 1), 7), rope, width)
    angle = 7 * np.array(expected)
    np.testing.assert_allclose(rotation.cos[0, 0, 0], expected_factor * np.cos(angle), atol=1e-5)
    np.testing.assert_allclose(rotation.sin[0, 0, 0], expected_factor * np.sin(angle), atol=1e-5)


# --- Relative bias


def t5_bucket(relative: int, bidirectional: bool, num_buckets: int, max_distance: int) -> int:
    """Raffel et al. 2020, as its authors' code (mesh_tensorflow) has it; relative: key - query."""
    bucket, n = 0, -relative
    if bidirectional:
        num_buckets //= 2
        bucket += num_buckets if n < 0 else 0
        n = abs(n)
    else:
        n = max(n, 0)
    max_exact = num_buckets // 2
    if n < max_exact:
        return bucket + n
    ratio = np.log(np.float32(n) / np.float32(max_exact)) / np.float32(
        math.log(max_distance / max_exact)
    )
    return bucket + min(max_exact + int(ratio * (num_buckets - max_exact)), num_buckets - 1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 20)])
def test_buckets_are_t5s_at_every_distance(causal: bool, num_buckets: int, max_distance: int):
    config = RelativeBiasConfig(num_buckets=num_buckets, max_distance=max_distance)
    distances = np.arange(-300, 301, dtype=np.int32)
    expected = [t5_bucket(int(d), not causal, num_buckets, max_distance) for d in distances]
    actual = buckets(jnp.asarray(distances), config, causal)
    assert actual.dtype == jnp.int32
    np.testing.assert_array_equal(actual, expected)
    unused = set() if causal else {num_buckets // 2}  # after the query, at distance 0
    assert set(expected) == set(range(num_buckets)) - unused


def test_relative_bias_is_a_row_of_the_table_for_each_distance():
    config = RelativeBiasConfig(num_buckets=8, max_distance=20)
    table = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    bias = RelativeBias(config, 3, True).apply({"params": {"table": jnp.asarray(table)}}, 4, 9, 5)
    assert bias.shape == (1, 3, 4, 9)
    for t in range(4):
        for s in range(9):
            row = table[t5_bucket(s - (5 + t), False, 8, 20)]
            np.testing.assert_array_equal(bias[0, :, t, s], row)
