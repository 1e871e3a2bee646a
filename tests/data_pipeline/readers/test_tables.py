"""Parquet: a document a row; our own documents read back whole."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.document import READ, SCHEMA, batch_of
from data_pipeline.listing import list_inputs
from data_pipeline.readers import ReadConfig, plan


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_rows_become_documents_and_null_rows_failures(tmp_path, read_path):
    path = write(tmp_path / "a.parquet", {"text": ["one", None, "two"], "n": [1, 2, 3]})
    rows = read_path(path)
    assert rows.texts == ["one", "two"] and rows.reasons == ["no_text_field"]
    assert [row["source"] for row in rows] == [f"{path}:{i}" for i in range(3)]
    assert [row["metadata"] for row in rows] == ['{"n":1}', None, '{"n":3}']


@pytest.mark.parametrize("broken", [False, True])
def test_columns_beside_the_text_are_kept(tmp_path, read_path, broken):
    """broken: one bad row of the batch, for which its rows are looked at one by one."""
    moment = datetime.datetime(2024, 5, 31, 1, 16, 46, tzinfo=datetime.UTC)
    columns = {
        "body": ["héllo", "a\0b" if broken else "other"],
        "url": ["https://a.org/", None],
        "timestamp": [moment, None],
        "kind": ["code", None],
        "score": [0.5, None],
        "vector": [[1.0], [2.0]],
        "metadata": [{"author": "ä", "tags": ["a"]}, None],
        "language": pa.array(["en", "en"]).dictionary_encode(),
    }
    path = write(tmp_path / "a.parquet", columns)
    first, second = read_path(path, text_column="body")
    assert (first["text"], first["url"], first["kind"]) == ("héllo", "https://a.org/", "code")
    assert datetime.datetime.fromisoformat(first["timestamp"]) == moment
    assert json.loads(first["metadata"]) == {
        "score": 0.5, "author": "ä", "tags": ["a"], "language": "en",
    }  # fmt: skip
    assert second["kind"] == "prose" and second["url"] is None
    assert (second["error"] is not None) == broken


def test_a_table_without_the_text_column_names_what_it_has(tmp_path, read_path):
    path = write(tmp_path / "a.parquet", {"body": ["one"]})
    (row,) = read_path(path)
    assert row["error"].startswith("no_text_field") and "body" in row["error"]
    path = write(tmp_path / "a.parquet", {"text": [1, 2]})
    assert read_path(path).reasons == ["no_text_field"] * 2


@pytest.mark.parametrize("content", [b"", b"PAR1 nothing here PAR1", b"text"])
def test_a_damaged_file_is_a_failure(tmp_path, read_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert read_path(path).reasons == ["damaged_parquet"]


@pytest.mark.parametrize("bad", ["", "  \n", "a\0b", "a\u202eb", "x" * 1001])
def test_a_bad_row_costs_only_itself(tmp_path, read_path, bad):
    path = write(tmp_path / "a.parquet", {"text": ["one", bad, " two", "é"]})
    rows = read_path(path, max_document_bytes=1000)
    assert rows.texts == ["one", " two", "é"] and len(rows.reasons) == 1


def test_a_row_that_is_no_utf8_costs_only_itself(tmp_path, read_path):
    binary = pa.array([b"one", b"caf\xe9", "drei ä".encode()], pa.binary())
    texts = pa.StringArray.from_buffers(3, *binary.buffers()[1:])
    path = write(tmp_path / "a.parquet", {"text": texts})
    rows = read_path(path)
    assert rows.texts == ["one", "drei ä"] and rows.reasons == ["not_utf8"]
    path = write(tmp_path / "b.parquet", {"text": binary})
    assert read_path(path).texts == ["one", "drei ä"]


def test_a_damaged_row_group_costs_only_itself(tmp_path, read_path):
    texts = [f"text {i} " + "y" * (i % 50) for i in range(3000)]
    path = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=1000, compression="zstd")
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset
    data[start + 40 : start + 400] = b"\xff" * 360
    path.write_bytes(data)
    rows = read_path(path)
    assert rows.texts == texts[:1000] + texts[2000:] and rows.reasons == ["damaged_parquet"]
    assert rows[1001]["source"] == f"{path}:2000"


def test_rows_are_the_same_however_the_file_is_cut(tmp_path, read_path, read_task):
    texts = [f"text {i} " + "é" * (i * 7 % 300) for i in range(5000)]
    path = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=300)
    whole = read_path(path)
    assert whole.texts == texts
    files = list_inputs([str(path)]).files
    for part_bytes in (1, 100_000, 10**9):
        tasks = plan(files, part_bytes, ReadConfig())
        assert (len(tasks) > 1) == (part_bytes < 10**9)
        assert [row for task in tasks for row in read_task(task, ReadConfig())] == whole


def test_a_dictionary_that_repeats_a_large_text_is_a_bomb(tmp_path, read_path):
    indices = pa.array([0] * 100_000, pa.int32())
    texts = pa.DictionaryArray.from_arrays(indices, ["x" * 2_000_000])
    path = write(tmp_path / "a.parquet", {"text": texts})
    assert path.stat().st_size < 1_000_000
    rows = read_path(path)
    assert rows.reasons == ["expansion_limit"] and 20 < len(rows.texts) < 100


def test_a_column_that_expands_too_far_is_a_bomb(tmp_path, read_path):
    texts = ["x" * 10_000_000 + str(i) for i in range(8)]
    path = write(tmp_path / "a.parquet", {"text": texts}, compression="zstd", use_dictionary=False)
    assert read_path(path).reasons == ["expansion_limit"]
    assert len(read_path(path, max_expansion=10**6).texts) == 8


def test_documents_of_ours_come_back_whole(tmp_path, read_path):
    batch = batch_of(["one", "two"], ["crawl.warc.gz:17", "a.py"], ["html", "code"])
    table = pa.Table.from_batches([batch])
    record = [[{"stage": "language", "what": "language", "value": "en"}], []]
    for name, values in (
        ("record", record), ("url", ["https://a.org", None]), ("metadata", ['{"a":1}', None]),
        ("timestamp", ["2024-05-31T00:00:00Z", None]),
    ):  # fmt: skip
        field = SCHEMA.field(name)
        column = pa.array(values, field.type)
        table = table.set_column(SCHEMA.get_field_index(name), field, column)
    pq.write_table(table, tmp_path / "00000.parquet")
    rows = read_path(tmp_path / "00000.parquet")
    assert [{**row} for row in rows] == [row | {"error": None} for row in table.to_pylist()]
    assert list(rows[0]) == READ.names
