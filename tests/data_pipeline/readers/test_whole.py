"""A file that is one document; what is damaged is told, never guessed."""

import os

import pytest

from data_pipeline.document import document_id
from data_pipeline.readers import ReadConfig


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "prose"), ("a.md", "prose"), ("a.rst", "prose"), ("a.py", "code"),
        ("a.c", "code"), ("LICENSE", "prose"), ("README", "prose"), ("a.html", "html"),
    ],
)  # fmt: skip
def test_a_text_file_is_one_document_with_its_path_as_source(tmp_path, read_path, name, kind):
    path = tmp_path / name
    path.write_bytes("grüße\r\n\tmañana 日本\n".encode())
    (row,) = read_path(path)
    assert row == {
        "id": document_id(str(path)), "text": "grüße\r\n\tmañana 日本\n", "source": str(path),
        "kind": kind, "url": None, "timestamp": None, "metadata": None, "record": [],
        "error": None,
    }  # fmt: skip


def test_invalid_utf8_fails_with_its_offset(tmp_path, read_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789caf\xe9 au lait")
    (row,) = read_path(path)
    assert row["error"].startswith("not_utf8: byte 0xe9 at offset 13")


def test_binary_fails_even_where_it_is_valid_utf8(tmp_path, read_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"ELF\0\0\0 text")
    assert read_path(path).reasons == ["nul_byte"]


def test_a_byte_order_mark_is_honoured_and_removed(tmp_path, read_path):
    path = tmp_path / "a.txt"
    for encoding, mark in (("utf-8-sig", b""), ("utf-16", b""), ("utf-16-be", b"\xfe\xff")):
        path.write_bytes(mark + "grüße".encode(encoding))
        assert read_path(path).texts == ["grüße"], encoding


def test_declared_encodings_are_honoured(tmp_path, read_path):
    python, html = tmp_path / "a.py", tmp_path / "a.html"
    python.write_bytes("# coding: latin-1\nname = 'café'\n".encode("latin-1"))
    html.write_bytes('<meta charset="windows-1252"><p>café €</p>'.encode("cp1252"))
    assert "café" in read_path(python).texts[0]
    assert "café €" in read_path(html).texts[0]
    python.write_bytes(b"# coding: klingon\n")
    assert read_path(python).reasons == ["unknown_encoding"]
    html.write_bytes(b'<meta charset="klingon">')
    assert read_path(html).reasons == ["unknown_encoding"]


@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.py"])
def test_a_file_without_text_is_told(tmp_path, read_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_path(tmp_path / name).reasons == ["empty"]


def test_overrides_of_the_direction_drop_the_text_unless_the_config_says_otherwise(
    tmp_path, read_path
):
    path = tmp_path / "a.txt"
    path.write_text("access = '\u202euser'\u202d\n", encoding="utf-8")
    assert read_path(path).reasons == ["bidi_override"]
    assert read_path(path, bidi_overrides="strip").texts == ["access = 'user'\n"]
    assert read_path(path, bidi_overrides="keep").texts == ["access = '\u202euser'\u202d\n"]


def test_what_arabic_and_hebrew_need_stays(tmp_path, read_path):
    text = "\u202bשלום\u202c \u2067مرحبا\u2069 \u200fx\n"  # noqa: RUF001
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert read_path(tmp_path / "a.txt").texts == [text]


def test_a_text_beyond_the_limit_fails(tmp_path, read_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 1001)
    (row,) = read_path(path, max_document_bytes=1000)
    assert row["error"].startswith("document_too_large") and "max_document_bytes" in row["error"]
    assert len(read_path(path, max_document_bytes=1001).texts[0]) == 1001


def test_a_file_that_vanished_or_is_a_folder_is_a_failure(tmp_path, read_path):
    (row,) = read_path(tmp_path / "gone.txt")
    assert row["error"].startswith("unreadable: No such file")
    assert read_path(tmp_path).reasons == ["unreadable"]
    assert read_path(tmp_path / "gone.pdf").reasons == ["unreadable"]
    assert read_path(tmp_path / "gone.parquet").reasons == ["unreadable"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_failure(tmp_path, read_path):
    path = tmp_path / "a.txt"
    path.write_text("secret")
    path.chmod(0)
    assert read_path(path).reasons == ["unreadable"]


def test_a_name_that_is_no_utf8_is_spelled_out(tmp_path, read_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
    with open(path, "w") as file:
        file.write("text")
    (row,) = read_path(path)
    assert row["source"].endswith("caf\\udce9.txt") and row["text"] == "text"


def test_docstrings_of_a_file_become_one_document(tmp_path, read_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""Module."""\nclass A:\n    """Class."""\n    def f(self):\n'
        '        """Method."""\n        x = """not a docstring"""\ndef g(): pass\n'
    )
    (row,) = read_path(path, "docstrings")
    assert row["text"] == "Module.\n\nClass.\n\nMethod.\n"
    assert (row["source"], row["kind"]) == (f"{path}#docstrings", "prose")
    path.write_text("x = 1\n")
    assert read_path(path, "docstrings").skipped == {"code without docstrings": 1}
    path.write_text('"""Broken"""\nprint "python 2"\n')
    rows = read_path(path, "docstrings")
    assert rows == [] and rows.skipped == {"code that this Python cannot parse": 1}


def test_metadata_gives_the_long_description_without_the_headers(tmp_path, read_path):
    path = tmp_path / "METADATA"
    path.write_text("Metadata-Version: 2.1\nName: x\n\nA package for é.\n\nUse it.\n")
    assert read_path(path, "metadata").texts == ["A package for é.\n\nUse it.\n"]
    path.write_text("Metadata-Version: 2.1\nName: x\n")
    assert read_path(path, "metadata").skipped == {"packages without a description": 1}


def test_a_page_nested_deep_is_passed_on(tmp_path, read_path):
    page = "<div>" * 100_000 + "x"
    (tmp_path / "a.html").write_text(page)
    assert read_path(tmp_path / "a.html").texts == [page]


@pytest.mark.parametrize(
    "fields",
    [
        {"text_column": ""}, {"max_document_bytes": 0}, {"max_document_bytes": 2**31},
        {"max_expanded_bytes": 0}, {"max_expansion": 0}, {"max_metadata_bytes": -1},
        {"bidi_overrides": "maybe"},
    ],
)  # fmt: skip
def test_impossible_configs_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        ReadConfig(**fields)
