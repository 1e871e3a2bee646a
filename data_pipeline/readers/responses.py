"""HTTP responses as crawls keep them: status, headers, and the body freed of its encodings.

Sources: RFC 9112 (messages, chunks), RFC 9110 (content codings).
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli
import pyarrow as pa

from data_pipeline.readers.records import Unreadable

_STATUS = re.compile(rb"(?:HTTP/\d(?:\.\d)?|ICY) +(\d{3})")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_GZIP_OR_ZLIB, _BARE_DEFLATE = 47, -15  # wbits of zlib


@dataclass(frozen=True)
class Response:
    """headers: names in lower case, the first where one is repeated; body as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes


def response_of(message: bytes) -> Response:
    """Takes a message apart.

    Raises:
        Unreadable: damaged_http.
    """
    match = _STATUS.match(message)
    if match is None:
        raise Unreadable("damaged_http", "the record does not begin with an HTTP status line")
    end = _END_OF_HEAD.search(message)
    head, body = (message, b"") if end is None else (message[: end.start()], message[end.end() :])
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return Response(int(match.group(1)), headers, body)


def media_type(content_type: str) -> tuple[str, str | None]:
    """("text/html", "utf-8") of "text/HTML; charset=utf-8"; None where no charset is named."""
    essence, *parameters = content_type.split(";")
    charset = None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = charset or value.strip(" \t\"'") or None
    return essence.strip().lower(), charset


def decoded(response: Response, limit: int) -> bytes:
    """The body without chunks and compression.

    Crawls often keep the headers of what they have taken off already, so what does not look like
    the encoding that is named is passed on as it is.

    Raises:
        Unreadable: damaged_http; document_too_large where more than limit bytes come out.
    """
    body = response.body
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        body = _joined(body)
    codings = response.headers.get("content-encoding", "").lower().split(",")[:4]
    for coding in reversed([coding.strip() for coding in codings]):
        if (decode := _DECODERS.get(coding)) is not None and body:
            body = decode(body, limit)
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _joined(body: bytes) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        match = _CHUNK.match(body, at)
        if match is None:
            if not pieces:
                return body
            raise Unreadable("damaged_http", f"no chunk begins at byte {at} of the body")
        size = int(match.group(1), 16)
        piece = body[match.end() : match.end() + size]
        if len(piece) < size:
            raise Unreadable(
                "damaged_http", f"the chunk at byte {at} has {len(piece)} of its {size} bytes"
            )
        if not size:
            break
        pieces.append(piece)
        at = match.end() + size
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    return b"".join(pieces)


def _gunzipped(body: bytes, limit: int) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body
    return _inflated(body, limit, _GZIP_OR_ZLIB)


def _undeflated(body: bytes, limit: int) -> bytes:
    # RFC 9110 says zlib; many servers send bare deflate.
    is_zlib = body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    try:
        return _inflated(body, limit, _GZIP_OR_ZLIB if is_zlib else _BARE_DEFLATE)
    except Unreadable:
        if body.lstrip()[:1] == b"<":
            return body
        raise


def _inflated(body: bytes, limit: int, wbits: int) -> bytes:
    decoder = zlib.decompressobj(wbits)
    try:
        data = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise Unreadable("damaged_http", f"its compression is broken ({error})") from None
    if len(data) > limit:
        raise _too_large(limit)
    if not decoder.eof:
        raise Unreadable("damaged_http", "its compression ends too early")
    return data


def _unbrotlied(body: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    pieces: list[bytes] = []
    left = limit + 1
    try:
        piece = decoder.process(body, output_buffer_limit=left)
        while piece and left > 0:
            pieces.append(piece)
            left -= len(piece)
            if decoder.is_finished() or left <= 0:
                break
            piece = decoder.process(b"", output_buffer_limit=left)
    except brotli.error as error:
        if body.lstrip()[:1] == b"<":
            return body
        raise Unreadable("damaged_http", f"its compression is broken ({error})") from None
    if left <= 0:
        raise _too_large(limit)
    if not decoder.is_finished():
        raise Unreadable("damaged_http", "its compression ends too early")
    return b"".join(pieces)


def _unzstd(body: bytes, limit: int) -> bytes:
    if not body.startswith(b"\x28\xb5\x2f\xfd"):
        return body
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unreadable("damaged_http", f"its compression is broken ({error})") from None
    if len(data) > limit:
        raise _too_large(limit)
    return data


def _too_large(limit: int) -> Unreadable:
    return Unreadable(
        "document_too_large",
        f"more than {limit} bytes come out of it; raise --config.read.max_document_bytes",
    )


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "deflate": _undeflated,
    "br": _unbrotlied,
    "zstd": _unzstd,
}
