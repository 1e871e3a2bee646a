"""Every form is read as what it is; what is damaged is told, never guessed."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.listing import form_of
from data_pipeline.readers import ReadConfig, read_file

CONFIG = ReadConfig()


def read(path, config=CONFIG):
    form = form_of(str(path)) or "text"
    return read_file(str(path), form, None, config)


def only_error(path, config=CONFIG):
    ((source, text, error),) = read(path, config)
    assert (source, text) == (str(path), None)
    assert "\n" not in error
    return error


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.py", "a.c", "LICENSE", "README"])
def test_a_text_file_is_one_document_with_its_path_as_source(tmp_path, name):
    path = tmp_path / name
    path.write_bytes("grüße\r\n\tmañana 日本\n".encode())
    assert read(path) == [(str(path), "grüße\r\n\tmañana 日本\n", None)]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
    ],
)
@pytest.mark.parametrize("members", [1, 2])
def test_compressed_text_is_read_to_its_end(tmp_path, suffix, compress, members):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(compress("first é\n".encode()) + compress(b"second\n") * (members - 1))
    assert read(path)[0][1] == "first é\n" + "second\n" * (members - 1)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_jsonl_gives_a_document_a_line_and_a_failure_a_bad_line(tmp_path, suffix):
    lines = ['{"text": "one"}', "not json", '{"body": "x"}', "", "[3]", '{"text": "two"}']
    path = tmp_path / f"a.{suffix}"
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    records = read(path)
    assert [(s.rsplit(":", 1)[1], t) for s, t, e in records if e is None] == [
        ("1", "one"),
        ("6", "two"),
    ]
    errors = {s.rsplit(":", 1)[1]: e for s, t, e in records if t is None}
    assert "not JSON" in errors["2"] and 'no text in "text"' in errors["3"] and "5" in errors


def test_a_file_of_bad_lines_is_summed_up(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("x\n" * 100 + '{"text": "good"}\n')
    records = read(path)
    assert [t for _, t, e in records if e is None] == ["good"]
    assert len(records) == 22 and "80 more lines" in records[-1][2]


def test_the_text_column_can_be_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"body": "hello"}))
    assert read(path, ReadConfig(text_column="body"))[0][1] == "hello"
    assert "text_column" in read(path)[0][2]


def test_parquet_rows_become_documents_and_null_rows_failures(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", None, "two"], "n": [1, 2, 3]}), path)
    assert [(t, e is None) for _, t, e in read(path)] == [
        ("one", True),
        (None, False),
        ("two", True),
    ]


@pytest.mark.parametrize("content", [b"", b"PAR1 nothing here PAR1", b"text"])
def test_a_damaged_parquet_is_a_failure(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert "parquet" in only_error(path)


def test_a_parquet_without_the_text_column_names_what_it_has(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["one"]}), path)
    assert "body" in only_error(path)


@pytest.mark.parametrize("suffix", ["gz", "zst", "xz", "bz2"])
def test_a_truncated_compressed_file_is_a_failure(tmp_path, suffix):
    data = "".join(f"line {i * 7919}\n" for i in range(5000)).encode()
    packed = {
        "gz": gzip.compress,
        "xz": lzma.compress,
        "bz2": bz2.compress,
        "zst": lambda d: pa.compress(d, "zstd", asbytes=True),
    }[suffix](data)
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    assert "damaged" in only_error(path)


def test_invalid_utf8_fails_with_its_offset(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789caf\xe9 au lait")
    error = only_error(path)
    assert "0xe9" in error and "offset 13" in error


def test_binary_fails_even_where_it_is_valid_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"ELF\0\0\0 text")
    assert "NUL" in only_error(path)


def test_a_lone_surrogate_in_json_fails(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\ud800b"}\n')
    assert "surrogate" in read(path)[0][2]


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8-sig", b""), ("utf-16", b""), ("utf-16-be", b"\xfe\xff")]
)
def test_a_byte_order_mark_is_honoured_and_removed(tmp_path, encoding, mark):
    path = tmp_path / "a.txt"
    path.write_bytes(mark + "grüße".encode(encoding))
    assert read(path)[0][1] == "grüße"


def test_declared_encodings_are_honoured(tmp_path):
    python = tmp_path / "a.py"
    python.write_bytes("# coding: latin-1\nname = 'café'\n".encode("latin-1"))
    html = tmp_path / "a.html"
    html.write_bytes('<meta charset="windows-1252"><p>café €</p>'.encode("cp1252"))
    assert "café" in read(python)[0][1]
    assert "café €" in read(html)[0][1]
    python.write_bytes(b"# coding: klingon\n")
    assert "encoding" in only_error(python)


def test_a_file_beyond_the_limit_fails_also_when_it_is_small_on_disk(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"a" * 100_000))
    assert path.stat().st_size < 1000
    assert "max_file_bytes" in only_error(path, ReadConfig(max_file_bytes=99_999))
    assert len(read(path, ReadConfig(max_file_bytes=100_000))[0][1]) == 100_000


def test_docstrings_of_a_file_become_one_document(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""Module."""\nclass A:\n    """Class."""\n    def f(self):\n'
        '        """Method."""\n        x = """not a docstring"""\ndef g(): pass\n'
    )
    ((source, text, error),) = read_file(str(path), "docstrings", None, CONFIG)
    assert text == "Module.\n\nClass.\n\nMethod.\n"
    assert source == f"{path}#docstrings" and error is None
    path.write_text("x = 1\n")
    assert read_file(str(path), "docstrings", None, CONFIG) == []
    path.write_text('"""Broken"""\nprint "python 2"\n')
    assert read_file(str(path), "docstrings", None, CONFIG) == []


def test_metadata_gives_the_long_description_without_the_headers(tmp_path):
    path = tmp_path / "METADATA"
    path.write_text("Metadata-Version: 2.1\nName: x\n\nA package for é.\n\nUse it.\n")
    assert read_file(str(path), "metadata", None, CONFIG)[0][1] == "A package for é.\n\nUse it.\n"


def test_a_file_that_vanished_is_a_failure(tmp_path):
    assert "No such file" in only_error(tmp_path / "gone.txt")


@pytest.mark.parametrize("fields", [{"text_column": ""}, {"max_file_bytes": 0}])
def test_impossible_configs_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        ReadConfig(**fields)
