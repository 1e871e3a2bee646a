"""HTTP bodies freed of chunks and compression, or told to be damaged."""

import gzip
import zlib

import brotli
import pyarrow as pa
import pytest

from data_pipeline.readers import Unreadable
from data_pipeline.readers.responses import decoded, media_type, response_of

BODY = b"<html>" + bytes(range(32, 127)) * 200 + b"</html>"
LIMIT = 10**6


def message(body: bytes, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}".encode() for name, value in headers.items()]
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", body])


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": lambda data: pa.compress(data, "zstd", asbytes=True),
    "identity": bytes,
    "unheard-of": bytes,
}


def chunked(data: bytes, size: int = 1000) -> bytes:
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("coding", ENCODERS)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_encodings_are_taken_off(coding, is_chunked):
    body = ENCODERS[coding](BODY)
    headers = {"Content_Encoding": coding.upper()}
    if is_chunked:
        body, headers["Transfer_Encoding"] = chunked(body), "chunked"
    assert decoded(response_of(message(body, **headers)), LIMIT) == BODY


def test_bare_deflate_and_two_codings():
    response = response_of(message(deflate(BODY), Content_Encoding="deflate"))
    assert decoded(response, LIMIT) == BODY
    twice = gzip.compress(brotli.compress(BODY))
    response = response_of(message(twice, Content_Encoding="br, gzip"))
    assert decoded(response, LIMIT) == BODY


@pytest.mark.parametrize("header", ["gzip", "deflate", "br", "zstd"])
def test_what_the_crawler_took_off_already_is_passed_on(header):
    response = response_of(message(BODY, Content_Encoding=header, Transfer_Encoding="chunked"))
    assert decoded(response, LIMIT) == BODY


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_left_at_the_limit(coding):
    body = ENCODERS[coding](bytes(20_000_000))
    with pytest.raises(Unreadable, match="document_too_large"):
        decoded(response_of(message(body, Content_Encoding=coding)), LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_half_of_a_compressed_body_is_damage(coding):
    body = ENCODERS[coding](BODY)
    with pytest.raises(Unreadable, match="damaged_http"):
        decoded(response_of(message(body[: len(body) // 2], Content_Encoding=coding)), LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\nzz\r\nworld\r\n0\r\n\r\n",
        b"5\r\nhello\r\nff\r\nworld\r\n",
        b"5\r\nhelloworld",
        b"fffffffffffffff\r\nhello",
    ],
)
def test_wrong_chunks_are_damage(body):
    with pytest.raises(Unreadable, match="damaged_http"):
        decoded(response_of(message(body, Transfer_Encoding="chunked")), LIMIT)


def test_a_last_chunk_may_be_missing():
    body = b"5\r\nhello\r\n6\r\n world\r\n"
    assert decoded(response_of(message(body, Transfer_Encoding="chunked")), LIMIT) == b"hello world"


def test_heads_of_odd_servers():
    response = response_of(b"HTTP/1.0 200\nContent-Type: text/plain\nX\n\nbody\r\n\r\nmore")
    assert response.status == 200 and response.headers == {"content-type": "text/plain"}
    assert response.body == b"body\r\n\r\nmore"
    assert response_of(b"HTTP/2 204 No Content\r\n").status == 204
    with pytest.raises(Unreadable, match="damaged_http"):
        response_of(b"<html>no head</html>")


def test_media_types():
    assert media_type('text/HTML; Charset="UTF-8"') == ("text/html", "UTF-8")
    assert media_type("text/html;q=1; charset=") == ("text/html", None)
    assert media_type("") == ("", None)
