"""The ids are SentencePiece's, the texts come back, and what does not come back is known."""

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2

from data_pipeline import encoder as module
from data_pipeline.encoder import Encoder, flat
from data_pipeline.tokenize import BOS, EOS, TokenizerConfig, train_tokenizer
from nanojaxlm.data.tokenizer import Tokenizer

PROTO: Any = sentencepiece_model_pb2  # its classes are made at import, unseen by type checkers
PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "tokenizer"
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
    "nul\0 \0\0 nul",
    "\n “quoted”\n  \n\n x\n",
    "<|im_start|> <|im_start|>the\n<|im_start|>",
]
NASTIER = ["a\u2581b", "\u2581", " \u2581 \u2581\u2581 x", "\n\u2581x"]  # they do not come back


def published(name):
    path = PUBLISHED / name
    if not path.is_file():
        pytest.skip(f"{name} is not there: it is in ../shared/data/tokenizer for developers only")
    return path.read_bytes()


def trained(make_prose, vocab_size=600, **fields):
    code = "def f(x):\n    if x.y:\n        return x, 1\n\n    return None\n\n\n" * 30
    texts = [code, *(make_prose(i, 60) for i in range(10)), "日本語テキスト、日本語。\n" * 20]
    config = TokenizerConfig(vocab_size=vocab_size, user_symbols=("<|im_start|>",), **fields)
    return train_tokenizer(iter(texts), config)


@pytest.fixture(scope="module")
def model(make_prose):
    return trained(make_prose)


@pytest.fixture(scope="module")
def unigram(make_prose):
    return trained(make_prose, 430, algorithm="unigram")


@pytest.fixture(scope="module", params=["bpe", "unigram", "llama2.model", "test_model.model"])
def any_model(request, model, unigram):
    return {"bpe": model, "unigram": unigram}.get(request.param) or published(request.param)


def random_texts(num_texts):
    """Much white space, U+2581, characters of few and of many bytes."""
    rng = random.Random(0)
    ranges = [(1, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0x10FFFF)]
    words = [
        " ",
        "  ",
        "\n",
        "\u2581",
        "the",
        "The",
        " be",
        "x.y",
        "\n    ",
        "\u2019",
        "é",
        "日本",
        "7",
    ]

    def character():
        return rng.choice(words) if rng.random() < 0.7 else chr(rng.randint(*rng.choice(ranges)))

    return ["".join(character() for _ in range(rng.randint(0, 60))) for _ in range(num_texts)]


def documents(encoded):
    ends = zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)
    return [encoded.tokens[start:end].tolist() for start, end in ends]


def test_ids_are_those_of_sentencepiece_on_whole_texts(any_model, make_prose):
    processor = sentencepiece.SentencePieceProcessor(model_proto=any_model)
    texts = [*NASTY, *NASTIER, *random_texts(400), make_prose(3), "x" + " y" * 1000]
    encoded = Encoder(any_model, require_lossless=False).encode(texts)
    bos = processor.bos_id()
    for text, ids in zip(texts, documents(encoded), strict=True):
        assert ids == [bos, *processor.encode(text), processor.eos_id()], text
    assert encoded.same.tolist() == [processor.decode(processor.encode(t)) == t for t in texts]
    assert encoded.kept.all()


def test_bytes_are_those_of_the_tokenizer_of_the_model(any_model):
    texts = [*NASTY, *NASTIER, *random_texts(100)]
    encoded = Encoder(any_model, require_lossless=False).encode(texts)
    tokenizer = Tokenizer(any_model)
    if tokenizer.lossless:
        expected = [len(text.encode()) for text in texts]
    else:
        sizes = tokenizer.bytes_per_token()
        expected = [int(sizes[ids].sum()) for ids in documents(encoded)]
    assert encoded.num_bytes.tolist() == expected


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_nasty_texts_come_back(model, unigram, algorithm):
    encoder = Encoder(model if algorithm == "bpe" else unigram)
    encoded = encoder.encode([*NASTY, *NASTIER])
    assert encoded.kept.tolist() == [True] * len(NASTY) + [False] * len(NASTIER)
    assert np.isnan(encoded.changed_at).tolist() == encoded.kept.tolist()
    assert encoded.changed_at[len(NASTY) :].tolist() == [1, 0, 1, 1]
    processor = sentencepiece.SentencePieceProcessor(model_proto=encoder.model)
    for text, ids in zip(NASTY, documents(encoded), strict=False):
        assert (ids[0], ids[-1]) == (BOS, EOS)
        assert processor.decode(ids[1:-1]) == text
        assert 0 not in ids


def test_only_few_parts_of_a_text_are_encoded(model, make_prose, monkeypatch):
    encoder, given = Encoder(model), []
    processor = encoder._parts._processor
    encode = processor.encode

    def counting(texts, **more):
        given.extend(texts)
        return encode(texts, **more)

    monkeypatch.setattr(processor, "encode", counting)
    texts = [make_prose(i) for i in range(50)]
    encoder.encode(texts)
    assert sum(map(len, given)) < 0.1 * sum(map(len, texts))


