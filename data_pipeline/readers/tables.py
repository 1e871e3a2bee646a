"""Parquet: a document a row, and our own documents folder read back as it was written.

A document's source is path:ROW, the row in the file. The rows that are decoded at once are chosen
by what the file says of itself, so that large texts, and columns whose dictionary repeats one,
stay within bounds. Arrow decodes a page as a whole, though: mostly 1 MiB, but of a table that was
written with texts of a MiB each a page may be hundreds, and then the reader takes as much.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.document import PROSE, READ, RECORD, SCHEMA, document_id
from data_pipeline.listing import first_line
from data_pipeline.parts import BATCH_BYTES, BATCH_DOCUMENTS
from data_pipeline.readers.compression import FREE_EXPANSION
from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.encodings import decode
from data_pipeline.readers.plan import Span
from data_pipeline.readers.records import (
    Record,
    Unreadable,
    checked,
    failure,
    is_suspect,
    printable,
    properties,
)
from data_pipeline.readers.sources import seekable

_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
_WORST_BYTES = 32 * 2**20  # of a batch in which every row is the largest text
_MAX_DICTIONARY = 2**30  # bytes of what is held in memory while a row group is read
_OURS = ("id", "text", "source", "kind", "record")


def read_parquet(
    span: Span, config: ReadConfig, skipped: Counter[str]
) -> Iterator[Record | pa.RecordBatch]:
    """The rows of the row groups span.start to span.stop."""
    path = span.file.path
    with seekable(path) as data:
        try:
            file = pq.ParquetFile(data, pre_buffer=False, buffer_size=2**20)
            schema = file.schema_arrow
            num_groups = file.metadata.num_row_groups
        except _DAMAGE as error:
            raise Unreadable("damaged_parquet", f"{first_line(error)}; copy it again") from None
        ours = _is_ours(schema)
        columns = _columns(schema, ours, config)
        row = sum(file.metadata.row_group(i).num_rows for i in range(min(span.start, num_groups)))
        for group in range(span.start, num_groups if span.stop is None else span.stop):
            num_rows, last = file.metadata.row_group(group).num_rows, row
            try:
                size = _rows_at_once(data, file.metadata.row_group(group), columns, config)
                allowed = max(
                    FREE_EXPANSION,
                    config.max_expansion * _packed(file.metadata.row_group(group), columns),
                )
                few = file.iter_batches(size, [group], columns, use_threads=False)
                for batch in _put_together(few):
                    allowed -= batch.nbytes
                    if allowed < 0:
                        raise _expansion(config)
                    if ours:
                        yield _read_back(batch)
                    else:
                        yield from _documents(batch, path, last, config)
                    last += len(batch)
            except _DAMAGE as error:
                what = f"{first_line(error)}, rows {last} to {row + num_rows - 1}; copy it again"
                yield failure(f"{path}:{last}", Unreadable("damaged_parquet", what))
            except Unreadable as error:
                yield failure(f"{path}:{last}", error)
            row += num_rows


def _is_ours(schema: pa.Schema) -> bool:
    if not all(name in schema.names for name in _OURS):
        return False
    record = schema.field("record").type
    if not isinstance(record, pa.ListType | pa.LargeListType):
        return False
    notes, ours = record.value_type, RECORD.value_type
    return pa.types.is_struct(notes) and {f.name for f in notes} == {f.name for f in ours}


def _columns(schema: pa.Schema, ours: bool, config: ReadConfig) -> list[str]:
    """The columns that a document is made of: text, and all scalars and structs."""
    if ours:
        return [name for name in READ.names if name in schema.names]
    if config.text_column not in schema.names:
        raise Unreadable(
            "no_text_field",
            f'no column "{config.text_column}" (it has: {", ".join(schema.names[:8])}); '
            "name the column by --config.read.text_column",
        )
    return [f.name for f in schema if f.name in (config.text_column, "metadata") or _scalar(f.type)]


def _scalar(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer,
        pa.types.is_floating, pa.types.is_timestamp, pa.types.is_date,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _rows_at_once(file: BinaryIO, group: Any, columns: list[str], config: ReadConfig) -> int:
    """Rows a batch, by the sizes that the row group declares.

    Raises:
        Unreadable: expansion_limit, document_too_large.
    """
    expanded, packed, dictionaries = 0, _packed(group, columns), 0
    for column in _chunks(group, columns):
        expanded += column.total_uncompressed_size
        dictionaries += _dictionary_bytes(file, column)
    if expanded > max(FREE_EXPANSION, config.max_expansion * packed):
        raise _expansion(config)
    if dictionaries > _MAX_DICTIONARY:
        raise Unreadable(
            "document_too_large",
            f"a dictionary of {dictionaries} bytes; write the table again without dictionaries",
        )
    mean = max(expanded // max(group.num_rows, 1), 1)
    # Every row may be the largest text of its dictionary.
    return max(min(BATCH_DOCUMENTS, BATCH_BYTES // mean, _WORST_BYTES // max(dictionaries, 1)), 1)


def _chunks(group: Any, columns: list[str]) -> Iterator[Any]:
    for i in range(group.num_columns):
        if group.column(i).path_in_schema.split(".")[0] in columns:
            yield group.column(i)


def _packed(group: Any, columns: list[str]) -> int:
    return sum(column.total_compressed_size for column in _chunks(group, columns))


def _dictionary_bytes(file: BinaryIO, column: Any) -> int:
    """Uncompressed bytes of a column's dictionary, which only the header of its page tells.

    That begins, in Thrift's compact protocol, with two numbers: 0x15, the type of the page (2 = a
    dictionary) in zigzag, 0x15, its uncompressed size in zigzag.
    """
    if not column.has_dictionary_page:
        return 0
    file.seek(column.dictionary_page_offset)
    header = file.read(12)
    if header[:3] != b"\x15\x04\x15":
        return 0
    value = shift = 0
    for byte in header[3:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value >> 1


def _expansion(config: ReadConfig) -> Unreadable:
    return Unreadable(
        "expansion_limit",
        f"its rows grow to more than {config.max_expansion} times their size; it may be a bomb: "
        "look at it, or raise --config.read.max_expansion",
    )


def _put_together(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of up to 1,024 rows or 4 MiB of the few rows that are decoded at once, their
    dictionaries resolved."""
    held: list[pa.RecordBatch] = []
    rows = num_bytes = 0
    for batch in batches:
        for i, field in enumerate(batch.schema):
            if pa.types.is_dictionary(field.type):
                batch = batch.set_column(i, field.name, batch.column(i).dictionary_decode())
        size = batch.nbytes
        if held and (rows + len(batch) > BATCH_DOCUMENTS or num_bytes + size > BATCH_BYTES):
            yield pa.concat_batches(held)
            held, rows, num_bytes = [], 0, 0
        held.append(batch)
        rows, num_bytes = rows + len(batch), num_bytes + size
    if held:
        yield pa.concat_batches(held)


