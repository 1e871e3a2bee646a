"""What the whole decoder must do whatever its numbers: causality, documents apart, one result for
every way to compute it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.batch import Batch, Stream
from nanojaxlm.checkpoint import from_disk, to_disk
from nanojaxlm.losses import LossConfig
from nanojaxlm.metrics import matmul_parameters, train_flops_per_token
from nanojaxlm.model.cache import empty_cache
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import abstract_params, num_parameters, parameter_boxes
from nanojaxlm.step import batch_loss

pytestmark = pytest.mark.usefixtures("quick_compile")
VOCAB = 50


def one_document(tokens_BT: np.ndarray) -> Stream:
    positions = np.broadcast_to(np.arange(tokens_BT.shape[1], dtype=np.int32), tokens_BT.shape)
    return Stream(tokens_BT, positions, np.ones_like(tokens_BT))


def random_tokens(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB, shape).astype(np.int32)


def token_losses(logits_BTV: Any, targets_BT: np.ndarray) -> np.ndarray:
    """-log softmax in float64 numpy."""
    logits = np.asarray(logits_BTV, np.float64)
    log_z = np.log(np.exp(logits).sum(axis=-1))
    return log_z - np.take_along_axis(logits, targets_BT[..., None], axis=-1)[..., 0]


class Tiny(NamedTuple):
    model: Transformer
    params: Any
    logits: Callable[[Stream], jax.Array]


def build(config: Any, random_params: Callable[..., Any]) -> Tiny:
    model = Transformer(config)
    params = random_params(model)
    logits = jax.jit(lambda stream: model.apply({"params": params}, stream))
    return Tiny(model, params, logits)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "kv_shift"])
def tiny(request, tiny_config, random_params) -> Tiny:
    return build(tiny_config(kv_shift=request.param), random_params)


def as_tiny(tiny: Tiny, tiny_config: Callable[..., Any], **overrides: Any) -> Transformer:
    """A model like `tiny`, computed in another way."""
    kv_shift = tiny.model.config.decoder.attention.kv_shift
    return Transformer(tiny_config(kv_shift=kv_shift, **overrides))


# --- Who may reach whom


@pytest.mark.parametrize("t", [0, 5, 11])
def test_no_future_token_reaches_a_logit(tiny: Tiny, t: int):
    tokens = random_tokens(2, 12)
    perturbed = tokens.copy()
    perturbed[:, t] = (tokens[:, t] + 1) % VOCAB
    before, after = tiny.logits(one_document(tokens)), tiny.logits(one_document(perturbed))
    moved = np.abs(np.asarray(before - after)).max(axis=(0, 2))
    np.testing.assert_array_equal(moved[:t], 0)
    assert (moved[t:] > 1e-4).all(), "every later token sees the change"


def test_attention_does_not_cross_documents(tiny: Tiny):
    tokens = random_tokens(1, 12)
    positions = np.array([[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]], np.int32)
    segments = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]], np.int32)
    perturbed = tokens.copy()
    perturbed[:, 5:9] = (tokens[:, 5:9] + 1) % VOCAB
    before = tiny.logits(Stream(tokens, positions, segments))
    after = tiny.logits(Stream(perturbed, positions, segments))
    moved = np.abs(np.asarray(before - after)).max(axis=(0, 2))
    np.testing.assert_array_equal(moved[[0, 1, 2, 3, 4, 9, 10, 11]], 0)
    assert (moved[5:9] > 1e-4).all()


def test_a_window_bounds_what_two_layers_see(tiny_config, random_params):
    """A window of 3 lets a token reach 2 further in each of 2 layers: 4 in all."""
    windowed = build(tiny_config(window=3), random_params)
    tokens = random_tokens(1, 12)
    perturbed = tokens.copy()
    perturbed[:, 2] = (tokens[:, 2] + 1) % VOCAB
    difference = windowed.logits(one_document(tokens)) - windowed.logits(one_document(perturbed))
    moved = np.abs(np.asarray(difference)).max(axis=(0, 2))
    assert (moved[2:7] > 1e-5).all()
    np.testing.assert_array_equal(moved[[0, 1, 7, 8, 9, 10, 11]], 0)


def test_the_order_of_tokens_matters(tiny: Tiny):
    """Without positions, attention could not tell the order of the tokens before the last."""
    tokens = random_tokens(1, 12)
    swapped = tokens[:, [1, 0, *range(2, 12)]]
    assert tokens[0, 0] != tokens[0, 1]
    last = tiny.logits(one_document(tokens))[0, -1] - tiny.logits(one_document(swapped))[0, -1]
    assert np.abs(np.asarray(last)).max() > 1e-3


# --- Packed = unpacked


def packed_and_unpacked() -> tuple[Batch, Batch]:
    """Documents of 5 and 7 tokens, in one row beside an empty one, and in a padded row each."""
    width = 12
    tokens, targets = random_tokens(width), random_tokens(width, seed=1)

    def batch(*rows: tuple[tuple[int, int], ...]) -> Batch:
        arrays = [np.zeros((2, width), np.int32) for _ in range(4)]
        weights = np.zeros((2, width), np.float32)
        for row, documents in enumerate(rows):
            at = 0
            for segment, (start, stop) in enumerate(documents, start=1):
                length = stop - start
                values = (tokens[start:stop], np.arange(length), segment, targets[start:stop])
                for array, value in zip(arrays, values, strict=True):
                    array[row, at : at + length] = value
                weights[row, at : at + length] = 1
                at += length
        return Batch(Stream(*arrays[:3]), arrays[3], weights)

    first, second = (0, 5), (5, 12)
    return batch((first, second), ()), batch((first,), (second,))


def test_packed_documents_have_the_token_losses_of_unpacked_ones(tiny: Tiny):
    packed, unpacked = packed_and_unpacked()
    together = token_losses(tiny.logits(packed.decoder), packed.targets_BT)[0]
    apart = token_losses(tiny.logits(unpacked.decoder), unpacked.targets_BT)
    np.testing.assert_allclose(together, np.concatenate([apart[0, :5], apart[1, :7]]), rtol=2e-5)


@pytest.mark.slow
def test_packed_documents_have_the_gradient_of_unpacked_ones(tiny: Tiny):
    gradient = jax.jit(jax.grad(partial(batch_loss, tiny.model, LossConfig(z_loss=0.1)),
                                has_aux=True))  # fmt: skip
    packed, unpacked = packed_and_unpacked()
    (together, sums), (apart, sums_apart) = (
        gradient(tiny.params, batch) for batch in (packed, unpacked)
    )
    assert sums.count == sums_apart.count == 12
    assert_trees_close(together, apart, relative=2e-5)


# --- One result for every way to compute it


def assert_trees_close(actual: Any, expected: Any, relative: float) -> None:
    """Each array within `relative` of its own largest element."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for path, want in jax.tree_util.tree_leaves_with_path(expected):
        got = actual
        for key in path:
            got = got[key.key]
        scale = float(np.abs(np.asarray(want, np.float64)).max())
        assert scale > 0, f"{path}: an all-zero oracle shows nothing"
        np.testing.assert_allclose(got, want, rtol=0, atol=relative * scale, err_msg=str(path))


