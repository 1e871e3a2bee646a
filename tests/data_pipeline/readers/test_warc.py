"""Crawls: which records become documents, and what damage costs."""

import gzip
import json
import random
import zlib
from pathlib import Path

import pytest

DATA = Path(__file__).parents[4] / "shared" / "data" / "warc"
real_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/warc is not there")


def record(
    body: bytes,
    url: str = "https://a.org/",
    kind: str = "response",
    content_type: str = "application/http; msgtype=response",
    length: int | None = None,
    **headers: str,
) -> bytes:
    lines = [
        "WARC/1.0", f"WARC-Type: {kind}", f"WARC-Target-URI: {url}",
        "WARC-Date: 2024-05-18T01:58:10Z", f"Content-Type: {content_type}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body) if length is None else length}",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def page(text: str, status: str = "200 OK", content_type: str = "text/html", **headers) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + f"<html>{text}</html>".encode()


def pages(num_pages: int) -> list[bytes]:
    return [
        record(page(f"page {i} " + "é" * (i * 31 % 400)), f"https://a.org/{i}")
        for i in range(num_pages)
    ]


def texts(rows) -> list[int]:
    """The numbers of the pages that were read."""
    return [int(text.split()[1]) for text in rows.texts]


@pytest.fixture
def write(tmp_path):
    def write(records: list[bytes], name: str = "a.warc.gz") -> Path:
        compress = gzip.compress if name.endswith(".gz") else bytes
        path = tmp_path / name
        path.write_bytes(b"".join(compress(record) for record in records))
        return path

    return write


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_pages_become_documents_with_where_and_when_they_were_fetched(write, read_path, name):
    written = [
        record(b"software: test\r\n", kind="warcinfo", content_type="application/warc-fields"),
        record(b"GET / HTTP/1.1\r\n\r\n", kind="request"),
        record(page("page 0"), "https://a.org/0?q=1", WARC_Record_ID="<urn:uuid:1>"),
    ]
    path = write(written, name)
    rows = read_path(path)
    assert rows.skipped == {"warcinfo records": 1, "request records": 1}
    (row,) = rows
    assert row["text"] == "<html>page 0</html>" and row["kind"] == "html"
    assert row["url"] == "https://a.org/0?q=1" and row["timestamp"] == "2024-05-18T01:58:10Z"
    assert json.loads(row["metadata"]) == {
        "content_type": "text/html", "encoding": "utf-8", "record_id": "<urn:uuid:1>",
    }  # fmt: skip
    offset = int(row["source"].rpartition(":")[2])
    data = path.read_bytes()[offset:]
    data = zlib.decompressobj(31).decompress(data) if name.endswith("gz") else data
    assert data.startswith(written[2])


def test_what_is_no_document_is_counted(write, read_path):
    written = [
        record(page("x", "404 Not Found")),
        record(page("x", "301 Moved")),
        record(page("x"), kind="revisit"),
        record(page("x"), kind="metadata"),
        record(page("x", content_type="image/png")),
        record(page("x", content_type="application/json")),
        record(b"1.2.3.4", "dns:a.org", content_type="text/dns"),
        record(b"HTTP/1.1 200 OK\r\n\r\n\x89PNG"),
    ]
    rows = read_path(write(written))
    assert rows == []
    assert rows.skipped == {
        "responses with status 404": 1, "responses with status 301": 1, "revisit records": 1,
        "metadata records": 1, "responses of type image": 1,
        "responses of type application/json": 1, "response records": 1,
        "responses of type unknown": 1,
    }  # fmt: skip


def test_kinds_follow_the_type_and_the_address(write, read_path):
    written = [
        record(page("x", content_type="application/xhtml+xml")),
        record(page("x", content_type="text/plain")),
        record(page("x", content_type="text/plain"), "https://a.org/b/setup.py?raw=1"),
        record(page("x", content_type="text/markdown")),
        record(page("x", content_type="application/octet-stream")),  # looks like a page
        record(b"plain words", kind="conversion", content_type="text/plain"),
        record(b"<p>resource", kind="resource", content_type="text/html; charset=utf-8"),
    ]
    rows = read_path(write(written))
    assert [row["kind"] for row in rows] == [
        "html", "prose", "code", "prose", "html", "prose", "html",
    ]  # fmt: skip
    assert rows.texts[-2:] == ["plain words", "<p>resource"]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
@pytest.mark.parametrize(("claimed", "lost"), [(-40, [3]), (+40, [3]), (+200, [3]), (10**7, [3])])
def test_a_record_with_a_wrong_length_costs_only_itself(write, read_path, name, claimed, lost):
    written = pages(8)
    body = page("page 3")
    written[3] = record(body, length=len(body) + claimed)
    rows = read_path(write(written, name))
    assert texts(rows) == [i for i in range(8) if i not in lost]
    assert rows.reasons == ["damaged_warc"]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
@pytest.mark.parametrize("junk", [b"junk", b"WARC/1.0\r\nno end " * 9000, b"\xff" * 300_000])
def test_junk_between_records_costs_no_record(write, read_path, name, junk):
    written = pages(6)
    rows = read_path(write([*written[:3], junk + b"\r\n\r\n", *written[3:]], name))
    assert set(texts(rows)) >= {0, 1, 3, 4, 5} and "damaged_warc" in rows.reasons
    assert len(rows.reasons) <= 3


@pytest.mark.parametrize("cut", [12, 100, 270, -30])
def test_a_truncated_record_within_whole_gzip_costs_only_itself(write, read_path, cut):
    written = pages(6)
    written[2] = written[2][:cut]
    rows = read_path(write(written))
    assert texts(rows) == [0, 1, 3, 4, 5] and rows.reasons == ["damaged_warc"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_broken_gzip_member_costs_only_its_record(write, read_path, tmp_path, damage):
    members = [bytearray(gzip.compress(record)) for record in pages(40)]
    middle = len(members[20]) // 2
    if damage == "flipped":
        members[20][middle : middle + 8] = b"\xff" * 8
    elif damage == "cut":
        del members[20][middle:]
    else:
        del members[20][:12]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(members))
    rows = read_path(path)
    assert texts(rows) == [i for i in range(40) if i != 20]
    assert rows.reasons and set(rows.reasons) <= {"damaged_gzip", "damaged_warc"}
    assert len(rows.reasons) <= 2


def test_a_wrong_checksum_costs_the_record_that_it_is_of(write, read_path):
    written = pages(5)
    members = [bytearray(gzip.compress(record)) for record in written]
    members[2][-6] ^= 1
    path = write([])
    path.write_bytes(b"".join(members))
    rows = read_path(path)
    assert texts(rows) == [0, 1, 3, 4] and rows.reasons == ["damaged_gzip"]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_no_damage_takes_a_record_away_in_silence(tmp_path, read_path, name):
    rng = random.Random(name)
    compress = gzip.compress if name.endswith("gz") else bytes
    whole = b"".join(compress(record) for record in pages(12))
    path = tmp_path / name
    for _ in range(150):
        data, at = bytearray(whole), rng.randrange(len(whole))
        damage = rng.choice(["flip", "cut", "double", "overwrite"])
        if damage == "flip":
            data[at] ^= 1 << rng.randrange(8)
        elif damage == "cut":
            del data[at : at + rng.randint(1, 200)]  # less than a record
        elif damage == "double":
            data[at:at] = data[at : at + rng.randint(1, 300)]
        else:
            data[at : at + 20] = rng.randbytes(20)
        path.write_bytes(data)
        rows = read_path(path)
        if len(rows.texts) < 12:
            assert rows.reasons or sum(rows.skipped.values()), (damage, at)
        assert len(rows.texts) >= 8, (damage, at)


def test_a_file_that_ends_too_early_is_told(write, read_path, tmp_path):
    for name in ("a.warc", "a.warc.gz"):
        path = write(pages(10), name)
        path.write_bytes(path.read_bytes()[:-60])
        rows = read_path(path)
        assert texts(rows) == list(range(9)) and len(rows.reasons) == 1


def test_records_in_one_gzip_member_are_told_apart(tmp_path, read_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(pages(3))) + gzip.compress(b"".join(pages(2))))
    rows = read_path(path)
    assert texts(rows) == [0, 1, 2, 0, 1]
    assert len({row["id"] for row in rows}) == 5