def _read_back(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Documents of ours, with all that they hold."""
    columns = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(len(batch), field.type)
        for field in READ
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=READ)
    batch.validate(full=True)
    for field in SCHEMA:
        if not field.nullable and batch[field.name].null_count:
            raise Unreadable("damaged_parquet", f"documents of ours without {field.name}")
    return batch


def _documents(
    batch: pa.RecordBatch, path: str, first: int, config: ReadConfig
) -> Iterator[Record | pa.RecordBatch]:
    texts = batch[config.text_column]
    rows = range(first, first + len(batch))
    if not _all_good(texts, config):
        yield from _one_by_one(batch, path, rows, config)
        return
    others = batch.drop_columns([config.text_column])
    if others.num_columns:
        kinds, urls, timestamps, metadata = zip(
            *(properties(row, config) for row in others.to_pylist()), strict=True
        )
    else:
        kinds = [PROSE] * len(batch)
        urls = timestamps = metadata = [None] * len(batch)
    path = printable(path)
    sources = [f"{path}:{row}" for row in rows]
    values = (
        [document_id(source) for source in sources], texts.cast(pa.large_string()), sources,
        kinds, urls, timestamps, metadata, [[]] * len(batch), [None] * len(batch),
    )  # fmt: skip
    columns = [
        value if isinstance(value, pa.Array) else pa.array(value, field.type)
        for value, field in zip(values, READ, strict=True)
    ]
    yield pa.RecordBatch.from_arrays(columns, schema=READ)


def _all_good(texts: pa.Array, config: ReadConfig) -> bool:
    """Whether each text may surely become a document as it is."""
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        return False
    if texts.null_count or not len(texts):
        return False
    try:
        texts.validate(full=True)  # that it is UTF-8
    except pa.ArrowInvalid:
        return False
    _, ends, data = texts.buffers()
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    bounds = np.frombuffer(ends, width)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(bounds)
    if lengths.min() == 0 or lengths.max() > config.max_document_bytes:
        return False
    if (np.frombuffer(data, np.uint8)[bounds[:-1]] <= ord(" ")).any():
        return False  # some may be blank
    return not is_suspect(data[bounds[0] : bounds[-1]].to_pybytes(), config)


def _one_by_one(
    batch: pa.RecordBatch, path: str, rows: range, config: ReadConfig
) -> Iterator[Record]:
    texts = batch[config.text_column]
    if pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_binary())
    others = batch.drop_columns([config.text_column]).to_pylist()
    for row, text, fields in zip(rows, texts, others, strict=True):
        source = f"{path}:{row}"
        try:
            data = text.as_py()
            if data is None:
                raise Unreadable("no_text_field", "the text is null")
            if not isinstance(data, bytes):
                what = f'"{config.text_column}" is {texts.type}, no text; name another by '
                raise Unreadable("no_text_field", what + "--config.read.text_column")
            yield Record(source, checked(decode(data), config), *properties(fields, config))
        except Unreadable as error:
            yield failure(source, error)
