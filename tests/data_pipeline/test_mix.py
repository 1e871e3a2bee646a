"""The split and the order depend on the text and the seed alone."""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.document import SCHEMA
from data_pipeline.engine import daft
from data_pipeline.mix import MixConfig, mix, split_and_order
from nanojaxlm.errors import UserError


def run(texts, folder, config=None):
    ids = [f"{i:05d}" for i in range(len(texts))]
    frame = daft.from_arrow(pa.table([ids, texts, ids], schema=SCHEMA))
    counts = mix(frame, config or MixConfig(validation_rate=0.1), folder)
    splits = {}
    for split in ("train", "validation"):
        tables = [pq.read_table(path) for path in sorted((folder / split).glob("*.parquet"))]
        splits[split] = pa.concat_tables(tables)["text"].to_pylist()
        assert counts[split] == {
            "documents": len(splits[split]),
            "bytes": sum(len(text.encode()) for text in splits[split]),
        }
    return splits["train"], splits["validation"]


TEXTS = [f"text number {i} é" for i in range(1000)]


def test_the_places_are_fixed_for_all_time():
    # Were these to change, documents would move between splits of stores that exist.
    assert split_and_order("hello", 0) == (15446725258110086819, 6432784594636420436)


def test_every_document_falls_into_one_split_at_the_rate_asked_for(tmp_path):
    train, validation = run(TEXTS, tmp_path)
    assert sorted(train + validation) == sorted(TEXTS)
    assert 70 <= len(validation) <= 130  # three standard deviations of a binomial


def test_the_order_is_shuffled_and_independent_of_the_inputs_order(tmp_path):
    train, validation = run(TEXTS, tmp_path / "a")
    assert run(TEXTS[::-1], tmp_path / "b") == (train, validation)
    positions = [TEXTS.index(text) for text in train]
    rises = sum(a < b for a, b in itertools.pairwise(positions))
    assert 0.4 < rises / len(positions) < 0.6


def test_more_documents_move_none_into_the_other_split(tmp_path):
    _, few = run(TEXTS[:500], tmp_path / "a")
    _, many = run(TEXTS, tmp_path / "b")
    assert set(few) == set(many) & set(TEXTS[:500])


def test_another_seed_holds_out_others(tmp_path):
    one = run(TEXTS, tmp_path / "a")[1]
    two = run(TEXTS, tmp_path / "b", MixConfig(validation_rate=0.1, seed=1))[1]
    assert len(set(one) & set(two)) < len(one) / 2


def test_a_few_documents_still_give_one_to_validate_on(tmp_path):
    train, validation = run(TEXTS[:2], tmp_path, MixConfig(validation_rate=1e-6))
    assert (len(train), len(validation)) == (1, 1)


def test_the_end_of_a_single_document_is_held_out(tmp_path):
    text = "".join(f"line {i}\n" for i in range(100))
    (train,), (validation,) = run([text], tmp_path, MixConfig(validation_rate=0.02))
    assert train + validation == text
    assert train.endswith("\n")
    assert 0.1 <= len(validation) / len(text) < 0.12


def test_a_single_document_whose_only_line_end_is_late_is_cut_there(tmp_path):
    (train,), (validation,) = run(["x" * 99 + "\nyz"], tmp_path)
    assert (train, validation) == ("x" * 99 + "\n", "yz")


def test_one_line_alone_cannot_be_split(tmp_path):
    with pytest.raises(UserError, match="one document of one line"):
        run(["one line\n"], tmp_path)
