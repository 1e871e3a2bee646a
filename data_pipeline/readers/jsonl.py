"""JSON lines: a document a line, a failure a bad line; the rest goes on.

A document's source is path:OFFSET, the byte (decompressed) at which its line begins: that is the
same however the file is cut for the workers, where the number of the line would have to be counted
from the file's begin. The line is shown by `tail -c +OFFSET+1 FILE | head -n 1`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from data_pipeline.readers.compression import open_stream
from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.plan import Span
from data_pipeline.readers.records import (
    Record,
    Unreadable,
    checked,
    encoded,
    failure,
    properties,
    too_large,
)
from data_pipeline.readers.sources import open_source

_CHUNK = 2**18
_BOM = b"\xef\xbb\xbf"


def read_jsonl(span: Span, config: ReadConfig, skipped: Counter[str]) -> Iterator[Record]:
    """The lines that begin within span.start and span.stop, bytes of the file."""
    path = span.file.path
    with open_source(path) as source:
        start = max(span.start - 1, 0)  # the byte before: whether a line begins at span.start
        if start:
            source.seek(start)
        stream = open_stream(source, config)
        lines = _lines(stream.read, start, config.max_document_bytes)
        if span.start:
            next(lines, None)
        try:
            for offset, line, size in lines:
                if span.stop is not None and offset >= span.stop:
                    break
                if line is None or (line and not line.isspace()):
                    yield _record(f"{path}:{offset}", line, size, config)
                if line is None:
                    continue
                if offset == 0 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    break  # UTF-16: every further line would fail likewise
        except Unreadable as error:
            yield failure(f"{path}:{start + stream.position}", error)


def _lines(
    read: Callable[[int], bytes], offset: int, limit: int
) -> Iterator[tuple[int, bytes | None, int]]:
    """(offset, line, its bytes) of the first line, and of each other that is not empty; the line is
    None where it is larger than limit."""
    begun: list[bytes] = []  # pieces of a line whose end was not read yet
    size = 0
    while chunk := read(_CHUNK):
        first, *others = chunk.split(b"\n")
        size += len(first)
        if size <= limit:
            begun.append(first)
        else:
            begun.clear()
        if not others:
            continue
        yield offset, b"".join(begun) if size <= limit else None, size
        offset += size + 1
        last = others.pop()
        for line in others:
            if line:
                yield offset, line if len(line) <= limit else None, len(line)
            offset += len(line) + 1
        begun, size = [last], len(last)
    if size:
        yield offset, b"".join(begun) if size <= limit else None, size


def _record(source: str, line: bytes | None, size: int, config: ReadConfig) -> Record:
    try:
        if line is None:
            raise too_large(size, config)
        return document_of(source, _parsed(line), config)
    except Unreadable as error:
        return failure(source, error)


def _parsed(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # Python's own parser bears more (NaN, a byte order mark), and says what is wrong
    try:
        return json.loads(line.removeprefix(_BOM).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Unreadable(
            "not_utf8",
            f"byte 0x{line[error.start]:02x} at byte {error.start} of the line; convert the file "
            "to UTF-8 (iconv -f ENCODING -t UTF-8)",
        ) from None
    except json.JSONDecodeError as error:
        raise Unreadable(
            "not_json", f"{error.msg} at character {error.pos} of the line; give one object a line"
        ) from None
    except RecursionError:
        raise Unreadable("not_json", "nested too deep to be read") from None
    except ValueError as error:  # an integer of more than 4,300 digits
        raise Unreadable("not_json", str(error)) from None


def document_of(source: str, fields: Any, config: ReadConfig) -> Record:
    """A document of an object's fields: the text column, url, a timestamp, kind; the others become
    metadata.

    Raises:
        Unreadable: no_text_field, and as `checked`.
    """
    text = fields.pop(config.text_column, None) if isinstance(fields, dict) else None
    if not isinstance(text, str):
        names = ", ".join(list(fields)[:8]) if isinstance(fields, dict) else type(fields).__name__
        raise Unreadable(
            "no_text_field",
            f'no text in "{config.text_column}" (it has: {names}); name the field by '
            "--config.read.text_column",
        )
    return Record(source, checked(encoded(text), config), *properties(fields, config))
