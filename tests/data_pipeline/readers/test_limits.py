"""Memory stays bounded whatever the input: measured in a process of its own."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells the peak"),
]

PROGRAM = """
import json, re, sys
from pathlib import Path
from data_pipeline.listing import list_inputs
from data_pipeline.readers import ReadConfig, plan, read
reasons, documents = [], 0
for task in plan(list_inputs([sys.argv[1]]).files, 2**26, ReadConfig(**json.loads(sys.argv[2]))):
    for batch in read(task, ReadConfig(**json.loads(sys.argv[2]))):
        reasons += [e.split(":")[0] for e in batch["error"].drop_null().to_pylist()]
        documents += batch["error"].null_count
# Not getrusage: its peak is also that of the process which started this one.
status = Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status).group(1)) / 1024
print(json.dumps({"reasons": reasons, "documents": documents, "peak": peak}))
"""
MIB = 350  # of memory; 280 to 302 were seen, of which 110 are the libraries


def measure(path: Path, **config: int) -> dict:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), json.dumps(config)],
        capture_output=True, text=True, cwd=root, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["peak"] < MIB, found
    return found


def gzip_of(pieces, path: Path) -> Path:
    packer = zlib.compressobj(1, wbits=31)
    with path.open("wb") as file:
        for piece in pieces:
            file.write(packer.compress(piece))
        file.write(packer.flush())
    return path


def test_a_line_of_a_gigabyte_is_one_failure(tmp_path):
    line = ([b'{"text": "'], [b"x" * 2**20] * 2**10, [b'"}\n'])
    pieces = [b'{"text": "before"}\n', *(p for part in line for p in part), b'{"text": "after"}\n']
    found = measure(gzip_of(pieces, tmp_path / "a.jsonl.gz"), max_expansion=2000)
    assert found["reasons"] == ["document_too_large"] and found["documents"] == 2


def test_a_line_of_a_gigabyte_in_a_plain_file_is_one_failure_of_many_tasks(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "before"}\n')
        file.truncate(2**30)  # a hole in the file: NULs that take no room
        file.seek(2**30)
        file.write(b'\n{"text": "after"}\n')
    found = measure(path)
    assert found["reasons"] == ["document_too_large"] and found["documents"] == 2


@pytest.mark.parametrize("name", ["a.txt.gz", "a.html.gz"])
def test_a_text_of_a_gigabyte_is_a_failure(tmp_path, name):
    found = measure(gzip_of([b"word " * 2**18] * 800, tmp_path / name), max_expansion=2000)
    assert found["reasons"] == ["document_too_large"] and found["documents"] == 0


def test_a_record_of_a_gigabyte_is_one_failure(tmp_path):
    head = (
        b"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\n"
        b"WARC-Target-URI: https://a.org/\r\nContent-Length: %d\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    )
    http = 44
    small = head % (http + 5) + b"<p>ok\r\n\r\n"
    large = [head % (http + 2**30), *[b"x" * 2**20] * 2**10, b"\r\n\r\n"]
    assert len(head.split(b"\r\n\r\n", 1)[1]) == http
    found = measure(gzip_of([small, *large, small], tmp_path / "a.warc.gz"), max_expansion=2000)
    assert found["reasons"] == ["document_too_large"] and found["documents"] == 2


def test_documents_at_the_limit_fit(tmp_path):
    texts = ["x" * (2**25 - 100), "é" * (2**23), "😀" * 2**20, "ab" * 2**23]
    lines = [json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n" for text in texts]
    found = measure(gzip_of(lines, tmp_path / "a.jsonl.gz"), max_expansion=2000)
    assert found["reasons"] == [] and found["documents"] == 4


def test_a_bomb_of_a_hundred_gigabytes_is_left_soon(tmp_path):
    member = zlib.compressobj(9, wbits=31)
    packed = b"".join(member.compress(b"\n" * 2**20) for _ in range(128)) + member.flush()
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed * 800)  # 128 MiB a member
    assert measure(path)["reasons"] == ["expansion_limit"]


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_a_large_row_group_is_read_piece_by_piece(tmp_path, use_dictionary):
    words = [f"{zlib.crc32(b'%d' % i):x}" for i in range(20_000)]
    texts = [f"{i} " + " ".join(words[i % 97 :: 17]) for i in range(25_000)]
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": texts}), path, row_group_size=10**9, use_dictionary=use_dictionary
    )
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size > 2e8
    found = measure(path)
    assert found["reasons"] == [] and found["documents"] == len(texts)
