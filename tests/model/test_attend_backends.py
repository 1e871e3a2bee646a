"""Every backend is the dense one, in values and in gradients, on one device and on many."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.attend import dense
from nanojaxlm.model.blockwise import blockwise
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.splash import splash
from nanojaxlm.sharding import MeshConfig, constrain, make_mesh, use_mesh

pytestmark = pytest.mark.usefixtures("quick_compile")
B, N, K, H = 2, 4, 2, 16


class Case(NamedTuple):
    """num_keys: of another text, which queries see whole; None = of their own. prefix, bias: with
    them."""

    causal: bool = True
    window: int | None = None
    softcap: float | None = None
    num_keys: int | None = None
    prefix: bool = False
    bias: bool = False
    q_start: int = 0


CASES = {
    "causal": Case(),
    "window, cap": Case(window=90, softcap=2.0),
    "both ways, window": Case(causal=False, window=70),
    "other text": Case(causal=False, num_keys=256),
    "other text, bias": Case(causal=False, num_keys=256, bias=True),
    "prefix, bias": Case(prefix=True, bias=True),
    "prefix, window": Case(prefix=True, window=30),
    "later queries": Case(window=100, num_keys=601, q_start=40),
}
SPLASH = ["causal", "window, cap", "both ways, window", "other text"]


def results(attend: Callable[..., jax.Array], case: Case, length: int, batch_size: int = B) -> Any:
    """The attended values, and the gradients of q, k, v and bias of a random sum of them; rows of
    several documents and padding, in another text of other documents too."""
    rng = np.random.default_rng(0)
    num_keys = case.num_keys or length

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def segments(length: int, most: int) -> np.ndarray:
        return np.sort(rng.integers(0, most, (batch_size, length)), axis=1).astype(np.int32)

    k_segments = segments(num_keys, 3)
    q_segments = k_segments[:, case.q_start :][:, :length]
    if case.num_keys is not None and not case.q_start:
        q_segments = segments(length, 5)  # 3 and 4: documents without such a text
    prefix = jnp.asarray(rng.random(k_segments.shape) < 0.2, jnp.int32) if case.prefix else None
    q_start = jnp.int32(case.q_start) if case.q_start else 0
    mask = AttentionMask(jnp.asarray(q_segments), jnp.asarray(k_segments), q_start, prefix)
    q = draw(batch_size, length, N, H)
    k, v = draw(batch_size, num_keys, K, H), draw(batch_size, num_keys, K, H)
    bias = draw(1, N, length, num_keys) if case.bias else None
    weights = draw(*q.shape)

    def objective(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None) -> Any:
        q = constrain(q, "batch", "length", "act_heads", None)
        k, v = (constrain(x, "batch", "key_length", "act_kv_heads", None) for x in (k, v))
        options = {"causal": case.causal, "window": case.window, "softcap": case.softcap}
        out = attend(q, k, v, mask, scale=0.4, bias_1NTS=bias, **options)
        return (out * weights).sum(), out

    argnums = (0, 1, 2, 3) if case.bias else (0, 1, 2)
    return jax.jit(jax.grad(objective, argnums, has_aux=True))(q, k, v, bias)


def assert_same(actual: Any, expected: Any) -> None:
    def check(a: jax.Array, b: jax.Array) -> None:
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)

    jax.tree.map(check, actual, expected)


@pytest.mark.parametrize("case", CASES)
def test_blockwise_is_dense(case: str):
    """Lengths that blocks do not divide."""
    length = 50 if CASES[case].num_keys is None else 140
    blocks = partial(blockwise, block=16)
    assert_same(results(blocks, CASES[case], length), results(dense, CASES[case], length))


@pytest.mark.slow
@pytest.mark.parametrize("case", SPLASH)
def test_splash_is_dense(case: str):
    kernels = partial(splash, interpret=True)
    assert_same(results(kernels, CASES[case], 512), results(dense, CASES[case], 512))


MESHES = {
    "context 2": MeshConfig(data=2, context=2, tensor=2),
    "context 4": MeshConfig(context=4, fsdp=2, data=1),
    "context 8": MeshConfig(context=8),
}


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize(
    ("backend", "case"),
    [
        ("dense", "window, cap"),
        ("blockwise", "causal"),
        ("blockwise", "window, cap"),
        ("blockwise", "prefix, bias"),
        ("blockwise", "other text, bias"),
    ],
)
def test_rows_split_over_devices_attend_as_whole_ones(backend: str, case: str, mesh: str):
    attend = dense if backend == "dense" else partial(blockwise, block=16)
    with use_mesh(make_mesh(MESHES[mesh])):
        actual = results(attend, CASES[case], 128)
    assert_same(actual, results(dense, CASES[case], 128))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "case", "length"),
    [
        ("context 2", "causal", 512),
        ("context 2", "other text", 512),
        ("context 4", "window, cap", 512),
        ("context 8", "causal", 2048),
    ],
)
def test_splash_on_rows_split_over_devices_is_dense(mesh: str, case: str, length: int):
    with use_mesh(make_mesh(MESHES[mesh])):
        actual = results(partial(splash, interpret=True), CASES[case], length)
    assert_same(actual, results(dense, CASES[case], length))


def test_a_cache_that_does_not_split_evenly_is_attended_to_by_blocks_all_the_same():
    case = CASES["later queries"]
    assert case.num_keys is not None and case.num_keys % 8
    with use_mesh(make_mesh(MESHES["context 8"])):
        actual = results(partial(blockwise, block=64), case, 128)
    assert_same(actual, results(dense, case, 128))
