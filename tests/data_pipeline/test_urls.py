"""Inputs at URLs, from real servers on this machine: HTTP, and the S3 protocol."""

import functools
import gzip
import http.server
import json
import threading
from pathlib import Path

import pytest

from data_pipeline import readers
from data_pipeline.document import write_documents
from data_pipeline.listing import list_inputs

pytestmark = pytest.mark.slow


def texts_of(url: str, folder: Path) -> set[str]:
    frame = readers.read(list_inputs([url]).files, readers.ReadConfig())
    write_documents(frame, folder, readers.READ)
    return set(readers.documents(folder).to_pydict()["text"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    (folder / "one.txt").write_text("first é", encoding="utf-8")
    (folder / "below" / "two.md").write_text("second", encoding="utf-8")
    lines = [json.dumps({"text": text}) for text in ("third", "fourth")]
    (folder / "below" / "three.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


def test_files_are_read_over_http(files, tmp_path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(files))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert texts_of(f"{url}/one.txt", tmp_path / "a") == {"first é"}
        assert texts_of(f"{url}/below/three.jsonl.gz", tmp_path / "b") == {"third", "fourth"}
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
        for number, ending in enumerate(("", "/", "/**")):
            texts = texts_of(f"s3://bucket/docs{ending}", tmp_path / str(number))
            assert texts == {"first é", "second", "third", "fourth"}, ending
    finally:
        server.stop()
