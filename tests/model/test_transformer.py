"""What every model must do whatever its numbers: who reaches whom, documents apart, heads for
tokens further ahead."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.batch import Batch, Stream, Targets
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import (
    EmbedConfig,
    FeedForwardConfig,
    LocalConfig,
    MixtureConfig,
    RelativeBiasConfig,
    Rope,
)
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import parameter_boxes
from nanojaxlm.step import batch_loss

pytestmark = pytest.mark.usefixtures("quick_compile")
VOCAB = 50


def token_losses(logits_BTV: Any, targets_BT: np.ndarray) -> np.ndarray:
    """-log softmax in float64 numpy."""
    logits = np.asarray(logits_BTV, np.float64)
    log_z = np.log(np.exp(logits).sum(axis=-1))
    return log_z - np.take_along_axis(logits, targets_BT[..., None], axis=-1)[..., 0]


# --- Who reaches whom


def reach(logits: Callable[..., jax.Array], of: str, **streams: Stream) -> np.ndarray:
    """bool[S, T]: does another token at place s of the stream `of` move the logits at t? All else
    must stay bit for bit."""
    stream = streams[of]
    before = np.asarray(logits(**streams))[0]
    rows = []
    for s in range(stream.tokens_BT.shape[1]):
        tokens = stream.tokens_BT.copy()
        tokens[:, s] = (tokens[:, s] + 1) % VOCAB
        after = np.asarray(logits(**streams | {of: stream._replace(tokens_BT=tokens)}))[0]
        moved = np.abs(after - before).max(axis=-1)
        assert ((moved == 0) | (moved > 1e-5)).all(), moved
        rows.append(moved > 0)
    return np.array(rows)


def allowed(keys: Stream, queries: Stream, rule: Callable[[int, int], bool]) -> np.ndarray:
    """bool[S, T]: within a segment, where the rule of (s, t) says so."""
    k, q = keys.segments_BT[0], queries.segments_BT[0]
    return np.array([[k[s] == q[t] and rule(s, t) for t in range(len(q))] for s in range(len(k))])


@pytest.mark.parametrize("kv_shift", [False, True], ids=["plain", "kv_shift"])
def test_a_decoders_token_reaches_the_rest_of_its_document(
    tiny_config, build, random_stream, kv_shift
):
    stream = random_stream(5, 4, 3)
    logits = build(tiny_config(kv_shift=kv_shift)).logits
    actual = reach(logits, "decoder", decoder=stream)
    np.testing.assert_array_equal(actual, allowed(stream, stream, lambda s, t: s <= t))


def test_an_encoders_token_reaches_its_whole_document(tiny_config, build, random_stream):
    stream = random_stream(5, 4, 3)
    actual = reach(build(tiny_config(kind="encoder")).logits, "encoder", encoder=stream)
    np.testing.assert_array_equal(actual, allowed(stream, stream, lambda s, t: True))


def test_a_decoder_sees_the_text_of_its_own_segment_in_the_encoder(
    tiny_config, build, random_stream
):
    """All of it, and neither another document's nor, in its own stream, what comes later."""
    streams = {"decoder": random_stream(4, 2, 3), "encoder": random_stream(3, 5, 4, seed=1)}
    logits = build(tiny_config(kind="encoder_decoder")).logits
    for of, rule in (("encoder", lambda s, t: True), ("decoder", lambda s, t: s <= t)):
        expected = allowed(streams[of], streams["decoder"], rule)
        np.testing.assert_array_equal(reach(logits, of, **streams), expected)


