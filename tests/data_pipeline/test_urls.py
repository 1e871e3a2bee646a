"""Inputs at URLs, from real servers on this machine: HTTP, and the S3 protocol."""

import functools
import gzip
import http.server
import json
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.listing import InputFile, list_inputs
from data_pipeline.readers import ReadConfig, ReadTask, Span, plan, read

pytestmark = pytest.mark.slow


def texts_of(url: str, part_bytes: int = 2**20) -> list[str]:
    config = ReadConfig()
    tasks = plan(list_inputs([url]).files, part_bytes, config)
    batches = [batch for task in tasks for batch in read(task, config)]
    assert not [e for batch in batches for e in batch["error"].to_pylist() if e]
    return [text for batch in batches for text in batch["text"].to_pylist()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    (folder / "one.txt").write_text("first é", encoding="utf-8")
    (folder / "below" / "two.md").write_text("second", encoding="utf-8")
    lines = [json.dumps({"text": text}) for text in ("third", "fourth")]
    (folder / "below" / "three.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


def large_files(folder: Path) -> list[Path]:
    """Files that are cut, and one that is read as a stream."""
    texts = [f"text {i} " + "é" * (i * 7 % 500) for i in range(2000)]
    data = "\n".join(json.dumps({"text": text}) for text in texts).encode()
    (folder / "a.jsonl").write_bytes(data)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(data, 1))
    pq.write_table(pa.table({"text": texts}), folder / "c.parquet", row_group_size=100)
    return [folder / name for name in ("a.jsonl", "b.jsonl.gz", "c.parquet")]


def test_files_are_read_over_http(files):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(files))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert texts_of(f"{url}/one.txt") == ["first é"]
        assert texts_of(f"{url}/below/three.jsonl.gz") == ["third", "fourth"]
        server.shutdown()


def test_a_folder_of_a_bucket_is_read_with_all_below(files, tmp_path, monkeypatch):
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ):
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for path in files.rglob("*.*"):
            client.upload_file(str(path), "bucket", f"docs/{path.relative_to(files)}")
        for ending in ("", "/", "/**"):
            texts = texts_of(f"s3://bucket/docs{ending}")
            assert sorted(texts) == ["first é", "fourth", "second", "third"], ending
        for large in large_files(tmp_path):
            client.upload_file(str(large), "bucket", f"large/{large.name}")
            for part_bytes in (50_000, 10**9):
                expected = texts_of(str(large))
                assert texts_of(f"s3://bucket/large/{large.name}", part_bytes) == expected
        file = InputFile("s3://bucket/gone.txt", 0, 0, "text")
        (batch,) = read(ReadTask((Span(file),)), ReadConfig())
        assert batch["error"][0].as_py().startswith("unreadable: ")
    finally:
        server.stop()
