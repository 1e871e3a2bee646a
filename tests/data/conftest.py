"""Small stores whose documents the tests know."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.token_store import StoreWriter, TokenStore

ALPHABET = "".join(chr(0x10000 + i) for i in range(997))
LENGTHS = [2, 30, 3, 2, 2, 17, 8, 64, 9, 2, 41] * 8
TOKENIZER = Tokenizer.characters(ALPHABET)


class KnownStore(NamedTuple):
    """An open store and the documents it was written with, split -> one array each."""

    store: TokenStore
    documents: dict[str, list[np.ndarray]]


def known_documents(lengths: list[int], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        np.concatenate([[1], random.integers(3, TOKENIZER.vocab_size, length - 2), [2]])
        for length in lengths
    ]


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., KnownStore]:
    """make_store(name, train=[lengths], validation=[lengths]) writes a store of random ids."""

    def make(name: str, **lengths: list[int]) -> KnownStore:
        documents = {
            split: known_documents(sizes, seed=len(name) + i)
            for i, (split, sizes) in enumerate(lengths.items())
        }
        path = str(tmp_path / name)
        with StoreWriter(path, tokenizer=TOKENIZER.model, sources=[], curation={}) as writer:
            for split, parts in documents.items():
                sizes = np.array([len(part) for part in parts], np.int64)
                joined = np.concatenate([*parts, np.zeros(0, np.int64)])
                writer.write(split, joined, sizes, int(sizes.sum()))
            writer.finish()
        return KnownStore(TokenStore.open(path), documents)

    return make


@pytest.fixture
def stores(make_store) -> list[TokenStore]:
    return [
        make_store("a", train=LENGTHS, validation=[9, 30, 4]).store,
        make_store("bb", train=LENGTHS[:30], validation=[20]).store,
    ]


@pytest.fixture
def config(stores) -> DataConfig:
    return DataConfig(
        stores=tuple(store.path for store in stores), sequence_length=16, batch_size=8
    )


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.of(TOKENIZER)
