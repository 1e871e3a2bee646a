"""The tokenizer: nothing of a text is lost, and every byte of it is counted."""

import io
import random

import numpy as np
import pytest
import sentencepiece

from nanojaxlm.data.tokenizer import StreamDecoder, Tokenizer
from nanojaxlm.errors import UserError

TEXTS = (
    "plain words",
    "  two  spaces   three ",
    "line\n\nline\r\n\ttab\n",
    "é 漢字 🙂🙃 ﬁ ½ a\u0301",
    "",
    "\n",
    " ",
    "x" * 10_000 + "\n" * 50,
)


def train(**options) -> bytes:
    """A byte-fallback unigram model, by the lossless settings unless told otherwise."""
    writer = io.BytesIO()
    settings = {
        "vocab_size": 300,
        "hard_vocab_limit": False,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": -1,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(  # type: ignore[attr-defined]
        sentence_iterator=iter(["some plain words here", "more words of a text"] * 50),
        model_writer=writer,
        **(settings | options),
    )
    return writer.getvalue()


@pytest.fixture(scope="module")
def subwords() -> Tokenizer:
    return Tokenizer(train())


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    return Tokenizer.characters("".join(TEXTS))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["subwords", "characters"])
def test_decoding_what_was_encoded_gives_the_text(kind, text, request):
    tokenizer = request.getfixturevalue(kind)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["subwords", "characters"])
def test_bytes_per_token_sum_to_the_bytes_of_the_text(kind, text, request):
    tokenizer = request.getfixturevalue(kind)
    sizes = tokenizer.bytes_per_token()
    assert (sizes.dtype, sizes.shape) == (np.int32, (tokenizer.vocab_size,))
    assert sizes[tokenizer.encode(text)].sum() == len(text.encode())
    assert sizes[[tokenizer.bos_id, tokenizer.eos_id]].tolist() == [0, 0]


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_agrees_with_sentencepiece(subwords, text):
    reference = sentencepiece.SentencePieceProcessor(model_proto=subwords.model)
    ids = reference.encode(text)
    assert subwords.encode(text) == ids
    assert subwords.decode([1, *ids, 2]) == reference.decode(ids)


def test_a_character_model_has_one_id_for_each_character_and_three_more():
    text = "banana\n split"
    tokenizer = Tokenizer.characters(text)
    assert tokenizer.vocab_size == 3 + len(set(text))
    assert len(tokenizer.encode(text)) == len(text)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert 0 in tokenizer.encode("q")
    assert Tokenizer.characters("tilps \nanab").fingerprint == tokenizer.fingerprint


def test_text_with_nul_is_refused():
    with pytest.raises(UserError, match="character 2 of the text is NUL"):
        Tokenizer.characters("ab\0c")


def test_streaming_gives_whole_characters_and_the_same_text_in_the_end(subwords):
    random.seed(0)
    text = "words é漢🙂 " * 20
    ids = subwords.encode(text)
    assert len(ids) > len(text)  # byte pieces split characters
    for _ in range(20):
        decoder, given, at = StreamDecoder(subwords), "", 0
        while at < len(ids):
            step = random.randint(1, 5)
            given += decoder.push(ids[at : at + step])
            assert text.startswith(given)
            at += step
        assert given + decoder.finish() == text


def test_an_unfinished_character_is_held_back_and_told_at_the_end(subwords):
    decoder = StreamDecoder(subwords)
    start = subwords.encode("🙂")[:-1]
    assert decoder.push(start) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.push(subwords.encode("words")) == "words"


@pytest.mark.parametrize(
    "options",
    [
        {"add_dummy_prefix": True},
        {"remove_extra_whitespaces": True},
        {"normalization_rule_name": "nmt_nfkc"},
    ],
)
def test_a_model_that_changes_the_text_is_refused(options):
    with pytest.raises(UserError, match="changes the text"):
        Tokenizer(train(**options))


def test_a_model_without_eos_and_bytes_that_are_no_model_are_refused():
    with pytest.raises(UserError, match="no BOS or no EOS"):
        Tokenizer(train(eos_id=-1))
    with pytest.raises(UserError, match="no SentencePiece model"):
        Tokenizer(b"no model")
