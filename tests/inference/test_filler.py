"""Masks of a text, filled in by an encoder, against the definition by whole passes."""

import jax
import numpy as np
import pytest

from nanojaxlm.batch import Stream
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.inference.filler import MASK, Filler
from nanojaxlm.inference.sampling import Sampling
from nanojaxlm.model.config import EmbedConfig
from nanojaxlm.model.transformer import Transformer

GREEDY = Sampling(temperature=0)
pytestmark = pytest.mark.usefixtures("quick_compile")
TOKENIZER = Tokenizer(Tokenizer.characters("abcdefgh .é").model, (MASK,))
MASK_ID = TOKENIZER.special_id(MASK)
TEXTS = [f"a{MASK}c", f"{MASK}{MASK} head {MASK}. bad", f"éé{MASK}"]


@pytest.fixture(scope="module")
def filler(tiny_config, random_params):
    model = Transformer(tiny_config("encoder", vocab_size=TOKENIZER.vocab_size))
    params = random_params(model)
    return (
        Filler(model, TOKENIZER),
        params,
        jax.jit(lambda s: model.apply({"params": params}, encoder=s)),
    )


def probabilities(forward, tokens):
    """float64[T, V] of one text, alone and without padding beyond 64."""
    row = np.zeros((1, 64), np.int32)
    row[0, : len(tokens)] = tokens
    index = np.arange(64, dtype=np.int32)[None]
    segments = (index < len(tokens)).astype(np.int32)
    logits = np.asarray(forward(encoder_stream(row, index, segments)), np.float64)[0, : len(tokens)]
    logits[:, MASK_ID] = -np.inf
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def encoder_stream(tokens, positions, segments):
    return Stream(tokens, positions * segments, segments)


def ids(text):
    return [TOKENIZER.bos_id, *TOKENIZER.encode(text, special=True), TOKENIZER.eos_id]


def by_definition(forward, text, at_once):
    """{place: (token, probability)}, one whole pass after another."""
    tokens, chosen = ids(text), {}
    while MASK_ID in tokens:
        table = probabilities(forward, tokens)
        masked = [i for i, token in enumerate(tokens) if token == MASK_ID]
        if not at_once:
            masked = [max(masked, key=lambda i: table[i].max())]
        for i in masked:
            chosen[i] = int(table[i].argmax()), table[i].max()
            tokens[i] = chosen[i][0]
    return [chosen[i] for i in sorted(chosen)], tokens


@pytest.mark.parametrize("at_once", [False, True])
def test_masks_get_the_likeliest_token_and_its_probability(filler, at_once):
    """Several texts together give what each gives alone, unpadded."""
    ours, params, forward = filler
    filled = ours.fill(params, TEXTS, GREEDY, at_once=at_once)
    for text, (got, choices) in zip(TEXTS, filled, strict=True):
        want, tokens = by_definition(forward, text, at_once)
        assert got == TOKENIZER.decode(tokens)
        assert [choice.token for choice in choices] == [token for token, _ in want]
        assert [choice.text for choice in choices] == [TOKENIZER.decode([t]) for t, _ in want]
        np.testing.assert_allclose(
            [c.probability for c in choices], [p for _, p in want], rtol=1e-4
        )


def test_what_is_no_mask_stays_as_it_is(filler):
    ours, params, _ = filler
    text, choices = ours.fill(params, [f"bad {MASK} head"], GREEDY)[0]
    assert text == f"bad {choices[0].text} head"


def test_sampling_depends_on_the_seed_alone_and_tells_the_untempered_probability(filler):
    ours, params, forward = filler
    sampling = Sampling(temperature=3.0)
    text = f"{MASK}" * 12
    one, same, other = (ours.fill(params, [text], sampling, seed=s)[0] for s in (1, 1, 2))
    assert one == same and one.choices != other.choices
    table = probabilities(forward, ids(text))
    at_once = ours.fill(params, [text], sampling, at_once=True)[0]
    for place, choice in enumerate(at_once.choices, start=1):
        assert choice.probability == pytest.approx(table[place, choice.token], rel=1e-4)


def test_a_text_without_a_mask_is_refused_with_the_masks_name(filler):
    ours, params, _ = filler
    with pytest.raises(UserError, match="'bad' has no <mask> to fill in"):
        ours.fill(params, [TEXTS[0], "bad"], GREEDY)


def test_a_text_beyond_the_learned_positions_is_refused(tiny_config):
    config = tiny_config(
        "encoder",
        vocab_size=TOKENIZER.vocab_size,
        rope=None,
        embed=EmbedConfig(num_positions=8),
    )
    with pytest.raises(UserError, match="9 tokens are more than the 8 positions"):
        Filler(Transformer(config), TOKENIZER).fill(None, [f"abcdef{MASK}"], GREEDY)


def test_a_model_with_a_decoder_fills_in_nothing(tiny_config):
    with pytest.raises(UserError, match="has a decoder, which continues texts"):
        Filler(Transformer(tiny_config()), TOKENIZER)


def test_a_tokenizer_without_a_mask_is_named(tiny_config):
    plain = Tokenizer.characters("ab")
    with pytest.raises(UserError, match="no special token '<mask>'"):
        Filler(Transformer(tiny_config("encoder")), plain)
