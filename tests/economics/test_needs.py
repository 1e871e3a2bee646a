"""Data: what is needed, what a corpus gives, from a folder or from a token store."""

import gzip

import numpy as np
import pytest

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.economics.answer import with_queries
from nanojaxlm.economics.needs import corpus_tokens, needs
from nanojaxlm.economics.scaling import CHINCHILLA
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import StoreWriter

A = with_queries(ASSUMPTIONS, 1e6)


def of(tokens, unique):
    return needs(A, CHINCHILLA, 1e9, tokens, unique)


def test_bytes_follow_from_tokens():
    found = of(1e12, None)
    assert found.text_bytes == pytest.approx(1e12 * A["token.bytes"])
    assert found.raw_bytes == pytest.approx(found.text_bytes / A["data.yield"])
    assert found.epochs is None and found.worth == 1e12 and "--corpus" in found.words


def test_one_epoch_is_worth_itself_and_more_are_worth_less_and_less():
    assert of(5e10, 1e11).worth == 5e10 and "without repetition" in of(5e10, 1e11).words
    worths = [of(epochs * 1e11, 1e11).worth for epochs in (1, 2, 4, 16, 64)]
    assert worths == sorted(worths)
    assert worths[2] > 0.9 * 4e11 and worths[4] < 0.3 * 64e11
    assert of(4e11, 1e11).loss_of_repeating > 0 == of(1e11, 1e11).loss_of_repeating


def test_too_many_epochs_are_told_with_what_is_missing():
    most = A["data.max_epochs"]
    assert "find" not in of(most * 1e11, 1e11).words
    assert "find 250M more tokens" in of(5e9, 1e9).words or most != 4


def test_a_folder_of_text_is_estimated_by_its_bytes(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_bytes(b"x" * 10_000)
    (tmp_path / "deep" / "b.txt.gz").write_bytes(gzip.compress(b"word " * 10_000))
    packed = (tmp_path / "deep" / "b.txt.gz").stat().st_size
    kept = A["data.yield"] / A["token.bytes"]
    expected = (10_000 + packed * A["data.compression"]) * kept
    assert corpus_tokens(str(tmp_path), A) == pytest.approx(expected)
    assert corpus_tokens(str(tmp_path / "a.txt"), A) == pytest.approx(10_000 * kept)


def test_a_token_store_is_counted(tmp_path):
    tokenizer = Tokenizer.characters("ab")
    ids = np.array([1, *tokenizer.encode("abba" * 50), 2])
    with StoreWriter(str(tmp_path), tokenizer=tokenizer.model, sources=[], curation={}) as writer:
        for split in ("train", "validation"):
            writer.write(split, ids, np.array([len(ids)]), 200)
        writer.finish()
    assert corpus_tokens(str(tmp_path), A) == len(ids)


def test_no_corpus_is_told(tmp_path):
    for path, words in ((tmp_path / "none", "no such file"), (tmp_path, "holds no bytes")):
        with pytest.raises(UserError, match=words):
            corpus_tokens(str(path), A)
