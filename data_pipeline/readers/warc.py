"""Crawls: the pages and texts among the records of WARC, WET and ARC files."""

import json
import re
from collections import Counter
from collections.abc import Iterator

from data_pipeline.document import CODE, HTML, PROSE, kind_of
from data_pipeline.readers import responses
from data_pipeline.readers.compression import open_stream
from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.encodings import decode_page
from data_pipeline.readers.frames import Frame, Frames
from data_pipeline.readers.pdf import text_of
from data_pipeline.readers.plan import Span
from data_pipeline.readers.records import (
    Record,
    checked,
    failure,
    iso_8601,
    too_large,
)
from data_pipeline.readers.sources import open_source

PDF = "pdf"
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
_PROSE_TYPES = frozenset({"text/plain", "text/markdown", "text/x-markdown", "text/x-rst"})
_PDF_TYPES = frozenset({"application/pdf", "application/x-pdf"})
_UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream", "unknown/unknown"})
_PAGE = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head)", re.I | re.S
)


def read_warc(span: Span, config: ReadConfig, skipped: Counter[str]) -> Iterator[Record]:
    """The documents among the records: successful responses and resources that are HTML, plain
    text, source code or PDF, and conversions to text (WET).

    The others are counted in `skipped`: requests, revisits, metadata, other types and statuses.
    """
    path = span.file.path
    with open_source(path) as source:
        for frame in Frames(path, open_stream(source, config), config.max_document_bytes):
            if isinstance(frame, Record):
                yield frame
                continue
            try:
                if (record := _document(frame, config, skipped)) is not None:
                    yield record
            except Exception as error:
                yield failure(frame.source, error)._replace(**_place(frame))


def _document(frame: Frame, config: ReadConfig, skipped: Counter[str]) -> Record | None:
    record_type = frame.headers.get("warc-type", "").lower()
    content_type = frame.headers.get("content-type", "")
    if record_type == "response" and content_type.lower().startswith("application/http"):
        response = responses.response_of(frame.content)
        if not 200 <= response.status < 300:
            skipped[f"responses with status {response.status}"] += 1
            return None
        content_type, body = response.headers.get("content-type", ""), response.body
    elif record_type in ("resource", "conversion"):
        response, body = None, frame.content
    else:
        skipped[f"{record_type or 'unnamed'} records"] += 1
        return None
    media_type, charset = responses.media_type(content_type)
    kind = _kind(media_type, body, frame.headers.get("warc-target-uri", ""))
    # What is compressed shows what it is only afterwards.
    packed = response is not None and "content-encoding" in response.headers
    if kind is None and not (packed and media_type in _UNTYPED):
        skipped[f"{record_type}s of type {_family(media_type)}"] += 1
        return None
    if not frame.is_whole:
        raise too_large(frame.size, config)
    if response is not None:
        body = responses.decoded(response, config.max_document_bytes)
        kind = _kind(media_type, body, frame.headers.get("warc-target-uri", ""))
        if kind is None:
            skipped[f"{record_type}s of type {_family(media_type)}"] += 1
            return None
    if kind == PDF:
        text, encoding = text_of(body, config)[0], None
    else:
        text, encoding = decode_page(body, charset, kind == HTML)
    notes = {
        "content_type": media_type,
        "encoding": encoding,
        "record_id": frame.headers.get("warc-record-id"),
        "languages": frame.headers.get("warc-identified-content-language"),
        "truncated": frame.headers.get("warc-truncated"),
    }
    metadata = json.dumps({k: v for k, v in notes.items() if v}, separators=(",", ":"))
    return Record(
        frame.source,
        checked(text, config),
        PROSE if kind == PDF else kind or PROSE,
        **_place(frame),
        metadata=metadata if len(metadata) <= config.max_metadata_bytes else None,
    )


def _place(frame: Frame) -> dict[str, str | None]:
    """Where and when it was fetched; some writers put the address in <>."""
    url = frame.headers.get("warc-target-uri", "").removeprefix("<").removesuffix(">")
    return {"url": url or None, "timestamp": iso_8601(frame.headers.get("warc-date"))}


def _kind(media_type: str, body: bytes, url: str) -> str | None:
    if body.startswith(b"%PDF-") or media_type in _PDF_TYPES:
        return PDF
    if media_type in _HTML_TYPES:
        return HTML
    if media_type in _PROSE_TYPES or media_type.startswith("text/x-"):
        return CODE if kind_of(url) == CODE else PROSE
    return HTML if media_type in _UNTYPED and _PAGE.match(body[:2048]) else None


def _family(media_type: str) -> str:
    """image/png -> image; of text and application the whole, if it is one that people use."""
    family = media_type.split("/", 1)[0]
    named = ("text/css", "text/javascript", "text/xml", "text/csv", "application/json",
             "application/javascript", "application/xml", "application/rss+xml",
             "application/octet-stream")  # fmt: skip
    return media_type if media_type in named else family if family.isalpha() else "unknown"
