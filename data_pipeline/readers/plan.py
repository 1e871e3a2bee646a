"""Which files, or which piece of a large one, a worker reads at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.document import COMPRESSIONS
from data_pipeline.listing import InputFile
from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.records import Unreadable
from data_pipeline.readers.sources import seekable

_EXPANSION = 4  # of compressed text, as it is reckoned with when files are grouped
_MAX_SPANS = 4096  # of a task: a file that is nearly empty costs time, too


@dataclass(frozen=True)
class Span:
    """A file, or a piece: of .jsonl the lines that begin at bytes start to stop, of .parquet the
    row groups start to stop (exclusive; None = to the end)."""

    file: InputFile
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class ReadTask:
    """What one worker reads, in order."""

    spans: tuple[Span, ...]


def plan(files: Sequence[InputFile], part_bytes: int, config: ReadConfig) -> list[ReadTask]:
    """Tasks of about part_bytes each, in the order of the files.

    Small files are put together. Large ones are cut where they can be: .jsonl that is not
    compressed (not behind http(s), where there may be no ranges) by bytes, .parquet by row groups.
    Other large files are a task each. Documents and their ids are the same whatever part_bytes is.

    Raises:
        ValueError: part_bytes below 1.
        RetryableError: the network failed.
    """
    if part_bytes < 1:
        raise ValueError(f"part_bytes must be >= 1, got {part_bytes}")
    tasks: list[ReadTask] = []
    group: list[Span] = []
    size = 0
    for file in files:
        for span, span_bytes in _spans(file, part_bytes):
            if group and (size + span_bytes > part_bytes or len(group) == _MAX_SPANS):
                tasks.append(ReadTask(tuple(group)))
                group, size = [], 0
            group.append(span)
            size += span_bytes
    return [*tasks, ReadTask(tuple(group))] if group else tasks


def _spans(file: InputFile, part_bytes: int) -> Iterator[tuple[Span, int]]:
    """(piece, its bytes as they will be when read)."""
    if file.path.lower().endswith(tuple(COMPRESSIONS)):
        yield Span(file), file.size * _EXPANSION
    elif file.form == "jsonl" and file.size > part_bytes and not file.path.startswith("http"):
        for start in range(0, file.size, part_bytes):
            # The last has no stop: a file that has grown is read to its end.
            stop = start + part_bytes if start + part_bytes < file.size else None
            yield Span(file, start, stop), part_bytes
    elif file.form == "parquet" and file.size > part_bytes and not file.path.startswith("http"):
        yield from _row_groups(file, part_bytes)
    else:
        yield Span(file), file.size


def _row_groups(file: InputFile, part_bytes: int) -> Iterator[tuple[Span, int]]:
    try:
        with seekable(file.path) as data:
            metadata = pq.ParquetFile(data).metadata
            sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    except (Unreadable, pa.ArrowException, OSError):
        yield Span(file), file.size  # reading it will tell what is wrong
        return
    start = size = 0
    for group, group_bytes in enumerate(sizes):
        if group > start and size + group_bytes > part_bytes:
            yield Span(file, start, group), size
            start, size = group, 0
        size += group_bytes
    yield Span(file, start, len(sizes)), size
