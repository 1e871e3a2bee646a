"""Parts of the corpus on disk, and what the stages said of them: the unit of work and of restart.

Reading leaves read-KEY/PART.parquet, documents of SCHEMA. A stage leaves STAGE-KEY/
PART.verdicts.parquet, a row for each document that it saw, and, if it rewrites, PART.parquet, the
documents that it kept. So no text is written twice without need: the documents after a stage are
those of the last rewriting layer, less what later verdicts drop.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.document import RECORD, SCHEMA, text_bytes

BATCH_BYTES, BATCH_DOCUMENTS = 4 * 2**20, 1024
# Row-aligned with the documents that a stage saw; notes is what goes to the record of a kept one.
VERDICTS = pa.schema(
    [("reason", pa.string()), ("score", pa.float64()), pa.field("notes", RECORD, nullable=False)]
)


@dataclass(frozen=True)
class Layer:
    """The folder of one finished step, and whether it holds documents of its own."""

    name: str
    folder: Path
    rewrites: bool

    def documents(self, part: str) -> Path:
        return self.folder / f"{part}.parquet"

    def verdicts(self, part: str) -> Path:
        return self.folder / f"{part}.verdicts.parquet"


@dataclass(frozen=True)
class StoredPart:
    """The documents of one part after the last of some layers, the first of which is reading."""

    name: str
    num_documents: int
    layers: tuple[Layer, ...]
    keys_folder: Path | None = None

    @property
    def keys(self) -> Path:
        assert self.keys_folder is not None, "no comparison is at work"
        return self.keys_folder / f"{self.name}.keys.parquet"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The documents, in batches of SCHEMA; few of them are in memory at once."""
        return rebatch(self._kept())

    def _kept(self) -> Iterator[pa.RecordBatch]:
        base = max(i for i, layer in enumerate(self.layers) if layer.rewrites)
        later = [
            Rows(pq.read_table(layer.verdicts(self.name), memory_map=True))
            for layer in self.layers[base + 1 :]
        ]
        file = pq.ParquetFile(self.layers[base].documents(self.name))
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=SCHEMA.names)
            for batch in table.combine_chunks().to_batches():
                for verdicts in later:
                    batch = survivors(batch, verdicts.next(len(batch)))
                yield batch

    def accounts(self) -> Iterator[pa.RecordBatch]:
        """id, source, stage, reason, score of every document that was read; null = kept."""
        documents = pq.read_table(self.layers[0].documents(self.name), columns=["id", "source"])
        num = len(documents)
        stages, reasons = np.full(num, None, object), np.full(num, None, object)
        scores, alive = np.full(num, np.nan), np.arange(num)
        for layer in self.layers[1:]:
            table = pq.read_table(layer.verdicts(self.name), columns=["reason", "score"])
            reason = table["reason"].to_numpy()
            dropped = ~_null(reason)
            stages[alive[dropped]] = layer.name
            reasons[alive[dropped]] = reason[dropped]
            scores[alive[dropped]] = table["score"].to_numpy()[dropped]
            alive = alive[~dropped]
        table = documents.append_column("stage", pa.array(stages, pa.string()))
        table = table.append_column("reason", pa.array(reasons, pa.string()))
        table = table.append_column("score", pa.array(scores, pa.float64(), mask=np.isnan(scores)))
        yield from table.combine_chunks().to_batches()


class Rows:
    """A table read from its beginning, some rows at a time."""

    def __init__(self, table: pa.Table):
        self._table, self._offset = table, 0

    def next(self, num_rows: int) -> pa.Table:
        rows = self._table.slice(self._offset, num_rows)
        assert len(rows) == num_rows, "verdicts do not belong to these documents"
        self._offset += num_rows
        return rows


def survivors(batch: pa.RecordBatch, verdicts: pa.Table) -> pa.RecordBatch:
    """The documents without a reason, their notes at the end of their record."""
    if pc.any(pc.greater(pc.list_value_length(verdicts["notes"]), 0)).as_py():
        notes = verdicts["notes"].combine_chunks()
        batch = batch.set_column(
            SCHEMA.get_field_index("record"),
            SCHEMA.field("record"),
            append_lists(batch["record"], notes),
        )
    keep = pc.is_null(verdicts["reason"].combine_chunks())
    return batch if pc.all(keep).as_py() else batch.filter(keep)


def append_lists(first: pa.ListArray, second: pa.ListArray) -> pa.ListArray:
    """Row by row, the items of the first list and then those of the second."""
    if isinstance(second, pa.ChunkedArray):
        second = second.combine_chunks()
    lengths = np.stack([pc.list_value_length(a).to_numpy() for a in (first, second)], axis=1)
    values = pa.concat_arrays([first.flatten(), second.flatten()])
    # Where each list starts among all items: those of `first`, then those of `second`.
    starts = np.cumsum(lengths, axis=0) - lengths
    starts[:, 1] += len(first.flatten())
    lengths, starts = lengths.ravel(), starts.ravel()
    ends = np.cumsum(lengths)
    order = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    offsets = np.concatenate([[0], ends[1::2]])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), values.take(pa.array(order)), type=RECORD
    )


def rebatch(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of BATCH_BYTES of text or BATCH_DOCUMENTS; a larger one is alone."""
    waiting: list[pa.RecordBatch] = []
    num_rows = num_bytes = 0
    for batch in batches:
        for piece in slices(batch):
            size = text_bytes(piece)
            if waiting and (
                num_rows + len(piece) > BATCH_DOCUMENTS or num_bytes + size > BATCH_BYTES
            ):
                yield _joined(waiting)
                waiting, num_rows, num_bytes = [], 0, 0
            waiting.append(piece)
            num_rows, num_bytes = num_rows + len(piece), num_bytes + size
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of BATCH_BYTES of text or BATCH_DOCUMENTS; a larger document is alone."""
    ends = np.cumsum(pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False))
    start = 0
    while start < len(batch):
        before = ends[start - 1] if start else 0
        fitting = int(np.searchsorted(ends, before + BATCH_BYTES, side="right"))
        stop = min(max(fitting, start + 1), start + BATCH_DOCUMENTS)
        yield batch.slice(start, stop - start)
        start = stop


class PartFile:
    """A parquet file that is there whole or not at all; a row group for every batch."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._schema = schema
        self._writer = pq.ParquetWriter(self._partial, schema, compression="zstd")
        self.num_rows = 0

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        if len(batch):
            table = pa.table(batch) if isinstance(batch, pa.RecordBatch) else batch
            self._writer.write_table(table.select(self._schema.names).cast(self._schema))
            self.num_rows += len(batch)

    def close(self) -> None:
        self._writer.close()
        os.replace(self._partial, self._path)

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(OSError):  # a full disk may fail the end of the file too
                self._writer.close()


def write_whole(data: bytes, path: Path) -> None:
    """Writes a file atomically: it is whole or not there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def write_json(value: Any, path: Path) -> None:
    """As `write_whole`, a value as JSON."""
    write_whole((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(), path)


def record_of(stage: str, notes: Mapping[str, np.ndarray], num_documents: int) -> pa.ListArray:
    """RECORD [N] of what a stage noted of N documents."""
    items: list[list[dict[str, str]]] = [[] for _ in range(num_documents)]
    for what, values in notes.items():
        for row in np.flatnonzero(~_null(values)):
            value = values[row]
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            items[row].append({"stage": stage, "what": what, "value": text})
    return pa.array(items, RECORD)


def _null(values: np.ndarray) -> np.ndarray:
    """Where an object array holds None or NaN: bool [N]."""
    return (values == None) | (values != values)  # noqa: E711  (elementwise)