def loss_and_gradient(model: Transformer, params: Any, batch: Batch) -> tuple[Any, Any]:
    objective = partial(batch_loss, model, LossConfig(chunk_length=8))
    (loss, _), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(params, batch)
    return loss, gradient


@pytest.fixture(scope="module")
def scanned_result(tiny: Tiny, packed_batch) -> tuple[Any, Any]:
    return loss_and_gradient(tiny.model, tiny.params, packed_batch(3, 8, VOCAB))


@pytest.mark.slow
def test_scanned_equals_unrolled(tiny, tiny_config, scanned_result, packed_batch, one_device):
    """The parameters go through the form on disk, which is the same for both."""
    model = as_tiny(tiny, tiny_config, scan=False)
    params = from_disk(to_disk(tiny.params), abstract_params(parameter_boxes(model), one_device))
    assert set(params["decoder"]) == {"layer_0", "layer_1"}
    batch = packed_batch(3, 8, VOCAB)
    logits = jax.jit(lambda stream: model.apply({"params": params}, stream))(batch.decoder)
    np.testing.assert_allclose(logits, tiny.logits(batch.decoder), atol=1e-5)
    loss, gradient = loss_and_gradient(model, params, batch)
    np.testing.assert_allclose(loss, scanned_result[0], rtol=1e-6)
    restacked = jax.tree.map(lambda *layers: np.stack(layers),
                             gradient["decoder"]["layer_0"],
                             gradient["decoder"]["layer_1"])  # fmt: skip
    assert_trees_close(
        gradient | {"decoder": {"layers": restacked}}, scanned_result[1], relative=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_changes_neither_loss_nor_gradient(
    tiny, tiny_config, scanned_result, packed_batch, remat: str
):
    model = as_tiny(tiny, tiny_config, remat=remat)
    loss, gradient = loss_and_gradient(model, tiny.params, packed_batch(3, 8, VOCAB))
    np.testing.assert_allclose(loss, scanned_result[0], rtol=1e-6)
    assert_trees_close(gradient, scanned_result[1], relative=1e-5)


@pytest.mark.parametrize(("remat", "products"), [("full", True), ("dots", False)])
def test_remat_full_computes_products_again_and_dots_keeps_them(
    tiny_config, random_params, packed_batch, remat: str, products: bool
):
    """Counted in the program for the gradient, before XLA merges or moves anything."""
    batch = packed_batch(3, 8, VOCAB)

    def count(model: Transformer) -> int:
        params = jax.eval_shape(lambda: random_params(model))
        objective = partial(batch_loss, model, LossConfig(chunk_length=8))
        jaxpr = str(jax.make_jaxpr(jax.grad(objective, has_aux=True))(params, batch))
        return jaxpr.count("dot_general")

    kept = count(Transformer(tiny_config(scan=False)))
    redone = count(Transformer(tiny_config(scan=False, remat=remat)))
    layer_products = 2 * 7  # 2 layers of q, k, v, out, up, gate, down
    if products:
        assert redone >= kept + layer_products
    else:  # attention's two products have batch dimensions: only those are made again
        assert redone <= kept + 2 * 2


@pytest.mark.slow
def test_bfloat16_keeps_float32_parameters_and_comes_near(tiny, tiny_config):
    model = as_tiny(tiny, tiny_config, dtype="bfloat16")
    boxes = parameter_boxes(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(boxes)} == {jnp.dtype("float32")}
    stream = one_document(random_tokens(2, 12))
    hidden, _ = model.apply({"params": tiny.params}, stream, method="hidden")
    assert hidden.dtype == jnp.bfloat16
    logits = model.apply({"params": tiny.params}, stream)
    assert logits.dtype == jnp.float32
    exact = np.asarray(tiny.logits(stream))
    error = np.abs(np.asarray(logits) - exact)
    # 8 bits of mantissa, 2 layers and a head: a few times 2^-8 of the logits' size
    assert 0 < error.max() < 0.05 * np.abs(exact).max()


# --- The cache


@pytest.fixture(
    scope="module",
    params=[{}, {"scan": False}, {"kv_shift": True}],
    ids=["scanned", "unrolled", "kv_shift"],
)
def cached(request, tiny_config, random_params) -> Tiny:
    """`logits` is of the whole stream, without a cache."""
    return build(tiny_config(**request.param, window=6, qk_norm=True), random_params)


def feed(tiny: Tiny, pieces: list[Stream], size: int) -> np.ndarray:
    """The logits of all pieces, one after another through one cache."""

    @jax.jit
    def advance(stream: Stream, cache: Any) -> tuple[jax.Array, Any]:
        variables = {"params": tiny.params}
        x_BTD, cache = tiny.model.apply(variables, stream, cache, method="hidden")
        return tiny.model.apply(variables, x_BTD, method="logits"), cache

    cache = empty_cache(tiny.model.config, pieces[0].tokens_BT.shape[0], size)
    logits = []
    for piece in pieces:
        piece_logits, cache = advance(piece, cache)
        logits.append(np.asarray(piece_logits))
    assert int(cache.length) == sum(piece.tokens_BT.shape[1] for piece in pieces)
    return np.concatenate(logits, axis=1)


def cut(stream: Stream, *stops: int) -> list[Stream]:
    starts = (0, *stops[:-1])
    return [
        Stream(*(a[:, start:stop] for a in stream))
        for start, stop in zip(starts, stops, strict=True)
    ]


@pytest.mark.slow
def test_a_stream_in_pieces_gives_the_logits_of_the_whole(cached: Tiny):
    stream = one_document(random_tokens(2, 12))
    pieces = cut(stream, 4, 5, 6, 7, 11, 12)
    np.testing.assert_allclose(feed(cached, pieces, 16), cached.logits(stream), atol=2e-5)


@pytest.mark.slow
def test_left_padding_does_not_change_what_follows(cached: Tiny):
    """Two prompts of 4 and 2 tokens side by side, the shorter padded on the left, then 3 more
    tokens each, one at a time; against each one alone, unpadded, without a cache."""
    tokens = random_tokens(2, 7)
    pad = np.array([0, 2])
    offset = np.arange(7)[None] - pad[:, None]
    stream = Stream(
        np.where(offset >= 0, tokens, 0).astype(np.int32),
        np.maximum(offset, 0).astype(np.int32),
        (offset >= 0).astype(np.int32),
    )
    fed = feed(cached, cut(stream, 4, 5, 6, 7), 16)
    for row in range(2):
        alone = cached.logits(one_document(tokens[row : row + 1, pad[row] :]))
        np.testing.assert_allclose(fed[row, pad[row] :], alone[0], atol=2e-5)


# --- Counts


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"tie_embeddings": False, "qk_norm": True},
        {"gated": False, "activation": "relu_squared", "num_kv_heads": 4, "scan": False},
        {"kv_shift": True},
    ],
    ids=["tied, grouped, gated", "untied, qk_norm", "ungated, unrolled", "kv_shift"],
)
def test_parameters_number_what_the_closed_form_says(tiny_config, overrides):
    config = tiny_config(**overrides)
    a = config.decoder.attention
    embedding = 0 if config.tie_embeddings else VOCAB * config.d_model
    norms = (2 * config.decoder.num_layers + 1) * config.d_model
    qk_norms = config.decoder.num_layers * 2 * a.head_dim if a.qk_norm else 0
    shifts = config.decoder.num_layers * 2 * a.num_kv_heads if a.kv_shift else 0
    expected = matmul_parameters(config) + embedding + norms + qk_norms + shifts
    assert num_parameters(parameter_boxes(Transformer(config))) == expected


