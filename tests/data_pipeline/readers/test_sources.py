"""Files behind http: streamed, taken up again where a connection broke, and told apart by fault."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.listing import InputFile
from data_pipeline.readers import ReadConfig, ReadTask, Span, sources
from nanojaxlm.errors import RetryableError

LINES = [json.dumps({"text": f"line {i} " + "x" * (i % 300)}) for i in range(20_000)]
JSONL = "\n".join(LINES).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends files, breaking off after `broken_after` bytes of a reply; with or without ranges."""

    files: ClassVar[dict[str, bytes]] = {}
    broken_after: int | None = None
    ranges = True
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        data = self.files.get(self.path)
        self.requests.append(self.headers.get("Range", ""))
        if data is None:
            self.send_error(403 if "secret" in self.path else 404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = len(data) if self.broken_after is None else start + self.broken_after
        self.wfile.write(data[start:stop])
        self.close_connection = True

    def log_message(self, format: str, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Handler]]]:
    handler = type("Fresh", (Handler,), {"files": {}, "requests": []})
    monkeypatch.setattr(sources.time, "sleep", lambda _: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def task(url: str, form: str) -> ReadTask:
    return ReadTask((Span(InputFile(url, 0, 0, form)),))


def test_files_are_read(server, read_task):
    url, handler = server
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["one", "two"]}), table)
    handler.files |= {
        "/a.txt": "first é".encode(),
        "/a.jsonl.gz?v=1": gzip.compress(JSONL),
        "/a.parquet": table.getvalue().to_pybytes(),
    }
    assert read_task(task(f"{url}/a.txt", "text"), ReadConfig()).texts == ["first é"]
    assert len(read_task(task(f"{url}/a.jsonl.gz?v=1", "jsonl"), ReadConfig()).texts) == len(LINES)
    assert read_task(task(f"{url}/a.parquet", "parquet"), ReadConfig()).texts == ["one", "two"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_is_taken_up_again(server, read_task, ranges):
    url, handler = server
    handler.files["/a.jsonl"] = JSONL
    handler.broken_after, handler.ranges = len(JSONL) // 2 + 1000, ranges
    if not ranges:  # each reply begins at the front: the second half never comes
        with pytest.raises(RetryableError, match="breaks again"):
            read_task(task(f"{url}/a.jsonl", "jsonl"), ReadConfig())
        return
    rows = read_task(task(f"{url}/a.jsonl", "jsonl"), ReadConfig())
    assert rows.texts == [json.loads(line)["text"] for line in LINES]
    assert handler.requests == ["", f"bytes={handler.broken_after}-"]


def test_what_may_not_be_had_is_a_failure_of_that_file(server, read_task):
    url, _ = server
    for name in ("gone.txt", "secret.txt"):
        rows = read_task(task(f"{url}/{name}", "text"), ReadConfig())
        assert rows.reasons == ["unreadable"] and rows[0]["source"] == f"{url}/{name}"


def test_a_server_that_is_away_is_worth_retrying(read_task, monkeypatch):
    monkeypatch.setattr(sources.time, "sleep", lambda _: None)
    with pytest.raises(RetryableError, match="run the same command again"):
        read_task(task("http://127.0.0.1:9/a.txt", "text"), ReadConfig())
