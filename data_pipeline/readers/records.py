"""What a reader hands on: a document or a failure, and the batches that they become."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from data_pipeline.document import CODE, HTML, PROSE, READ, document_id
from data_pipeline.listing import first_line
from data_pipeline.parts import BATCH_BYTES, BATCH_DOCUMENTS, slices
from data_pipeline.readers.config import DROP, KEEP, ReadConfig

_OVERRIDE = re.compile(b"\xe2\x80[\xad\xae]")  # U+202D, U+202E in UTF-8
_KINDS = (PROSE, HTML, CODE)
_TIMESTAMPS = ("timestamp", "date", "created")  # fields; the first that is a date is taken
_NUMBERS = (bool, int, float)
_MAX_FIELD = 1000  # characters of a text field that is taken into the metadata


class Unreadable(ValueError):
    """Why something cannot become a document.

    Args:
        reason: a short snake_case name, by which failures are counted.
        sentence: what is wrong, where, and how to mend it; one line.
    """

    def __init__(self, reason: str, sentence: str):
        super().__init__(f"{reason}: {sentence}")
        self.reason = reason


class Record(NamedTuple):
    """A document, its text checked and in UTF-8; or a failure, whose error is set."""

    source: str
    text: bytes = b""
    kind: str = PROSE
    url: str | None = None
    timestamp: str | None = None
    metadata: str | None = None
    error: str | None = None


def failure(source: str, error: Exception) -> Record:
    """The row of a failure; what no reader foresaw is told as that, and costs no other document."""
    if not isinstance(error, Unreadable):
        said = f"{type(error).__name__}: {first_line(error)}; please report it, with this input"
        error = Unreadable("reader_error", said)
    return Record(source, error=str(error))


def checked(text: bytes, config: ReadConfig) -> bytes:
    """UTF-8 that may become a document's text, as it may stand there.

    Raises:
        Unreadable: empty, nul_byte, bidi_override, document_too_large.
    """
    if len(text) > config.max_document_bytes:
        raise too_large(len(text), config)
    if not text or text.isspace():
        raise Unreadable("empty", "there is no text in it")
    if is_suspect(text, config):
        if (position := text.find(b"\0")) >= 0:
            what = f"a NUL at byte {position} of the text; name text files only"
            raise Unreadable("nul_byte", what)
        if config.bidi_overrides == DROP:
            raise Unreadable(
                "bidi_override",
                "U+202D or U+202E shows letters in another order than they stand; look at it, or "
                "choose --config.read.bidi_overrides=strip",
            )
        text = _OVERRIDE.sub(b"", text)
    return text


def is_suspect(text: bytes, config: ReadConfig) -> bool:
    """Whether there is a NUL in it, or an override that is not wanted."""
    if b"\0" in text:
        return True
    if text.isascii() or config.bidi_overrides == KEEP:
        return False
    return _OVERRIDE.search(text) is not None


def encoded(text: str) -> bytes:
    """Text to UTF-8.

    Raises:
        Unreadable: lone_surrogate.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unreadable(
            "lone_surrogate", f"half a surrogate pair at character {error.start}; mend its writer"
        ) from None


def too_large(num_bytes: int | None, config: ReadConfig) -> Unreadable:
    size = "" if num_bytes is None else f"{num_bytes} bytes, "
    return Unreadable(
        "document_too_large",
        f"{size}more than {config.max_document_bytes}; split it or raise "
        "--config.read.max_document_bytes",
    )


def printable(source: str) -> str:
    """A path whose bytes are no UTF-8 (surrogates, in Python) with these bytes spelled out."""
    return source.encode("utf-8", "backslashreplace").decode("utf-8")


def iso_8601(value: Any) -> str | None:
    """A date in ISO 8601, of ISO 8601, HTTP's form, 14 digits or a datetime; None = not one."""
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str) or not 4 <= len(value) <= 64:
        return None
    try:
        if len(value) == 14 and value.isdigit():
            moment = datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            return moment.isoformat().replace("+00:00", "Z")
        datetime.fromisoformat(value)
        return value
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value).isoformat()
    except (ValueError, TypeError, IndexError):
        return None


def properties(
    fields: dict[str, Any], config: ReadConfig
) -> tuple[str, str | None, str | None, str | None]:
    """(kind, url, timestamp, metadata) of a record's fields beside its text."""
    kind = fields.pop("kind") if fields.get("kind") in _KINDS else PROSE
    url = fields.pop("url") if isinstance(fields.get("url"), str) else None
    timestamp = None
    for name in _TIMESTAMPS:
        if name in fields and (timestamp := iso_8601(fields[name])):
            del fields[name]
            break
    return kind, url, timestamp, metadata_of(fields, config) if fields else None


def metadata_of(fields: dict[str, Any], config: ReadConfig) -> str | None:
    """A JSON object of the scalars among the fields, and of what "metadata" holds; None = nothing.

    Left out: null, long texts (over 1,000 characters), lists and objects that stand elsewhere; and
    all of it where it is longer than the limit, or no valid Unicode.
    """
    kept = {}
    for name, value in fields.items():
        if isinstance(value, str):
            if len(value) <= _MAX_FIELD and name != "metadata":
                kept[name] = value
        elif isinstance(value, _NUMBERS):
            kept[name] = value
    own = fields.get("metadata")
    if isinstance(own, str):
        try:
            own = msgspec.json.decode(own)
        except (msgspec.DecodeError, RecursionError):
            own = {"metadata": own}
    if isinstance(own, dict):
        kept |= own
    if not kept:
        return None
    try:
        text = msgspec.json.encode(kept)
    except (UnicodeEncodeError, msgspec.ValidationError, TypeError, RecursionError, OverflowError):
        return None
    return text.decode("utf-8") if len(text) <= config.max_metadata_bytes else None


def in_batches(records: Iterable[Record | pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of document.READ, in order, of at most 4 MiB of text or 1,024 rows; a larger document
    stands alone. Batches among the records are passed on."""
    rows: list[Record] = []
    num_bytes = 0
    for record in records:
        if isinstance(record, pa.RecordBatch):
            if rows:
                yield _batch(rows)
                rows, num_bytes = [], 0
            yield from slices(record)
            continue
        if rows and (num_bytes + len(record.text) > BATCH_BYTES or len(rows) == BATCH_DOCUMENTS):
            yield _batch(rows)
            rows, num_bytes = [], 0
        rows.append(record)
        num_bytes += len(record.text)
    if rows:
        yield _batch(rows)


def _batch(rows: list[Record]) -> pa.RecordBatch:
    sources = [printable(row.source) for row in rows]
    columns = [
        pa.array([document_id(source) for source in sources], pa.large_string()),
        # The bytes were checked: large_binary is not looked through once more.
        pa.array([row.text for row in rows], pa.large_binary()).view(pa.large_string()),
        pa.array(sources, pa.large_string()),
        pa.array([row.kind for row in rows], pa.string()),
        pa.array([row.url and printable(row.url) for row in rows], pa.large_string()),
        pa.array([row.timestamp for row in rows], pa.string()),
        pa.array([row.metadata for row in rows], pa.large_string()),
        pa.array([[]] * len(rows), READ.field("record").type),
        pa.array([row.error and printable(row.error) for row in rows], pa.large_string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=READ)