def test_prefix_tokens_see_each_other_and_all_else_sees_only_back(
    tiny_config, build, random_stream
):
    """Document 1 begins with 3 tokens of prefix, document 2 with 1, document 3 is all prefix."""
    stream = random_stream(5, 4, 3)
    prefix = np.array([[1, 1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1]], np.int32)
    stream = stream._replace(prefix_BT=prefix)
    actual = reach(build(tiny_config()).logits, "decoder", decoder=stream)
    expected = allowed(stream, stream, lambda s, t: s <= t or prefix[0, s] == 1)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_window_bounds_what_two_layers_see(tiny_config, build, random_stream, kind: str):
    """A window of 3 lets a token reach 2 further in each of 2 layers: 4 in all; in an encoder, both
    ways."""
    stream = random_stream(12)
    actual = reach(build(tiny_config(kind=kind, window=3)).logits, kind, **{kind: stream})
    both = kind == "encoder"
    expected = allowed(stream, stream, lambda s, t: (-4 if both else 0) <= t - s <= 4)
    np.testing.assert_array_equal(actual, expected)


def test_a_global_layer_among_local_ones_reaches_everything(tiny_config, build, random_stream):
    """Of 3 layers the last is global; without it, the windows of the two others are what is
    left."""
    stream = random_stream(12)
    local = LocalConfig(window=2, global_every=3)
    for num_layers, rule in ((3, lambda s, t: True), (2, lambda s, t: abs(t - s) <= 2)):
        config = tiny_config(kind="encoder", num_layers=num_layers, local=local)
        actual = reach(build(config).logits, "encoder", encoder=stream)
        np.testing.assert_array_equal(actual, allowed(stream, stream, rule))


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        ("encoder", {}),
        ("decoder", {"relative_bias": RelativeBiasConfig(num_buckets=8, max_distance=20)}),
        ("encoder", {"embed": EmbedConfig(num_positions=12)}),
    ],
    ids=["rope", "relative_bias", "learned"],
)
def test_the_order_of_tokens_matters(tiny_config, build, random_stream, kind: str, overrides):
    """Without positions, an encoder cannot tell the order of the tokens before the last."""
    stream = random_stream(12)
    swapped = stream._replace(tokens_BT=stream.tokens_BT[:, [1, 0, *range(2, 12)]])
    assert stream.tokens_BT[0, 0] != stream.tokens_BT[0, 1]

    def difference(**overrides: Any) -> float:
        logits = build(tiny_config(kind=kind, **overrides)).logits
        last = logits(**{kind: stream})[0, -1] - logits(**{kind: swapped})[0, -1]
        return float(np.abs(np.asarray(last)).max())

    if overrides:
        assert difference(rope=None, **overrides) > 1e-3
    else:
        assert difference() > 1e-3
        assert difference(rope=None) < 1e-5


# --- Packed = unpacked


def packed_and_unpacked(kind: str) -> tuple[Batch, Batch]:
    """Documents of 5 and 7 tokens, in one row beside an empty one, and in a padded row each; an
    encoder's of 6 and 3 where there are both."""
    width = 12
    rng = np.random.default_rng(0)
    targets = rng.integers(0, VOCAB, width)

    def rows(documents: list[list[slice]], values: np.ndarray) -> np.ndarray:
        """values, one document after another in each row."""
        out = np.zeros((2, width), values.dtype)
        for row, slices in enumerate(documents):
            used = np.concatenate([values[:0], *(values[s] for s in slices)])
            out[row, : len(used)] = used
        return out

    def stream(documents: list[list[slice]], tokens: np.ndarray, together: bool) -> Stream:
        """Padding is of another token in the one than in the other, as it counts for nothing."""
        everything = [s for slices in documents for s in slices]
        numbers = np.concatenate([np.arange(s.stop - s.start) for s in everything])
        segments = np.zeros((2, width), np.int32)
        for row, slices in enumerate(documents):
            lengths = [s.stop - s.start for s in slices]
            segments[row, : sum(lengths)] = np.repeat(np.arange(1, len(slices) + 1), lengths)
        padded = np.where(segments > 0, rows(documents, tokens), 7 if together else 0)
        arrays = (padded, rows(documents, numbers), segments)
        return Stream(*(a.astype(np.int32) for a in arrays))

    def batch(together: bool) -> Batch:
        def pack(first: slice, second: slice) -> list[list[slice]]:
            return [[first, second], []] if together else [[first], [second]]

        documents, read = pack(slice(0, 5), slice(5, 12)), pack(slice(0, 6), slice(6, 9))
        own, text = (stream(d, t, together) for d, t in ((documents, tokens), (read, other_tokens)))
        weights = (own.segments_BT > 0).astype(np.float32)
        wanted = Targets(rows(documents, targets).astype(np.int32), weights)
        if kind == "encoder":
            return Batch(wanted, None, own)
        return Batch(wanted, own, text if kind == "encoder_decoder" else None)

    tokens, other_tokens = rng.integers(0, VOCAB, (2, width))
    return batch(True), batch(False)


