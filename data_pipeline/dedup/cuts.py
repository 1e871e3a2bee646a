"""What a comparison cuts out of documents: spans of their words or paragraphs."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from data_pipeline.dedup.spill import HALF, LOW

CUTS = pa.schema([("starts", pa.list_(pa.uint32())), ("ends", pa.list_(pa.uint32()))])


def union(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spans [start, end) that together cover what the given ones do, apart and ascending."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    new = np.ones(len(starts), bool)
    new[1:] = starts[1:] > ends[:-1]
    last = np.append(new[1:], True)[: len(new)]
    return starts[new], ends[last]


def cuts_table(first: int, num_documents: int, starts: np.ndarray, ends: np.ndarray) -> pa.Table:
    """CUTS of documents of a part from `first` on; starts, ends: uint64, places in the part."""
    rows = np.arange(first, first + num_documents + 1, dtype=np.uint64) << HALF
    offsets = pa.array(np.searchsorted(starts, rows).astype(np.int32))
    lists = [
        pa.ListArray.from_arrays(offsets, pa.array((places & LOW).astype(np.uint32)))
        for places in (starts, ends)
    ]
    return pa.table(lists, schema=CUTS)


def cuts_of(decisions: pa.RecordBatch) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(row, starts, ends) of the documents that are cut."""
    starts, ends = decisions["starts"], decisions["ends"]
    sizes = starts.value_lengths().to_numpy(False)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    first, last = (lists.flatten().to_numpy().astype(np.int64) for lists in (starts, ends))
    for row in np.flatnonzero(sizes).tolist():
        inside = slice(offsets[row], offsets[row + 1])
        yield row, first[inside], last[inside]
