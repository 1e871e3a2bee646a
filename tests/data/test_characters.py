"""A text file as a store: all of it, split once, and made once."""

from pathlib import Path

import pytest

from nanojaxlm.data.characters import character_store
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import StoreWriter, TokenStore

TEXT = "First Citizen:\nBefore we proceed any further,\n\n\thear me speak.  é漢\n" * 30


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


def test_the_splits_are_the_beginning_and_the_end_of_the_text(text, tmp_path):
    store = TokenStore.open(character_store(str(text), str(tmp_path / "store"), 0.1))
    tokenizer = Tokenizer(store.tokenizer)
    parts = {}
    for name in ("train", "validation"):
        split = store.split(name)
        ids = split.read(0, split.num_tokens)
        assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
        parts[name] = tokenizer.decode(ids)
        assert split.num_bytes == len(parts[name].encode())
        assert split.num_tokens == len(parts[name]) + 2
    assert parts["train"] + parts["validation"] == TEXT
    assert len(parts["train"]) == int(len(TEXT) * 0.9)
    assert 0 not in split.read(0, split.num_tokens)


def test_the_store_is_used_again_and_replaced_when_the_text_changes(text, tmp_path):
    path = str(tmp_path / "store")
    character_store(str(text), path, 0.1)
    written = (tmp_path / "store/manifest.json").stat().st_mtime_ns
    character_store(str(text), path, 0.1)
    assert (tmp_path / "store/manifest.json").stat().st_mtime_ns == written
    character_store(str(text), path, 0.2)
    first = TokenStore.open(path).split("validation").num_tokens
    text.write_text(TEXT + "more")
    character_store(str(text), path, 0.2)
    assert TokenStore.open(path).split("validation").num_tokens == first + 1


def test_another_kind_of_store_is_not_replaced(text, tmp_path):
    model = Tokenizer.characters("ab").model
    with StoreWriter(str(tmp_path / "store"), tokenizer=model, sources=[], curation={}) as writer:
        writer.finish()
    with pytest.raises(UserError, match="already holds a token store"):
        character_store(str(text), str(tmp_path / "store"), 0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 characters"),
        (b"a", "has 1 characters"),
        (b"abc\xffdef", "not UTF-8: byte 3 is 0xff"),
        (b"ab\0" * 20, "NUL"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=message):
        character_store(str(tmp_path / "file"), str(tmp_path / "store"), 0.1)
    assert not (tmp_path / "store").exists()


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="cannot read the text file"):
            character_store(str(path), str(tmp_path / "store"), 0.1)