MIXTURE = MixtureConfig(
    num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=6), load_balance=0.3, router_z=0.1
)
PACKED = {
    "decoder": ("decoder", {"kv_shift": True}),
    "mixture": ("decoder", {"feed_forward": MIXTURE}),
    "encoder": ("encoder", {}),
    "encoder_decoder": ("encoder_decoder", {"rope": None, "relative_bias": RelativeBiasConfig()}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKED)
def test_packed_documents_have_the_losses_and_the_gradient_of_unpacked_ones(
    tiny_config, build, loss_and_gradient, assert_trees_close, name: str
):
    kind, overrides = PACKED[name]
    tiny = build(tiny_config(kind=kind, **overrides))
    packed, unpacked = packed_and_unpacked(kind)
    together, apart = (
        token_losses(tiny.logits(batch.decoder, batch.encoder), batch.targets.tokens_BT)
        for batch in (packed, unpacked)
    )
    expected = np.concatenate([apart[0, :5], apart[1, :7]])
    np.testing.assert_allclose(together[0], expected, rtol=2e-5)
    loss = LossConfig(z_loss=0.1)
    ((_, sums), gradient), ((_, sums_apart), gradient_apart) = (
        loss_and_gradient(tiny.model, tiny.params, batch, loss) for batch in (packed, unpacked)
    )
    assert sums.count == sums_apart.count == 12
    np.testing.assert_allclose(sums, sums_apart, rtol=2e-5)
    assert (sums.extra > 0) == (name == "mixture")
    assert_trees_close(gradient, gradient_apart, relative=5e-5)


# --- Tokens further ahead


def ahead_logits(tiny: Any) -> Callable[..., tuple[jax.Array, ...]]:
    """The logits of the next token and of those further ahead, compiled."""

    @jax.jit
    def apply(decoder: Stream) -> tuple[jax.Array, ...]:
        call = partial(tiny.model.apply, {"params": tiny.params})
        x_BTD, _ = call(decoder, method="hidden")
        ahead = call(x_BTD, decoder, method="futures")
        return tuple(call(h_BTD, method="logits") for h_BTD in (x_BTD, *ahead))

    return apply


@pytest.mark.slow
def test_future_heads_add_their_losses_and_train_the_trunk(
    tiny_config, build, packed_batch, loss_and_gradient
):
    """Tokens 2 and 3 ahead; the nll that is reported stays that of the next token."""
    tiny = build(tiny_config(num_future=2))
    batch = packed_batch(3, 8, VOCAB, num_future=2)
    nll = [
        (token_losses(logits, targets.tokens_BT) * targets.weights_BT).sum()
        for logits, targets in zip(
            ahead_logits(tiny)(batch.decoder), (batch.targets, *batch.future), strict=True
        )
    ]
    assert len(set(nll)) == 3
    weights = batch.targets.weights_BT
    nothing = batch._replace(targets=batch.targets._replace(weights_BT=np.zeros_like(weights)))
    loss = LossConfig(future=0.5)
    total, sums = jax.jit(partial(batch_loss, tiny.model, loss))(tiny.params, batch)
    np.testing.assert_allclose(sums.nll, nll[0], rtol=1e-5)
    np.testing.assert_allclose(sums.extra, 0.5 * (nll[1] + nll[2]), rtol=1e-5)
    np.testing.assert_allclose(total, nll[0] + 0.5 * (nll[1] + nll[2]), rtol=1e-5)
    assert sums.count == weights.sum()
    _, gradient = loss_and_gradient(tiny.model, tiny.params, nothing, loss)
    assert {"future_2", "future_3"} < set(gradient)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_a_head_for_later_tokens_is_one_layer_more(tiny_config, build, packed_batch):
    """A local one with a rotation of its own and a mixture, as the last of the 2 layers is: the
    logits and the routers' losses are those of a decoder that has it as its third."""
    local = LocalConfig(window=3, global_every=3, global_first=True, rope=Rope(theta=50.0))
    fields = {"feed_forward": MIXTURE, "scan": False, "final_norm": False, "local": local}
    tiny = build(tiny_config(num_future=1, **fields))
    batch = packed_batch(3, 8, VOCAB, num_future=1)
    longer = Transformer(tiny_config(num_layers=3, **fields))
    third = {"layer_2": tiny.params["future_2"]["layer"]}
    params = tiny.params | {"decoder": tiny.params["decoder"] | third}
    del params["future_2"]
    _, ahead = ahead_logits(tiny)(batch.decoder)
    expected = jax.jit(longer.apply)({"params": params}, batch.decoder)
    np.testing.assert_allclose(ahead, expected, atol=1e-5)
    alone = batch._replace(future=())
    _, sums = jax.jit(partial(batch_loss, tiny.model, LossConfig(future=0)))(tiny.params, batch)
    _, wanted = jax.jit(partial(batch_loss, longer, LossConfig()))(params, alone)
    assert wanted.extra > 0
    np.testing.assert_allclose(sums.extra, wanted.extra, rtol=1e-5)


def test_a_head_for_later_tokens_sees_no_later_token(tiny_config, build, random_stream):
    logits = ahead_logits(build(tiny_config(num_future=1)))
    stream = random_stream(5, 4)
    actual = reach(lambda decoder: logits(decoder)[1], "decoder", decoder=stream)
    np.testing.assert_array_equal(actual, allowed(stream, stream, lambda s, t: s <= t))


# --- Precision and parameters


@pytest.mark.slow
def test_bfloat16_keeps_float32_parameters_and_comes_near(tiny_config, build, packed_batch):
    kind = "encoder_decoder"
    tiny = build(tiny_config(kind=kind))
    model = Transformer(tiny_config(kind=kind, dtype="bfloat16"))
    boxes = parameter_boxes(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(boxes)} == {jnp.dtype("float32")}
    batch = packed_batch(2, 12, VOCAB, kind=kind)
    streams = (batch.decoder, batch.encoder)

    @jax.jit
    def apply(params: Any) -> tuple[jax.Array, jax.Array]:
        hidden, _ = model.apply({"params": params}, *streams, method="hidden")
        return hidden, model.apply({"params": params}, hidden, method="logits")

    hidden, logits = apply(tiny.params)
    assert (hidden.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)
    exact = np.asarray(tiny.logits(*streams))
    error = np.abs(np.asarray(logits) - exact)
    # 8 bits of mantissa, 4 layers and a head: a few times 2^-8 of the logits' size
    assert 0 < error.max() < 0.05 * np.abs(exact).max()


@pytest.mark.slow
def test_encoder_and_decoder_may_have_an_embedding_each(tiny_config, build, random_stream):
    tiny = build(tiny_config(kind="encoder_decoder", share_embeddings=False))
    assert tiny.params["encoder_embed"]["embedding"].shape == (VOCAB, 16)
    streams = {"decoder": random_stream(4), "encoder": random_stream(5, seed=1)}
    before = tiny.logits(**streams)
    for name in ("embed", "encoder_embed"):
        changed = tiny.params | {name: jax.tree.map(lambda a: -a, tiny.params[name])}
        after = jax.jit(tiny.model.apply)({"params": changed}, **streams)
        assert np.abs(np.asarray(after - before)).max() > 1e-3
