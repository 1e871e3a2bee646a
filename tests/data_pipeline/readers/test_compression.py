"""Compressed files: to their end, to the byte before a break, and no further than the limits."""

import bz2
import gzip
import json
import lzma
import zlib

import pyarrow as pa
import pytest

LINES = [json.dumps({"text": f"line {i} {zlib.crc32(b'%d' % i)}"}).encode() for i in range(20_000)]
JSONL = b"\n".join(LINES) + b"\n"
COMPRESS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
REASON = {"gz": "damaged_gzip", "bz2": "damaged_bz2", "xz": "damaged_xz", "zst": "damaged_zstd"}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("members", [1, 3])
def test_compressed_text_is_read_to_its_end(tmp_path, read_path, suffix, members):
    path = tmp_path / f"a.txt.{suffix}"
    compress = COMPRESS[suffix]
    path.write_bytes(compress("first é\n".encode()) + compress(b"second\n") * (members - 1))
    assert read_path(path).texts == ["first é\n" + "second\n" * (members - 1)]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_large_files_stream(tmp_path, read_path, suffix):
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(COMPRESS[suffix](JSONL))
    assert len(read_path(path).texts) == len(LINES)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_what_stands_before_the_break_is_kept(tmp_path, read_path, suffix):
    packed = COMPRESS[suffix](JSONL)
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    rows = read_path(path)
    assert rows.reasons == [REASON[suffix]] and rows[-1]["error"] is not None
    assert rows.texts == [json.loads(line)["text"] for line in LINES[: len(rows.texts)]]
    if suffix == "gz":
        decoder = zlib.decompressobj(31)
        before = decoder.decompress(packed[: len(packed) // 2]).count(b"\n")
        assert len(rows.texts) == before > 1000


@pytest.mark.parametrize("suffix", COMPRESS)
def test_half_a_text_is_a_failure(tmp_path, read_path, suffix):
    packed = COMPRESS[suffix](JSONL)
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    assert read_path(path).reasons == [REASON[suffix]]


def test_a_flipped_bit_in_gzip_costs_no_line_before_it(tmp_path, read_path):
    packed = bytearray(gzip.compress(JSONL[:2000], 0) + gzip.compress(JSONL[2000:]))
    packed[len(packed) // 2] ^= 255
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed)
    rows = read_path(path)
    assert len(rows.texts) > 2000 // len(LINES[0]) and "damaged_gzip" in rows.reasons


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("content", [b"", b"not compressed at all", b"\0\0"])
def test_what_only_is_called_compressed_is_told(tmp_path, read_path, suffix, content):
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(content)
    assert read_path(path).reasons in (["empty"], [REASON[suffix]])


def test_padding_with_zeros_is_no_damage(tmp_path, read_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one ") + bytes(100_000) + gzip.compress(b"two") + bytes(9))
    assert read_path(path).texts == ["one two"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_bomb_is_left_when_the_limit_is_reached(tmp_path, read_path, suffix):
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(COMPRESS[suffix](b'{"text": "before"}\n' + (b" " * 9999 + b"\n") * 8000))
    rows = read_path(path)
    assert rows.texts == ["before"] and rows.reasons == ["expansion_limit"]
    assert "max_expansion" in rows[-1]["error"]
    assert read_path(path, max_expansion=10**6).reasons == []
    rows = read_path(path, max_expanded_bytes=10**6)
    assert rows.texts == ["before"] and "max_expanded_bytes" in rows[-1]["error"]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_small_file_may_grow_a_thousandfold(tmp_path, read_path, suffix):
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(COMPRESS[suffix](b"a" * 10_000_000))
    assert len(read_path(path).texts[0]) == 10_000_000
    assert read_path(path, max_document_bytes=9_999_999).reasons == ["document_too_large"]