def test_slices_and_empty_arrays(model, make_prose):
    encoder = Encoder(model)
    texts = pa.array([make_prose(i, 3) for i in range(6)], pa.large_string())
    whole = documents(encoder.encode(texts))
    assert documents(encoder.encode(texts.slice(2, 3))) == whole[2:5]
    empty = encoder.encode(texts.slice(0, 0))
    assert documents(empty) == [] and empty.offsets.tolist() == [0]
    assert documents(encoder.encode(["", ""])) == [[BOS, EOS], [BOS, EOS]]


def test_counts_of_words_and_characters(model, make_prose):
    texts = [make_prose(0), " a  b\nc\u3000d ", "日本語\n日本 語", "", "\n", "x"]
    encoded = Encoder(model).encode(texts)
    assert encoded.words.tolist() == [len(text.split()) for text in texts]
    assert encoded.characters.tolist() == [len(text) for text in texts]
    languages = ["en", "en", "ja", "ja", "en", "en"]
    sums = encoded.by_language(languages)
    assert list(sums) == ["en", "ja"]
    assert sums["ja"] == {
        "documents": 2,
        "bytes": len((texts[2] + texts[3]).encode()),
        "characters": len(texts[2]),
        "words": 3,
        "tokens": int(encoded.lengths[2] + encoded.lengths[3]),
    }
    assert sum(one["tokens"] for one in sums.values()) == len(encoded.tokens)


def test_a_part_without_end_is_cut_between_characters(model, monkeypatch):
    monkeypatch.setattr(module, "MAX_PART_BYTES", 1000)
    encoder = Encoder(model)
    texts = ["日本" * 2000, "a" * 2999 + "é" + "b" * 2500, "fine"]
    encoded = encoder.encode(texts)
    assert encoded.kept.all()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert [processor.decode(ids[1:-1]) for ids in documents(encoded)] == texts
    assert encoded.num_bytes.tolist() == [len(text.encode()) for text in texts]


def test_where_a_piece_reaches_across_a_space_no_text_is_cut_there(model):
    proto = PROTO.ModelProto.FromString(model)
    at = next(i for i, piece in enumerate(proto.pieces) if piece.piece == "\u2581th")
    for piece in ("e\u2581", "he\u2581t"):
        proto.pieces[at].piece = piece
        at += 1
    odd = proto.SerializeToString()
    processor = sentencepiece.SentencePieceProcessor(model_proto=odd)
    texts = ["the there he the", "he  the\nthe e e e"]
    assert any("\u2581" in p[1:] for t in texts for p in processor.encode(t, out_type=str))
    found = documents(Encoder(odd).encode(texts))
    assert [ids[1:-1] for ids in found] == [processor.encode(text) for text in texts]


def test_an_encoder_travels_as_its_model(model):
    encoder = Encoder(model)
    before = encoder.encode(NASTY).tokens
    data = pickle.dumps(encoder)
    assert len(data) < len(model) + 200
    assert (pickle.loads(data).encode(NASTY).tokens == before).all()


def test_flat_joins_documents():
    tokens, lengths = flat([[1, 5, 2], [1, 2]])
    assert tokens.tolist() == [1, 5, 2, 1, 2] and lengths.tolist() == [3, 2]
    assert tokens.dtype == np.int32
    assert flat([])[0].shape == (0,)


def llama_of_tokenizers(model: bytes) -> tokenizers.Tokenizer:
    """The same tokenizer in Hugging Face's Rust library, its merges derived from the scores.

    As transformers' LlamaConverter does it: every way to make a piece of two is a merge, those of
    the best pieces first, and among those of one piece the parts of the smallest ids.
    """
    proto = PROTO.ModelProto.FromString(model)
    vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    merges = []
    for piece in proto.pieces:
        for cut in range(1, len(piece.piece)):
            left, right = piece.piece[:cut], piece.piece[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((-piece.score, vocabulary[left], vocabulary[right], left, right))
    merges.sort()
    bpe = tokenizers.models.BPE(
        vocab=vocabulary,
        merges=[merge[3:] for merge in merges],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")]
    )
    return tokenizer


def test_the_published_llama_model_gives_its_ids_on_the_naughty_strings():
    model = published("llama2.model")
    strings = json.loads((PUBLISHED / "blns.json").read_text(encoding="utf-8"))
    assert len(strings) == 515
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    independent = llama_of_tokenizers(model)
    encoded = Encoder(model, require_lossless=False).encode(strings)
    for text, ids in zip(strings, documents(encoded), strict=True):
        assert ids == [1, *processor.encode(text), 2], text
        assert ids[1:-1] == independent.encode(text).ids, text
    assert encoded.kept.all()
    changed = [text for text, same in zip(strings, encoded.same, strict=True) if not same]
    assert all("\u2581" in text for text in changed)
