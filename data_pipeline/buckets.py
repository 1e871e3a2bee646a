"""A global order over rows that lie in many sorted files, a stretch of it in memory at a time.

Each worker writes its rows sorted by `order`, a uniform uint64, as an Arrow file of record batches,
one for each of 2^k equal stretches of all orders. So a bucket, a stretch too, is read from each
file without the rest of it. Neither files nor buckets change the order of the rows.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ORDER, TIE = "order", "id"  # rows of one order are told apart by their id
TOP = 2**64
_STRETCH_BYTES, _MAX_STRETCHES = (
    2**18,
    2**14,
)  # of a file: small, since each bucket reads whole ones


def write_sorted(table: pa.Table, path: Path) -> None:
    """Writes a table that has the columns `order` (uint64) and `id`, sorted by them.

    The file is there whole or not at all.
    """
    table = _sorted(table)
    wanted = max(table.nbytes, 1) / _STRETCH_BYTES
    bits = min(int(np.ceil(np.log2(max(wanted, 1)))), _MAX_STRETCHES.bit_length() - 1)
    # A shift by 64 is undefined, so one stretch is made of two shifts.
    stretches = (table[ORDER].to_numpy() >> np.uint64(1)) >> np.uint64(63 - bits)
    bounds = np.searchsorted(stretches, np.arange(2**bits + 1, dtype=np.uint64))
    partial = path.with_name(path.name + ".partial")
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with (
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, table.schema, options=options) as writer,
    ):
        for start, end in itertools.pairwise(bounds):
            rows = table.slice(start, end - start).combine_chunks()
            empty = pa.RecordBatch.from_pylist([], table.schema)
            writer.write_batch(rows.to_batches()[0] if len(rows) else empty)
    os.replace(partial, path)


@dataclass(frozen=True)
class Buckets:
    """Files of `write_sorted`, read in num_buckets equal stretches, a power of two best."""

    files: tuple[Path, ...]
    num_buckets: int

    def read(self, bucket: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a bucket in the global order; columns: None = all."""
        low, high = bucket * TOP // self.num_buckets, (bucket + 1) * TOP // self.num_buckets - 1
        wanted = None if columns is None else (*columns, ORDER, TIE)
        tables = [_read(path, low, high, wanted) for path in self.files]
        return _sorted(pa.concat_tables(tables))


def num_buckets_for(num_bytes: int, bucket_bytes: int) -> int:
    """The power of two that makes buckets of at most bucket_bytes, and above half of it."""
    return 1 << max(0, -(-num_bytes // bucket_bytes) - 1).bit_length()


def _read(path: Path, low: int, high: int, columns: Sequence[str] | None) -> pa.Table:
    """The rows of a file whose orders are from low to high."""
    with pa.OSFile(str(path), "rb") as file:
        schema = pa.ipc.open_file(file).schema
        fields = [i for i, name in enumerate(schema.names) if columns is None or name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        reader = pa.ipc.open_file(file, options=options)
        count = reader.num_record_batches
        first, last = low * count // TOP, high * count // TOP
        tables = []
        for number in range(first, last + 1):
            rows = reader.get_batch(number)
            if low > number * TOP // count or high < (number + 1) * TOP // count - 1:
                bounds = (pa.scalar(bound, pa.uint64()) for bound in (low, high))
                above, below = (
                    compare(rows[ORDER], bound)
                    for compare, bound in zip(
                        (pc.greater_equal, pc.less_equal), bounds, strict=True
                    )
                )
                rows = rows.filter(pc.and_(above, below))
            tables.append(rows)
        return pa.Table.from_batches(tables, reader.schema)


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([(ORDER, "ascending"), (TIE, "ascending")]).combine_chunks()
