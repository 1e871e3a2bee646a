"""JSON lines: a document a line, a failure a bad line, the same however the file is cut."""

import gzip
import json

import pytest

from data_pipeline.listing import list_inputs
from data_pipeline.readers import ReadConfig, plan


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_document_a_line_and_a_failure_a_bad_line(tmp_path, read_path, suffix):
    lines = ['{"text": "one"}', "not json", '{"body": "x"}', "", "[3]", '{"text": "two"}']
    path = tmp_path / f"a.{suffix}"
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    rows = read_path(path)
    assert rows.texts == ["one", "two"]
    assert rows.reasons == ["not_json", "no_text_field", "no_text_field"]
    assert "body" in rows[2]["error"] and "text_column" in rows[2]["error"]
    for row, line in zip(rows, [line for line in lines if line], strict=True):
        offset = int(row["source"].rpartition(":")[2])
        assert data[offset:].startswith(line.encode())


def test_every_bad_line_is_a_row(tmp_path, read_path):
    path = tmp_path / "a.jsonl"
    path.write_text("x\n" * 3000 + '{"text": "good"}\n')
    rows = read_path(path)
    assert rows.texts == ["good"] and len(rows.reasons) == 3000


def test_fields_beside_the_text_are_kept(tmp_path, read_path):
    path = tmp_path / "a.jsonl"
    fields = {
        "body": "hello", "url": "https://a.org/ü", "date": "2024-05-31T01:16:46Z", "kind": "html",
        "id": 7, "score": 0.5, "ok": True, "none": None, "list": [1], "long": "x" * 2000,
        "metadata": {"author": "ä", "tags": ["a"]},
    }  # fmt: skip
    path.write_text(json.dumps(fields))
    (row,) = read_path(path, text_column="body")
    assert (row["text"], row["url"], row["kind"]) == ("hello", "https://a.org/ü", "html")
    assert row["timestamp"] == "2024-05-31T01:16:46Z"
    assert json.loads(row["metadata"]) == {
        "id": 7, "score": 0.5, "ok": True, "author": "ä", "tags": ["a"],
    }  # fmt: skip
    assert read_path(path, text_column="body", max_metadata_bytes=10)[0]["metadata"] is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-05-31", "2024-05-31"),
        ("2019-04-25T12:57:54Z", "2019-04-25T12:57:54Z"),
        ("Sun, 16 Feb 2014 05:02:20 GMT", "2014-02-16T05:02:20+00:00"),
        ("20140216050221", "2014-02-16T05:02:21Z"),
        ("yesterday", None),
        (1700000000, None),
    ],
)
def test_timestamps_are_iso_8601_or_stay_metadata(tmp_path, read_path, written, read):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x", "timestamp": written}))
    (row,) = read_path(path)
    assert row["timestamp"] == read
    if read is None:
        assert json.loads(row["metadata"]) == {"timestamp": written}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "caf\xe9"}', "not_utf8"),
        (b'{"text": "a\xed\xa0\x80b"}', "not_utf8"),  # a surrogate as three bytes
        (b'{"text": "a\\ud800b"}', "lone_surrogate"),
        (b'{"text": "a\\u0000b"}', "nul_byte"),
        (b'{"text": "a\0b"}', "not_json"),
        (b'{"text": "a\\u202eb"}', "bidi_override"),
        (b'{"text": ""}', "empty"),
        (b'{"text": 3}', "no_text_field"),
        (b"[" * 200_000, "not_json"),
        (b'{"text": "x", "n": ' + b"1" * 5000 + b"}", "not_json"),
        (b'{"text": "x"} {"text": "y"}', "not_json"),
    ],
)
def test_a_hostile_line_costs_only_itself(tmp_path, read_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "before"}\n' + line + b'\n{"text": "after"}\r\n')
    rows = read_path(path)
    assert rows.texts == ["before", "after"] and rows.reasons == [reason]


def test_what_other_writers_make_is_read(tmp_path, read_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "mark"}\n{"text": "nan", "score": NaN}\n'
        b'{"text": "pair \\ud83d\\ude00"}\n{"text": "x", "url": "\\ud800"}'
    )
    rows = read_path(path)
    assert rows.texts == ["mark", "nan", "pair 😀", "x"]


def test_utf16_is_told_once(tmp_path, read_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "x"}\n{"text": "y"}\n'.encode("utf-16"))
    assert read_path(path).reasons == ["not_utf8"]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n\n"])
def test_lines_are_the_same_however_the_file_is_cut(tmp_path, read_path, read_task, ending):
    path = tmp_path / "a.jsonl"
    texts = ["é" * (i * 37 % 101 + 1) for i in range(60)]
    path.write_bytes(("\n".join(json.dumps({"text": t}) for t in texts) + ending).encode())
    whole = read_path(path)
    assert whole.texts == texts
    files = list_inputs([str(path)]).files
    for part_bytes in (1, 7, 100, 1000):
        tasks = plan(files, part_bytes, ReadConfig())
        assert len(tasks) == -(-path.stat().st_size // part_bytes)
        cut = [row for task in tasks for row in read_task(task, ReadConfig())]
        assert cut == whole, part_bytes


def test_a_line_beyond_the_limit_costs_only_itself(tmp_path, read_path):
    path = tmp_path / "a.jsonl"
    long = json.dumps({"text": "x" * 1_000_000})
    path.write_text(f'{{"text": "before"}}\n{long}\n{{"text": "after"}}\n{long}')
    rows = read_path(path, max_document_bytes=999_999)
    assert rows.texts == ["before", "after"]
    assert rows.reasons == ["document_too_large"] * 2
    assert f"{len(long)} bytes" in rows[1]["error"]
    assert rows[1]["source"] == f"{path}:19"


def test_batches_are_bounded(tmp_path, read_path):
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for size in [1] * 3000 + [5_000_000, 3_000_000, 3_000_000, 1]:
            file.write(json.dumps({"text": "x" * size}) + "\n")
    assert len(read_path(path).texts) == 3004  # the fixture looks at each batch
