"""A global order over rows that lie in many sorted files, a stretch of it in memory at a time.

Each worker writes its rows sorted by `order`, a uniform uint64, in small row groups. Parquet notes
the least and the greatest order of every group, so that a bucket, a stretch of all orders, is read
from each file without the rest. Neither files nor buckets change the order of the rows.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.parts import PartFile

ORDER, TIE = "order", "id"  # rows of one order are told apart by their id
TOP = 2**64
_GROUP_BYTES = 2**20


def write_sorted(table: pa.Table, path: Path) -> None:
    """Writes a table that has the columns `order` (uint64) and `id`, sorted by them."""
    table = table.sort_by([(ORDER, "ascending"), (TIE, "ascending")]).combine_chunks()
    rows = max(1, int(len(table) * _GROUP_BYTES / max(table.nbytes, 1)))
    with PartFile(path, table.schema) as file:
        for start in range(0, len(table), rows):
            file.write(table.slice(start, rows))


@dataclass(frozen=True)
class Buckets:
    """Sorted files, read in num_buckets stretches of equal width."""

    files: tuple[Path, ...]
    num_buckets: int

    @cached_property
    def _groups(self) -> list[tuple[Path, pq.FileMetaData, np.ndarray]]:
        found = []
        for path in self.files:
            about = pq.read_metadata(path)
            place = about.schema.names.index(ORDER)  # among the leaves of nested columns
            spans = [
                about.row_group(i).column(place).statistics for i in range(about.num_row_groups)
            ]
            ends = np.array([(s.min, s.max) for s in spans], np.uint64).reshape(-1, 2)
            found.append((path, about, ends))
        return found

    def read(self, bucket: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a bucket in the global order; columns: None = all."""
        low, high = bucket * TOP // self.num_buckets, (bucket + 1) * TOP // self.num_buckets - 1
        wanted = None if columns is None else list(dict.fromkeys([*columns, ORDER, TIE]))
        tables = []
        for path, about, ends in self._groups:
            hits = np.flatnonzero((ends[:, 1] >= np.uint64(low)) & (ends[:, 0] <= np.uint64(high)))
            if len(hits):
                with pq.ParquetFile(path, metadata=about) as file:
                    tables.append(file.read_row_groups(hits.tolist(), columns=wanted))
        if not tables:
            schema = pq.read_schema(self.files[0])
            return schema.empty_table() if wanted is None else schema.empty_table().select(wanted)
        table = pa.concat_tables(tables)
        low_, high_ = pa.scalar(low, pa.uint64()), pa.scalar(high, pa.uint64())
        inside = pc.and_(pc.greater_equal(table[ORDER], low_), pc.less_equal(table[ORDER], high_))
        table = table.filter(inside)
        return table.sort_by([(ORDER, "ascending"), (TIE, "ascending")]).combine_chunks()
