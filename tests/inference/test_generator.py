"""Generation with a cache against the whole forward pass; streams, stops and ends of rows."""

import dataclasses
import io
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece

from nanojaxlm.batch import Stream
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.inference.generator import Generator, Piece
from nanojaxlm.inference.prompts import whole_text
from nanojaxlm.inference.sampling import Sampling
from nanojaxlm.model.config import (
    EmbedConfig,
    LayerNormConfig,
    LocalConfig,
    RelativeBiasConfig,
)
from nanojaxlm.model.transformer import Transformer

pytestmark = pytest.mark.usefixtures("quick_compile")
GREEDY = Sampling(temperature=0)
ALPHABET = "abcdefghijklmnopqrstuvwxyz .,é☃"
CHARACTERS = Tokenizer.characters(ALPHABET)


@pytest.fixture(scope="module")
def bytes_tokenizer():
    """A tokenizer that spells rare characters in bytes."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat " * 20, "a dog ran over the hill " * 20]),
        model_writer=model,
        vocab_size=285,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


class Scripted(Generator):
    """A generator whose model says what a test wants it to say: the text logic alone."""

    def __init__(self, tokenizer, rows):
        self._tokenizer, self._rows = tokenizer, rows
        self._model = SimpleNamespace(config=SimpleNamespace(encoder=None))
        self.steps = 0

    def token_stream(self, params, prompts, max_tokens, sampling, seed=0, prefix=False):
        assert len(prompts) == len(self._rows)
        for i in range(max_tokens):
            self.steps += 1
            yield np.array([row[i] if i < len(row) else 3 for row in self._rows], np.int32)


def say(tokenizer, *texts, stop=(), max_tokens=100, end=True):
    ends = [tokenizer.eos_id] if end else []
    generator = Scripted(tokenizer, [[*tokenizer.encode(text), *ends] for text in texts])
    pieces = list(generator.stream(None, [""] * len(texts), max_tokens, GREEDY, stop))
    return generator, pieces


def joined(pieces, row=0):
    return "".join(piece.text for piece in pieces if piece.row == row)


LENGTH = 128  # that the whole passes are padded to


def padded(tokens, length=LENGTH, prefix=0):
    """One row, padded on the right, so that passes of all lengths compile once."""
    row = np.zeros((1, length), np.int32)
    row[0, : len(tokens)] = tokens
    index = np.arange(length, dtype=np.int32)[None]
    segments = (index < len(tokens)).astype(np.int32)
    prefix_BT = (index < prefix).astype(np.int32) if prefix else None
    return Stream(row, index * segments, segments, prefix_BT)


def whole_passes(model, params):
    """full_pass(prompt, num_tokens): greedy by whole forward passes, no cache, one prompt, one
    token at a time."""
    config = model.config
    forward = jax.jit(lambda decoder, encoder: model.apply({"params": params}, decoder, encoder))

    def full_pass(prompt, num_tokens, prefix=False):
        tokens, encoder = list(prompt), None
        if config.encoder is not None:
            start_id = CHARACTERS.bos_id if config.start_id is None else config.start_id
            tokens, encoder = [start_id], padded(prompt)
        begin = len(tokens)
        for _ in range(num_tokens):
            logits = forward(padded(tokens, prefix=begin if prefix else 0), encoder)
            known = np.asarray(logits)[0, len(tokens) - 1, : CHARACTERS.vocab_size]
            tokens.append(int(known.argmax()))
        return tokens[begin:]

    return full_pass


def prompts_of_lengths(lengths, vocab_size, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, vocab_size, length).tolist() for length in lengths]


OTHERWISE = {
    "scan": False, "window": 5, "qk_norm": "head", "kv_shift": True,
}  # fmt: skip
T5 = {"rope": None, "relative_bias": RelativeBiasConfig(num_buckets=8, max_distance=20)}
GPT2 = {"rope": None, "embed": EmbedConfig(scale=1.0, num_positions=96), "norm": LayerNormConfig()}
GEMMA = {"local": LocalConfig(window=4, global_every=2), "post_norm": True, "num_layers": 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("decoder", {}),
        ("decoder", OTHERWISE),
        ("decoder", GPT2),
        ("decoder", GEMMA),
        ("encoder_decoder", {}),
        ("encoder_decoder", OTHERWISE | {"start_id": 7}),
        ("encoder_decoder", T5),
        ("encoder_decoder", GEMMA | {"share_embeddings": False}),
    ],
)
def test_greedy_with_the_cache_is_the_argmax_of_the_whole_pass(
    tiny_config, random_params, kind, fields
):
    """Of several prompts together, padded on the left, and of each alone."""
    # a tied table of random rows would only say again what it reads
    model = Transformer(tiny_config(kind, **{"tie_embeddings": False} | fields))
    params = random_params(model)
    generator = Generator(model, CHARACTERS)
    prompts = prompts_of_lengths([1, 30, 70], 50)
    full_pass = whole_passes(model, params)
    together = np.stack(list(generator.token_stream(params, prompts, 20, GREEDY)), axis=1)
    assert together.dtype == np.int32
    for prompt, tokens in zip(prompts, together, strict=True):
        assert tokens.tolist() == full_pass(prompt, 20)
        alone = list(generator.token_stream(params, [prompt], 20, GREEDY))
        assert tokens.tolist() == np.concatenate(alone).tolist()
    assert len({tuple(tokens) for tokens in together}) == len(prompts)


@pytest.mark.slow
def test_a_prefix_sees_all_of_itself_with_the_cache_as_without(tiny_config, random_params):
    model = Transformer(tiny_config())
    params = random_params(model)
    generator = Generator(model, CHARACTERS)
    prompts = prompts_of_lengths([12, 31], 50, seed=3)
    steps = generator.token_stream(params, prompts, 12, GREEDY, prefix=True)
    together = np.stack(list(steps), axis=1).tolist()
    full_pass = whole_passes(model, params)
    assert together == [full_pass(prompt, 12, prefix=True) for prompt in prompts]
    assert together != [full_pass(prompt, 12) for prompt in prompts]


def test_an_encoder_alone_continues_nothing(tiny_config):
    with pytest.raises(UserError, match="fills in <mask>"):
        Generator(Transformer(tiny_config("encoder")), CHARACTERS)


def test_more_tokens_than_learned_positions_are_refused(tiny_config):
    config = tiny_config(rope=None, embed=EmbedConfig(num_positions=40, first_position=2))
    generator = Generator(Transformer(config), CHARACTERS)
    with pytest.raises(UserError, match="39 tokens are more than the 38 positions"):
        next(generator.token_stream(None, [[3] * 30], 10, GREEDY))


def test_the_encoder_reads_the_whole_text_between_bos_and_eos(tiny_config, random_params):
    config = tiny_config("encoder_decoder", vocab_size=CHARACTERS.vocab_size)
    model = Transformer(config)
    params = random_params(model)
    ids = [CHARACTERS.bos_id, *CHARACTERS.encode("cat"), CHARACTERS.eos_id]
    want = CHARACTERS.decode(whole_passes(model, params)(ids, 1))
    assert Generator(model, CHARACTERS).generate(params, ["cat"], 1, GREEDY) == [want]


def test_sentinels_are_read_and_written_by_their_names():
    tokenizer = Tokenizer(CHARACTERS.model, ("<extra_id_0>", "<extra_id_1>"))
    first, second = (tokenizer.special_id(name) for name in tokenizer.extra_tokens)
    assert whole_text(tokenizer, "a<extra_id_0>b") == [
        tokenizer.bos_id,
        *tokenizer.encode("a"),
        first,
        *tokenizer.encode("b"),
        tokenizer.eos_id,
    ]
    row = [first, *tokenizer.encode("cat"), second, *tokenizer.encode("é"), tokenizer.eos_id]
    for special, want in ((True, "<extra_id_0>cat<extra_id_1>é"), (False, "caté")):
        generator = Scripted(tokenizer, [row])
        pieces = generator.stream(None, [[1]], 20, GREEDY, special=special)
        assert joined(pieces) == want


def test_sampling_depends_on_the_seed_alone(tiny_config, random_params):
    model = Transformer(tiny_config())
    params = random_params(model)
    generator = Generator(model, CHARACTERS)
    prompts = prompts_of_lengths([3, 5], 50)

    def draw(seed):
        return np.stack(list(generator.token_stream(params, prompts, 8, Sampling(), seed)))

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).any()


def test_pieces_join_to_what_generate_returns(tiny_config, random_params):
    config = dataclasses.replace(tiny_config(), vocab_size=CHARACTERS.vocab_size)
    model = Transformer(config)
    params = random_params(model)
    generator = Generator(model, CHARACTERS)
    prompts = ["a", "the cat"]
    pieces = list(generator.stream(params, prompts, 12, Sampling(), ["z."], seed=4))
    texts = generator.generate(params, prompts, 12, Sampling(), ["z."], seed=4)
    assert texts == [joined(pieces, 0), joined(pieces, 1)]
    assert all(0 < len(text) <= 12 for text in texts)
    for row in (0, 1):
        ends = [piece.end for piece in pieces if piece.row == row]
        assert ends[-1] in ("eos", "stop", "length") and not any(ends[:-1])


def test_a_prompt_without_tokens_is_refused(tiny_config):
    generator = Generator(Transformer(tiny_config()), CHARACTERS)
    with pytest.raises(UserError, match="no tokens"):
        next(generator.token_stream(None, [[3], []], 5, GREEDY))


@pytest.mark.parametrize(
    ("text", "stops", "want"),
    [
        ("one stop two", ["stop"], "one "),  # over four tokens
        ("one stot two", ["stop"], "one stot two"),  # held back, then let go
        ("one sto", ["stop"], "one sto"),  # held back when the text ends
        ("aaab", ["aab"], "a"),
        ("abcd", ["bcx", "c"], "ab"),  # the shorter one ends while the longer is held
        ("xabcd", ["abc", "ab"], "x"),
        ("no", ["noo", "oo"], "no"),
        ("", ["a"], ""),
    ],
)
def test_stop_strings_are_never_emitted_and_nothing_else_is_kept_back(text, stops, want):
    _, pieces = say(CHARACTERS, text, stop=stops)
    assert joined(pieces) == want
    assert pieces[-1].end == ("stop" if want != text else "eos")
    _, pieces = say(CHARACTERS, text, stop=stops, max_tokens=len(text) or 1, end=not text)
    assert joined(pieces) == want


def test_text_is_streamed_as_soon_as_it_is_certain():
    _, pieces = say(CHARACTERS, "a stop", stop=["stuv"])
    assert pieces == [
        *[Piece(0, character, None) for character in "a "],
        Piece(0, "sto", None),
        Piece(0, "p", None),
        Piece(0, "", "eos"),
    ]


def test_characters_of_several_byte_tokens_arrive_whole(bytes_tokenizer):
    text = "the 雪 and the 🎿 cat"
    assert len(bytes_tokenizer.encode("🎿")) >= 4
    _, pieces = say(bytes_tokenizer, text)
    assert joined(pieces) == text
    assert not any("\ufffd" in piece.text for piece in pieces)
    assert {"雪", "🎿"} <= {character for piece in pieces for character in piece.text}
    _, stopped = say(bytes_tokenizer, text, stop=["雪 and"])
    assert joined(stopped) == "the "


def test_a_character_that_never_gets_whole_is_told_at_the_end(bytes_tokenizer):
    ids = bytes_tokenizer.encode("🎿")[:2]
    generator = Scripted(bytes_tokenizer, [[*ids, bytes_tokenizer.eos_id]])
    assert generator.generate(None, [""], 10, GREEDY) == ["\ufffd"]


def test_eos_ends_a_row_while_others_go_on_and_the_last_end_ends_all():
    generator, pieces = say(CHARACTERS, "ab", "abcdef", "a")
    assert [joined(pieces, row) for row in range(3)] == ["ab", "abcdef", "a"]
    assert [(piece.row, piece.end) for piece in pieces if piece.end] == [
        (2, "eos"),
        (0, "eos"),
        (1, "eos"),
    ]
    assert generator.steps == 7


def test_max_tokens_is_the_bound_and_says_so():
    generator, pieces = say(CHARACTERS, "abcdef", "a", max_tokens=4)
    assert joined(pieces, 0) == "abcd" and joined(pieces, 1) == "a"
    assert generator.steps == 4
    assert {piece.row: piece.end for piece in pieces if piece.end} == {0: "length", 1: "eos"}


def test_the_prompt_begins_with_bos_and_only_it_is_read(tiny_config, random_params):
    config = dataclasses.replace(tiny_config(), vocab_size=CHARACTERS.vocab_size)
    model = Transformer(config)
    params = random_params(model)
    ids = [CHARACTERS.bos_id, *CHARACTERS.encode("cat")]
    stream = Stream(*(jnp.asarray(a, jnp.int32)[None] for a in (ids, range(4), [1] * 4)))
    logits = np.asarray(model.apply({"params": params}, stream))
    first = CHARACTERS.decode([int(logits[0, -1].argmax())])
    assert Generator(model, CHARACTERS).generate(params, ["cat"], 1, GREEDY) == [first]


def test_an_id_that_the_tokenizer_lacks_is_never_chosen(tiny_config, random_params):
    """The vocabulary of a model is often rounded up, and the rows beyond stand for no text."""
    model = Transformer(tiny_config(vocab_size=CHARACTERS.vocab_size + 1000))
    texts = Generator(model, CHARACTERS).generate(random_params(model), ["a", "b"], 8, Sampling())
    assert len(texts) == 2