def test_a_large_record_is_passed_over_without_being_held(write, read_path):
    written = pages(4)
    written[1] = record(page("page 1 " + "x" * 500_000))
    written[2] = record(page("x" * 500_000, content_type="video/mp4"))
    for name in ("a.warc", "a.warc.gz"):
        rows = read_path(write(written, name), max_document_bytes=100_000)
        assert texts(rows) == [0, 3] and rows.reasons == ["document_too_large"]
        assert rows[1]["url"] == "https://a.org/"
        assert rows.skipped == {"responses of type video": 1}


@pytest.mark.parametrize("content", [b"", b"\r\n\r\n", b"no crawl", b"WARC/1.0\r\n\r\n"])
def test_what_only_is_called_a_crawl_is_told(tmp_path, read_path, content):
    path = tmp_path / "a.warc"
    path.write_bytes(content)
    rows = read_path(path)
    assert rows.reasons == (["damaged_warc"] if content.strip() else [])


def test_a_page_that_cannot_be_a_document_keeps_its_address(write, read_path):
    rows = read_path(write([record(page("a\0b"))]))
    assert rows.reasons == ["nul_byte"] and rows[0]["url"] == "https://a.org/"


@real_data
@pytest.mark.parametrize("path", sorted(DATA.glob("*")), ids=lambda path: path.name)
def test_real_files_give_what_warcio_reads(read_path, path):
    archive = pytest.importorskip("warcio.archiveiterator", reason="warcio is not installed")
    form = None if ".wat" not in path.name else "warc"
    rows = read_path(path, form)
    expected = []
    with path.open("rb") as file:
        iterator = archive.ArchiveIterator(file)
        for found in iterator:
            content = found.content_stream().read()
            headers = found.http_headers
            content_type = (headers or found.rec_headers).get_header("Content-Type") or ""
            if found.rec_type in ("response", "conversion") and content_type.startswith("text/"):
                place = iterator.get_record_offset()
                headers = found.rec_headers
                url = headers.get_header("WARC-Target-URI") or headers.get_header("uri")
                expected.append((f"{path}:{place}", url, content.decode()))
    assert [(row["source"], row["url"], row["text"]) for row in rows] == expected
    assert rows.reasons == []


@real_data
def test_real_files_hold_these(read_path):
    rows = read_path(DATA / "whirlwind.warc.gz")
    (page_row,), (text_row,) = rows, read_path(DATA / "whirlwind.warc.wet.gz")
    assert page_row["url"] == text_row["url"] == "https://an.wikipedia.org/wiki/Escopete"
    assert (page_row["kind"], text_row["kind"]) == ("html", "prose")
    assert json.loads(text_row["metadata"])["languages"] == "spa"
    assert rows.skipped == {"warcinfo records": 1, "request records": 1, "metadata records": 1}
    (arc_row,) = read_path(DATA / "example.arc.gz")
    assert arc_row["timestamp"] == "2014-02-16T05:02:21Z" and "Example Domain" in arc_row["text"]
    assert read_path(DATA / "example.warc").skipped["revisit records"] == 1
    assert read_path(DATA / "post-test.warc.gz").skipped["responses of type application/json"] == 3
