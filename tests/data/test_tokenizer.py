"""The tokenizer: nothing of a text is lost, and every byte of it is counted."""

import io
import json
import random

import numpy as np
import pytest
import sentencepiece

from nanojaxlm.data.tokenizer import StreamDecoder, Tokenizer, load_tokenizer
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
    ("options", "text", "given_back"),
    [
        ({"add_dummy_prefix": True}, " two  spaces", " two  spaces"),
        ({"remove_extra_whitespaces": True}, " two  spaces ", "two spaces"),
        ({"normalization_rule_name": "nmt_nfkc"}, "\u210c\ufb01", "Hfi"),
    ],
)
def test_a_model_that_changes_the_text_loads_and_says_so(options, text, given_back):
    data = train(**options)
    tokenizer = Tokenizer(data)
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    ids = reference.encode(text)
    assert not tokenizer.lossless
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == reference.decode(ids) == given_back


def test_the_space_before_a_text_is_dropped_at_its_beginning_only():
    tokenizer = Tokenizer(train(add_dummy_prefix=True))
    ids = tokenizer.encode("some words")
    assert tokenizer.decode([1, *ids, 2]) == "some words"
    assert tokenizer.bytes_per_token()[ids].sum() == len(" some words")
    continued, begun = StreamDecoder(tokenizer), StreamDecoder(tokenizer, continues=False)
    assert "".join(continued.push([i]) for i in ids) == " some words"
    assert "".join(begun.push([i]) for i in [1, *ids]) == "some words"


def test_lossless_is_said_of_models_without_normalization(subwords, characters):
    assert subwords.lossless
    assert characters.lossless


def test_a_model_without_bos_has_eos_in_its_place():
    tokenizer = Tokenizer(train(bos_id=-1, eos_id=1))
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 1)


def test_a_model_without_eos_and_bytes_that_are_no_model_are_refused():
    with pytest.raises(UserError, match="no EOS"):
        Tokenizer(train(eos_id=-1))
    with pytest.raises(UserError, match="no SentencePiece model"):
        Tokenizer(b"no model")


def test_extra_tokens_have_the_next_ids_and_no_text(subwords):
    tokenizer = load_tokenizer(subwords.model, ("<mask>", "<extra_id_0>"))
    size = subwords.vocab_size
    assert (tokenizer.base_size, tokenizer.vocab_size) == (size, size + 2)
    assert tokenizer.special_id("<mask>") == size
    assert tokenizer.special_id("<extra_id_0>") == size + 1
    assert tokenizer.name(size + 1) == "<extra_id_0>"
    ids = [size, *subwords.encode("words"), size + 1]
    assert tokenizer.decode(ids) == "words"
    assert tokenizer.decode(ids, special=True) == "<mask>words<extra_id_0>"
    assert tokenizer.bytes_per_token()[[size, size + 1]].tolist() == [0, 0]
    assert tokenizer.begins_word().shape == (size + 2,)
    assert tokenizer.fingerprint == subwords.fingerprint


def test_names_of_special_tokens_are_read_in_a_text_only_when_asked(subwords):
    tokenizer = load_tokenizer(subwords.model, ("<mask>",))
    text = "some <mask>words</s>"
    expected = [*subwords.encode("some "), subwords.vocab_size, *subwords.encode("words"), 2]
    assert tokenizer.encode(text, special=True) == expected
    plain = tokenizer.encode(text)
    assert max(plain) < subwords.vocab_size
    assert 2 not in plain
    assert tokenizer.decode(plain) == text


def test_of_names_that_begin_alike_the_longest_is_read(subwords):
    tokenizer = load_tokenizer(subwords.model, ("<x>", "<x>1"))
    size = subwords.vocab_size
    assert tokenizer.encode("<x>1<x>", special=True) == [size + 1, size]


def test_an_extra_token_that_is_there_already_and_one_that_is_not_there_are_told(subwords):
    with pytest.raises(UserError, match="'</s>' is an id of the tokenizer already"):
        load_tokenizer(subwords.model, ("</s>",))
    with pytest.raises(UserError, match="named twice"):
        load_tokenizer(subwords.model, ("<a>", "<a>"))
    with pytest.raises(UserError, match="no special token '<mask>'; it has <unk>, <s>, </s>"):
        subwords.special_id("<mask>")


def test_a_word_begins_at_white_space(subwords):
    ids = subwords.encode("some plain\nwords of")
    begins = subwords.begins_word()
    assert begins.dtype == bool
    words: list[bytes] = []
    for i in ids:
        if begins[i] or not words:
            words.append(b"")
        words[-1] += subwords.piece_bytes(i)
    assert words == [b"some", b" plain", b"\nwords", b" of"]
    assert begins[[subwords.bos_id, subwords.eos_id]].all()


def test_a_published_sentencepiece_model_gives_sentencepieces_ids_and_text(shared_data):
    data = (shared_data / "tokenizer/llama2.model").read_bytes()
    naughty = json.loads((shared_data / "tokenizer/blns.json").read_text(encoding="utf-8"))
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = Tokenizer(data)
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (32000, 1, 2)
    for text in naughty:
        ids = reference.encode(text)
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == reference.decode(ids)
