"""Training a tokenizer, or taking a published one."""

from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from data_pipeline.tokenize import TokenizerConfig, make_encoder, train_tokenizer
from nanojaxlm.errors import UserError


@pytest.fixture(scope="module")
def model(make_prose):
    texts = [make_prose(i, 60) for i in range(20)]
    return train_tokenizer(iter(texts), TokenizerConfig(vocab_size=600))


@pytest.fixture(scope="module")
def processor(model):
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def test_control_tokens_have_the_ids_of_the_contract(processor):
    assert [processor.unk_id(), processor.bos_id(), processor.eos_id()] == [0, 1, 2]
    assert processor.pad_id() == -1
    assert processor.get_piece_size() == 600


def test_indentation_is_one_piece():
    code = "def f(x):\n    if x:\n        return x\n    return None\n\n\n" * 30
    model = train_tokenizer(iter([code]), TokenizerConfig(vocab_size=300))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model).encode(
        "\n        return", out_type=str
    )
    assert len(pieces) <= 3


def test_digits_are_split(processor):
    assert len(processor.encode("2024")) >= 4


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_a_users_symbol_is_one_id_wherever_it_stands(make_prose, algorithm):
    symbols = ("<|im_start|>", "a, b", '"', "<0xZZ>", "\t")
    config = TokenizerConfig(vocab_size=400, algorithm=algorithm, user_symbols=symbols)
    texts = [make_prose(i, 60) for i in range(5)]
    encoder = make_encoder(iter(texts), config)
    processor = sentencepiece.SentencePieceProcessor(model_proto=encoder.model)
    ids = [processor.piece_to_id(symbol.replace(" ", "\u2581")) for symbol in symbols]
    assert ids == list(range(3, 8))  # after the control tokens, in the order given
    encoded = encoder.encode([f"river{symbol}{symbol} the" for symbol in symbols])
    assert encoded.same.all()
    for i, one in enumerate(ids):
        document = encoded.tokens[encoded.offsets[i] : encoded.offsets[i + 1]]
        assert (document == one).sum() == 2


def test_a_vocabulary_larger_than_the_text_supports_tells_the_largest(make_prose):
    texts = [make_prose(1)]
    with pytest.raises(UserError, match="vocab_size") as error:
        train_tokenizer(iter(texts), TokenizerConfig(vocab_size=20_000))
    largest = int(str(error.value).split("--config.tokenizer.vocab_size=")[1].split()[0])
    model = train_tokenizer(iter(texts), TokenizerConfig(vocab_size=largest))
    assert sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size() == largest


def test_a_sample_stops_at_its_size(make_prose):
    read = []

    def texts():
        for i in range(100):
            read.append(i)
            yield make_prose(i)

    train_tokenizer(texts(), TokenizerConfig(vocab_size=400, sample_megabytes=0.02))
    assert 5 < len(read) < 20


def test_a_published_model_is_used_as_it_is(model, tmp_path):
    path = tmp_path / "their.model"
    path.write_bytes(model)
    encoder = make_encoder(iter(()), TokenizerConfig(model=str(path)))
    assert encoder.model == model
    assert not encoder.require_lossless
    config = TokenizerConfig(model=str(path), require_lossless=True)
    assert make_encoder(iter(()), config).require_lossless


def without_eos(model: bytes) -> bytes:
    types: Any = sentencepiece_model_pb2
    proto = types.ModelProto.FromString(model)
    proto.pieces[2].type = proto.SentencePiece.NORMAL
    return proto.SerializeToString()


@pytest.mark.parametrize("kind", ["missing", "no model", "empty", "no eos"])
def test_a_model_that_cannot_be_used_is_told(model, tmp_path, kind):
    path = tmp_path / "their.model"
    contents = {"no model": b"nonsense", "empty": b"", "no eos": without_eos(model)}
    if kind != "missing":
        path.write_bytes(contents[kind])
    with pytest.raises(UserError, match="no EOS" if kind == "no eos" else "no SentencePiece") as e:
        make_encoder(iter(()), TokenizerConfig(model=str(path)))
    assert str(path) in str(e.value) and "name " in str(e.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"vocab_size": 100},
        {"vocab_size": 261, "user_symbols": ("a", "b")},
        {"algorithm": "word"},
        {"sample_megabytes": 0.0},
        {"character_coverage": 1.5},
        {"max_piece_length": 0},
        {"user_symbols": ("a", "a")},
        {"user_symbols": ("",)},
        {"user_symbols": ("</s>",)},
        {"user_symbols": ("a\u2581b",)},
        {"user_symbols": ("<a>",), "model": str(Path("their.model"))},
    ],
)
def test_impossible_configs_are_refused(fields):
    name = "user_symbols" if "user_symbols" in fields else next(iter(fields))
    with pytest.raises(ValueError, match=name.replace("_", ".")):
        TokenizerConfig(**fields)
