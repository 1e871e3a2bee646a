"""The tokenizer gives every text back, or the document is known not to come back."""

import random

import numpy as np
import pytest
import sentencepiece

from data_pipeline.tokenize import BOS, EOS, TokenizerConfig, encode, flat, train_tokenizer
from nanojaxlm.errors import UserError

NASTY = [
    "",
    " ",
    "\n",
    "  two  spaces  ",
    "\t\ttabs\r\nand returns\r",
    "    def f(x):\n        return x  # é\n\n\n",
    "日本語テキスト、한국어, العربية, עברית, ไทย",
    "e\u0301 \u00e9 ﬁ ½ Ａ \u212b",  # noqa: RUF001  (normalization would change them)
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 \U0001f1e9\U0001f1ea",
    "\ufeffmark \u200b\u200e\u202e\u2060 \u00a0\u3000\u2028\u2029",
    "<s></s><unk><pad><0x41>",
    "\x01\x02\x1b[31m\x7f",
    "\ud7ff\ue000\uffff\U0010ffff",
    "0123456789" * 30,
    "a" * 3000,
]


@pytest.fixture(scope="module")
def model(make_prose):
    texts = [make_prose(i, 60) for i in range(20)]
    return train_tokenizer(iter(texts), TokenizerConfig(vocab_size=600), num_threads=1)


@pytest.fixture(scope="module")
def processor(model):
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def test_control_tokens_have_the_ids_of_the_contract(processor):
    assert [processor.unk_id(), processor.bos_id(), processor.eos_id()] == [0, 1, 2]
    assert processor.pad_id() == -1
    assert processor.get_piece_size() == 600


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_comes_back(processor, text):
    ((ids,), (lossless,)) = encode(processor, [text], 1)
    assert lossless
    assert (ids[0], ids[-1]) == (BOS, EOS)
    assert processor.decode(ids[1:-1]) == text
    assert 0 not in ids


def test_random_unicode_comes_back_and_its_bytes_are_the_pieces_bytes(processor):
    rng = random.Random(0)
    ranges = [(1, 0x7F), (0x80, 0x7FF), (0x800, 0x2580), (0x2582, 0xD7FF), (0xE000, 0x10FFFF)]
    texts = [
        "".join(chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randint(0, 80)))
        for _ in range(300)
    ]
    ids, lossless = encode(processor, texts, 2)
    assert all(lossless)

    def num_bytes(token):
        if processor.is_control(token):
            return 0
        piece = processor.id_to_piece(token)
        return 1 if processor.is_byte(token) else len(piece.replace("\u2581", " ").encode())

    for text, document in zip(texts, ids, strict=True):
        assert sum(map(num_bytes, document)) == len(text.encode())


def test_the_one_character_that_does_not_come_back_is_told(processor):
    _, lossless = encode(processor, ["fine", "a\u2581b"], 1)
    assert lossless == [True, False]


def test_indentation_is_one_piece(make_prose):
    code = "def f(x):\n    if x:\n        return x\n    return None\n\n\n" * 30
    model = train_tokenizer(iter([code]), TokenizerConfig(vocab_size=300), 1)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model).encode(
        "\n        return", out_type=str
    )
    assert len(pieces) <= 3


def test_digits_are_split(processor):
    assert len(processor.encode("2024")) >= 4


def test_a_vocabulary_larger_than_the_text_supports_tells_the_largest(make_prose):
    texts = [make_prose(1)]
    with pytest.raises(UserError, match="vocab_size") as error:
        train_tokenizer(iter(texts), TokenizerConfig(vocab_size=20_000), 1)
    largest = int(str(error.value).split("--config.tokenizer.vocab_size=")[1].split()[0])
    model = train_tokenizer(iter(texts), TokenizerConfig(vocab_size=largest), 1)
    assert sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size() == largest


def test_a_sample_stops_at_its_size(make_prose):
    read = []

    def texts():
        for i in range(100):
            read.append(i)
            yield make_prose(i)

    train_tokenizer(texts(), TokenizerConfig(vocab_size=400, sample_megabytes=0.02), 1)
    assert 5 < len(read) < 20


def test_flat_joins_documents():
    tokens, lengths = flat([[1, 5, 2], [1, 2]])
    assert tokens.tolist() == [1, 5, 2, 1, 2] and lengths.tolist() == [3, 2]
    assert tokens.dtype == np.int32
    assert flat([])[0].shape == (0,)


@pytest.mark.parametrize(
    "fields", [{"vocab_size": 100}, {"algorithm": "word"}, {"sample_megabytes": 0.0}]
)
def test_impossible_configs_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        TokenizerConfig(**fields)
