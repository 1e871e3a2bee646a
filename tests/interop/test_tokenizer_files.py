"""The tokenizer of a folder, read and written: what came in goes out as it was."""

import json
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop.tokenizer_files import read_tokenizer, write_tokenizer

CHARACTERS = Tokenizer.characters("some plain text, <of> characters\n/_[]")


def byte_level() -> str:
    """A tokenizer.json of bytes, laid out as no program of ours writes it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = Library(models.BPE({name: i for i, name in enumerate(alphabet)}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<|endoftext|>", "<|pad|>"])
    return json.dumps(json.loads(library.to_str()), indent=3)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder of a tokenizer.json and what stands beside it."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(byte_level(), encoding="utf-8")
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "é": 1}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=7), encoding="utf-8")
    (folder / "chat_template.jinja").write_bytes("{{ é }}\r\n".encode())
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_imported_tokenizer_is_written_as_it_was(published, out):
    tokenizer = load_tokenizer(read_tokenizer(published))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (256, 256, 258)
    write_tokenizer(out, tokenizer)
    files = contents(published)
    assert contents(out) == {name: files[name] for name in files if name != "config.json"}
    assert read_tokenizer(out) == tokenizer.model


def test_extra_tokens_are_added_to_an_imported_tokenizer(published, out):
    tokenizer = load_tokenizer(read_tokenizer(published), ("<mask>", "<x>"))
    write_tokenizer(out, tokenizer, pad_id=257)
    written = load_tokenizer(read_tokenizer(out))
    assert written.encode("a<x><mask>b", special=True) == tokenizer.encode(
        "a<x><mask>b", special=True
    )
    assert (written.vocab_size, written.mask_id, written.pad_id) == (260, 258, 257)
    config = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["é"] == 1
    before, after = (json.loads((f / "tokenizer.json").read_text()) for f in (published, out))
    assert before["added_tokens"] == after["added_tokens"][:2]
    assert before["model"] == after["model"]


def test_an_imported_tokenizer_without_a_config_gets_one(published, out):
    (published / "tokenizer_config.json").unlink()
    write_tokenizer(out, load_tokenizer(read_tokenizer(published)))
    config = json.loads((out / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["eos_token"] == config["bos_token"] == config["pad_token"] == "<|endoftext|>"


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"])
def test_a_sentencepiece_model_is_read_as_it_is(name, tmp_path):
    (tmp_path / name).write_bytes(CHARACTERS.model)
    assert read_tokenizer(tmp_path) == CHARACTERS.model


def test_a_tokenizer_json_goes_before_the_model_beside_it(published):
    (published / "tokenizer.model").write_bytes(CHARACTERS.model)
    assert load_tokenizer(read_tokenizer(published)).vocab_size == 258


def test_the_sentinels_of_t5_follow_its_pieces_last_one_first(tmp_path):
    (tmp_path / "spiece.model").write_bytes(CHARACTERS.model)
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": 3}')
    tokenizer = load_tokenizer(read_tokenizer(tmp_path))
    size = CHARACTERS.vocab_size
    names = [tokenizer.name(i) for i in range(size, size + 3)]
    assert names == ["<extra_id_2>", "<extra_id_1>", "<extra_id_0>"]
    assert tokenizer.vocab_size == size + 3
    assert tokenizer.encode("text") == CHARACTERS.encode("text")
    assert tokenizer.encode("<extra_id_1>", special=True) == [size + 1]


def test_tokens_that_a_config_adds_or_renames_are_the_models(tmp_path):
    size = CHARACTERS.vocab_size
    tokens = {
        "1": {"content": "<start>", "special": True},
        "2": {"content": "</s>", "special": True},
        str(size): {"content": "<|tool|>", "special": True},
        str(size + 1): {"content": "of c", "special": False},
    }
    (tmp_path / "tokenizer.model").write_bytes(CHARACTERS.model)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": tokens}))
    tokenizer = load_tokenizer(read_tokenizer(tmp_path))
    assert tokenizer.special_id("<start>") == 1
    assert tokenizer.special_id("<|tool|>") == size
    assert size + 1 in range(tokenizer.vocab_size)
    assert "of c" not in tokenizer.base.specials
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|tool|>": size}))
    assert load_tokenizer(read_tokenizer(tmp_path)).special_id("<|tool|>") == size
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|tool|>": size + 5}))
    with pytest.raises(UserError, match=f"nothing has the ids from {size} to {size + 4}"):
        read_tokenizer(tmp_path)


def test_what_is_named_in_the_config_of_a_model_of_ours(out):
    tokenizer = load_tokenizer(CHARACTERS.model, ("<mask>", "<extra_id_0>"))
    write_tokenizer(out, tokenizer, model_max_length=128)
    config = json.loads((out / "tokenizer_config.json").read_text())
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    assert tokens == {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
        "mask_token": "<mask>",
    }
    assert config["model_max_length"] == 128
    library = Library.from_file(str(out / "tokenizer.json"))
    assert library.encode("text").ids == [1, *CHARACTERS.encode("text")]
    write_tokenizer(out, tokenizer, around=([1], [2]), pad_id=0, mask_id=tokenizer.vocab_size - 1)
    library = Library.from_file(str(out / "tokenizer.json"))
    assert library.encode("text").ids == [1, *CHARACTERS.encode("text"), 2]
    config = json.loads((out / "tokenizer_config.json").read_text())
    assert (config["pad_token"], config["mask_token"]) == ("<unk>", "<extra_id_0>")


def test_a_model_of_ours_comes_back_with_the_same_ids(out):
    write_tokenizer(out, load_tokenizer(CHARACTERS.model, ("<mask>",)))
    back = load_tokenizer(read_tokenizer(out))
    assert back.encode("some text") == CHARACTERS.encode("some text")
    assert (back.bos_id, back.eos_id, back.unk_id) == (1, 2, 0)
    assert back.mask_id == CHARACTERS.vocab_size
    assert back.bytes_per_token().tolist() == [*CHARACTERS.bytes_per_token(), 0]


def test_nothing_is_written_of_a_tokenizer_that_the_format_cannot_express(out):
    proto = CHARACTERS.base.proto
    suffixes = type(proto).FromString(CHARACTERS.model)
    suffixes.trainer_spec.treat_whitespace_as_suffix = True
    with pytest.raises(UserError, match="suffixes"):
        write_tokenizer(out, Tokenizer(suffixes.SerializeToString()))
    assert contents(out) == {}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "none of tokenizer.json, tokenizer.model"),
        ({"tokenizer.model": b"junk"}, "no SentencePiece model"),
        ({"tokenizer.json": b"\xff"}, "not UTF-8 at byte 0"),
        ({"tokenizer.json": b"{}"}, "cannot be read by tokenizers"),
        ({"tokenizer.json": b"junk"}, "cannot be read by tokenizers"),
        ({"tokenizer_config.json": b"["}, "is no JSON"),
        ({"tokenizer_config.json": b"[]"}, "is no JSON object"),
        ({"vocab.json": b"{}"}, "none of tokenizer.json"),
    ],
)
def test_a_folder_without_a_tokenizer_is_told_by_its_name(files, message, tmp_path):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        read_tokenizer(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.slow
def test_a_published_model_is_written_with_its_ids(shared_data, out):
    (out / "tokenizer.model").write_bytes((shared_data / "tokenizer/llama2.model").read_bytes())
    naughty = json.loads((shared_data / "tokenizer/blns.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(read_tokenizer(out))
    write_tokenizer(out, tokenizer)
    reference = SentencePieceProcessor(model_proto=tokenizer.model)
    library = Library.from_file(str(out / "tokenizer.json"))
    for text in naughty:
        ids = reference.encode(text)
        assert library.encode(text, add_special_tokens=False).ids == ids
        assert library.decode(ids) == reference.decode(ids)


@pytest.mark.interop
def test_transformers_gives_a_published_models_ids(shared_data, out):
    from transformers import AutoTokenizer

    data = (shared_data / "tokenizer/llama2.model").read_bytes()
    naughty = json.loads((shared_data / "tokenizer/blns.json").read_text(encoding="utf-8"))
    write_tokenizer(out, load_tokenizer(data))
    (out / "config.json").write_text('{"model_type": "llama"}')
    reference, theirs = SentencePieceProcessor(model_proto=data), AutoTokenizer.from_pretrained(out)
    for text in naughty:
        ids = reference.encode(text)
        assert theirs(text)["input_ids"] == [1, *ids]
        assert theirs.decode(ids) == reference.decode(ids)


@pytest.mark.interop
def test_transformers_gives_an_imported_tokenizers_ids_with_the_extra_ones(published, out):
    from transformers import AutoTokenizer

    tokenizer = load_tokenizer(read_tokenizer(published), ("<mask>",))
    write_tokenizer(out, tokenizer)
    (out / "config.json").write_text('{"model_type": "gpt2"}')
    theirs = AutoTokenizer.from_pretrained(out)
    for text in ("a b\n\té 漢", "a<mask> b", "", "<|endoftext|>a"):
        assert theirs(text)["input_ids"] == tokenizer.encode(text, special=True)
    assert (theirs.mask_token_id, theirs.eos_token_id) == (258, 256)
