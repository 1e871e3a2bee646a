"""Buckets: the global order, whatever the files and the number of buckets."""

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.buckets import TOP, Buckets, write_sorted


@pytest.mark.parametrize("num_files", [1, 5])
@pytest.mark.parametrize("num_buckets", [1, 3, 64])
def test_rows_come_in_the_global_order_each_once(tmp_path, num_files, num_buckets, monkeypatch):
    monkeypatch.setattr("data_pipeline.buckets._GROUP_BYTES", 400)  # many row groups
    rng = np.random.default_rng(0)
    order = rng.integers(0, TOP, 999, np.uint64, endpoint=False)
    order[:6] = [0, TOP - 1, TOP // 2, TOP // 2, TOP // 3, 2**63 - 1]
    ids = [f"{i:03d}" for i in range(999)]
    table = pa.table({"id": ids, "nested": [[{"a": i}] for i in range(999)], "order": order})
    files = []
    for number in range(num_files):
        files.append(tmp_path / f"{number}.parquet")
        write_sorted(table.take(list(range(number, 999, num_files))), files[-1])
    buckets = Buckets(tuple(files), num_buckets)
    found = pa.concat_tables([buckets.read(i) for i in range(num_buckets)])
    wanted = sorted(zip(order.tolist(), ids, strict=True))
    assert list(zip(found["order"].to_pylist(), found["id"].to_pylist(), strict=True)) == wanted
    assert [n[0]["a"] for n in found["nested"].to_pylist()] == [int(i) for _, i in wanted]
    some = buckets.read(num_buckets - 1, columns=["id"])
    assert some["id"].to_pylist() == [
        i for o, i in wanted if o * num_buckets // TOP == num_buckets - 1
    ]


def test_no_rows_give_an_empty_bucket_of_the_same_columns(tmp_path):
    table = pa.table({"id": ["a"], "order": pa.array([5], pa.uint64())})
    write_sorted(table, tmp_path / "a.parquet")
    write_sorted(table.slice(1), tmp_path / "b.parquet")
    buckets = Buckets((tmp_path / "a.parquet", tmp_path / "b.parquet"), 2)
    assert buckets.read(0).num_rows == 1
    assert buckets.read(1).schema == table.schema and buckets.read(1).num_rows == 0
