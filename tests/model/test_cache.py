"""A stream fed through a cache in pieces gives what the whole gives at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from nanojaxlm.batch import Stream
from nanojaxlm.model.cache import empty_cache
from nanojaxlm.model.config import (
    EmbedConfig,
    FeedForwardConfig,
    LocalConfig,
    MixtureConfig,
    ModelConfig,
    RelativeBiasConfig,
    Rope,
)

pytestmark = pytest.mark.usefixtures("quick_compile")
VARIANTS = {
    "scanned": {"window": 6, "qk_norm": "head"},
    "unrolled": {"window": 6, "qk_norm": "width", "scan": False},
    "kv_shift": {"window": 6, "kv_shift": True},
    "local_global": {
        "num_layers": 5, "local": LocalConfig(window=3, global_every=2, rope=Rope(theta=50.0)),
        "softcap": 3.0,
    },
    "relative_bias_encoder": {
        "kind": "encoder_decoder", "rope": None,
        "relative_bias": RelativeBiasConfig(num_buckets=8, max_distance=20),
    },
    "learned_mixture": {
        "rope": None, "embed": EmbedConfig(num_positions=20, first_position=2),
        "feed_forward": MixtureConfig(
            num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=6),
            shared=FeedForwardConfig(hidden=5),
        ),
    },
}  # fmt: skip


class Fed(NamedTuple):
    """logits: of whole streams, without a cache. advance(stream, encoder, cache): the logits of a
    piece and the cache after it, compiled."""

    config: ModelConfig
    logits: Callable[..., jax.Array]
    advance: Callable[..., tuple[jax.Array, Any]]


def make_fed(tiny: Any) -> Fed:
    @jax.jit
    def advance(stream: Stream, encoder: Stream | None, cache: Any) -> tuple[jax.Array, Any]:
        variables = {"params": tiny.params}
        x_BTD, cache = tiny.model.apply(variables, stream, encoder, cache, method="hidden")
        return tiny.model.apply(variables, x_BTD, method="logits"), cache

    return Fed(tiny.model.config, tiny.logits, advance)


@pytest.fixture(scope="module", params=VARIANTS)
def fed(request, tiny_config, build) -> Fed:
    return make_fed(build(tiny_config(**VARIANTS[request.param])))


def feed(fed: Fed, pieces: list[Stream], encoder: Stream | None = None) -> np.ndarray:
    """The logits of all pieces, one after another through one cache; the encoder's text is given
    with the first."""
    memory_size = 0 if encoder is None else encoder.tokens_BT.shape[1]
    cache = empty_cache(fed.config, pieces[0].tokens_BT.shape[0], 16, memory_size)
    logits = []
    for i, piece in enumerate(pieces):
        piece_logits, after = fed.advance(piece, encoder if i == 0 else None, cache)
        assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, cache)
        logits.append(np.asarray(piece_logits))
        cache = after
    assert int(cache.length) == sum(piece.tokens_BT.shape[1] for piece in pieces)
    return np.concatenate(logits, axis=1)


def cut(stream: Stream, *stops: int) -> list[Stream]:
    starts = (0, *stops[:-1])
    return [
        jax.tree.map(lambda a, start=start, stop=stop: a[:, start:stop], stream)
        for start, stop in zip(starts, stops, strict=True)
    ]


def padded(tokens: np.ndarray, drop: np.ndarray, size: int, left: bool = True) -> Stream:
    """One document a row, of all its tokens but the first drop[row], padded to `size`."""
    arrays = np.zeros((3, len(tokens), size), np.int32)
    for row, (kept, dropped) in enumerate(zip(tokens, drop, strict=True)):
        kept = kept[dropped:]
        place = slice(size - len(kept), size) if left else slice(0, len(kept))
        arrays[:, row, place] = kept, np.arange(len(kept)), np.ones(len(kept))
    return Stream(*arrays)


@pytest.mark.slow
def test_a_stream_in_pieces_gives_the_logits_of_the_whole(fed: Fed, random_stream):
    stream = random_stream(12, rows=2)
    encoder = random_stream(9, rows=2, seed=1) if fed.config.encoder else None
    pieces = cut(stream, 4, 5, 6, 7, 11, 12)
    np.testing.assert_allclose(feed(fed, pieces, encoder), fed.logits(stream, encoder), atol=2e-5)


@pytest.mark.slow
def test_left_padding_does_not_change_what_follows(fed: Fed, random_stream):
    """Prompts of 4 and 2 tokens side by side, the shorter padded on the left, then 3 more tokens
    each, one at a time; against padding on the right, without a cache. The encoder's texts, of 9
    and 5 tokens, are padded on the left too."""
    tokens, pad = random_stream(7, rows=2).tokens_BT, np.array([0, 2])
    text, text_pad = random_stream(9, rows=2, seed=1).tokens_BT, np.array([0, 4])
    encoder = padded(text, text_pad, 9) if fed.config.encoder else None
    alone = None if encoder is None else padded(text, text_pad, 9, left=False)
    expected = np.asarray(fed.logits(padded(tokens, pad, 12, left=False), alone))
    actual = feed(fed, cut(padded(tokens, pad, 7), 4, 5, 6, 7), encoder)
    for row in range(2):
        length = 7 - pad[row]
        np.testing.assert_allclose(actual[row, pad[row] :], expected[row, :length], atol=2e-5)


@pytest.mark.slow
def test_a_prefix_is_read_both_ways_through_a_cache_too(tiny_config, build, random_stream):
    fed = make_fed(build(tiny_config()))
    stream = random_stream(9, rows=2)
    prefix = np.zeros((2, 9), np.int32)
    prefix[:, :4] = 1
    whole = np.asarray(fed.logits(stream._replace(prefix_BT=prefix)))
    assert np.abs(whole - np.asarray(fed.logits(stream))).max() > 1e-3
    first, *rest = cut(stream, 4, 6, 7, 9)
    pieces = [first._replace(prefix_BT=prefix[:, :4]), *rest]
    np.testing.assert_allclose(feed(fed, pieces), whole, atol=2e-5)
