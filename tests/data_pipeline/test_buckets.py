"""Rows come back in one order, whatever the files and the buckets."""

import pickle
import random

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.buckets import ORDER, TOP, Buckets, num_buckets_for, write_sorted

EDGES = [0, 1, TOP // 2 - 1, TOP // 2, TOP // 2 + 1, TOP - 2, TOP - 1]


def rows_of(num_rows, seed=0):
    rng = random.Random(seed)
    orders = EDGES + [rng.randrange(TOP) for _ in range(num_rows)]
    orders += orders[:20]  # ties, told apart by their ids
    return [(order, f"{i:06d}", "x" * rng.randrange(3000)) for i, order in enumerate(orders)]


def table_of(rows):
    orders, ids, texts = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {
        ORDER: pa.array(orders, pa.uint64()),
        "id": pa.array(ids, pa.large_string()),
        "text": pa.array(texts, pa.large_string()),
    }
    return pa.table(columns)


def written(rows, num_files, folder):
    random.Random(num_files).shuffle(rows)
    paths = tuple(folder / f"{i}.arrow" for i in range(num_files))
    for i, path in enumerate(paths):
        write_sorted(table_of(rows[i::num_files]), path)
    return paths


@pytest.mark.parametrize("num_files", [1, 5])
@pytest.mark.parametrize("num_buckets", [1, 3, 8, 64])
def test_buckets_one_after_another_are_the_sorted_rows(tmp_path, num_files, num_buckets):
    rows = rows_of(600)
    buckets = Buckets(written(list(rows), num_files, tmp_path), num_buckets)
    found = pa.concat_tables(buckets.read(i) for i in range(num_buckets))
    assert list(zip(*found.to_pydict().values(), strict=True)) == sorted(rows)
    for i in range(num_buckets):
        orders = buckets.read(i)[ORDER].to_pylist()
        assert all(i * TOP // num_buckets <= o < (i + 1) * TOP // num_buckets for o in orders)


def test_some_columns_are_the_same_rows(tmp_path):
    buckets = Buckets(written(rows_of(50), 3, tmp_path), 2)
    wide, narrow = buckets.read(1), buckets.read(1, ["text"])
    assert narrow["text"] == wide["text"]


def test_files_without_rows_and_buckets_without_rows_are_empty(tmp_path):
    paths = (tmp_path / "a", tmp_path / "b")
    write_sorted(table_of([]), paths[0])
    write_sorted(table_of([(TOP - 1, "z", "text")]), paths[1])
    sizes = [len(Buckets(paths, 4).read(i)) for i in range(4)]
    assert sizes == [0, 0, 0, 1]


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_sorted(table_of(rows_of(5)), tmp_path / "a.arrow")
    assert not (tmp_path / "a.arrow").exists()


def test_a_bucket_reads_little_more_than_its_rows(tmp_path, monkeypatch):
    paths = written(rows_of(4000), 1, tmp_path)  # 6 MB
    read = []
    original = pa.ipc.RecordBatchFileReader.get_batch

    def get_batch(reader, i):
        read.append(original(reader, i))
        return read[-1]

    monkeypatch.setattr(pa.ipc.RecordBatchFileReader, "get_batch", get_batch)
    rows = Buckets(paths, 8).read(3)
    assert sum(len(batch) for batch in read) <= len(rows) + 1


def test_what_travels_to_workers_is_small(tmp_path):
    buckets = Buckets(written(rows_of(100), 3, tmp_path), 2)
    buckets.read(0)
    assert len(pickle.dumps(buckets)) < 1000


@pytest.mark.parametrize(
    ("num_bytes", "expected"), [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 4), (801, 16)]
)
def test_a_power_of_two_of_buckets_holds_the_bytes(num_bytes, expected):
    assert num_buckets_for(num_bytes, 100) == expected
    assert np.log2(expected) % 1 == 0