def test_a_model_of_gpt2s_shape_has_its_known_size(tiny_config):
    """GPT-2 small: 12 layers of 4 * 768² + 2 * 768 * 3072 parameters, 50257 * 768 tied."""
    config = tiny_config(
        d_model=768, num_layers=12, num_heads=12, num_kv_heads=12, head_dim=64, hidden=3072,
        gated=False, activation="gelu", vocab_size=50257,
    )  # fmt: skip
    assert matmul_parameters(config) == 84_934_656 + 38_597_376


@pytest.mark.parametrize("window", [None, 8])
def test_flops_a_token_are_those_of_the_compiled_forward_pass(tiny_config, window):
    """6 N + 12 L N H T is three forward passes; XLA's own count of one, which has the elementwise
    work in it too, is up to 12% above. XLA counts a scan's body once, hence unrolled; it does not
    know a window, so that one is checked against the formula alone."""
    config = tiny_config(d_model=128, num_heads=8, num_kv_heads=8, head_dim=16, hidden=512,
                         gated=False, activation="relu_squared", scan=False)  # fmt: skip
    length = 64
    if window is not None:
        shorter = tiny_config(d_model=128, num_heads=8, num_kv_heads=8, head_dim=16, hidden=512,
                              gated=False, activation="relu_squared", window=window)  # fmt: skip
        full, cut_off = (train_flops_per_token(c, length) for c in (config, shorter))
        assert full - cut_off == 12 * 2 * 8 * 16 * (length - window)
        return
    model = Transformer(config)
    params = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), parameter_boxes(model))
    shape = jax.ShapeDtypeStruct((2, length), jnp.int32)
    forward = jax.jit(lambda params, stream: model.apply({"params": params}, stream))
    cost = forward.lower(params, Stream(shape, shape, shape)).cost_analysis()
    ratio = cost["flops"] / (train_flops_per_token(config, length) / 3 * 2 * length)
    assert 1.0 < ratio < 1.12
