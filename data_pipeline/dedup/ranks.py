"""The documents of all parts in one order, that of their ids: it does not depend on the parts.

Comparisons number documents by their rank in it, so that "the smallest id" is the smallest number,
and so that nothing which they find depends on how the documents fell into parts.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.stage import Part

RANKS = "ranks.npy"


@dataclass(frozen=True)
class Ranks:
    """Where N documents stand in the order of their ids; can be pickled.

    parts: their keys have columns "id" and "source", a row a document.
    folder: holds ranks.npy, uint32 [N], of the documents in the order of the parts.
    """

    parts: tuple[Part, ...]
    folder: Path

    @classmethod
    def make(cls, parts: Sequence[Part], folder: Path) -> "Ranks":
        """Sorts the ids; of equal ones the earlier in the parts is the smaller."""
        ids = [pq.read_table(part.keys, columns=["id"])["id"] for part in parts]
        chunks = [chunk for column in ids for chunk in column.chunks]
        order = pc.sort_indices(pa.chunked_array(chunks, pa.large_string())).to_numpy()
        ranks = np.empty(len(order), np.uint32)
        ranks[order] = np.arange(len(order), dtype=np.uint32)
        np.save(folder / RANKS, ranks)
        del ids, chunks, order
        pa.default_memory_pool().release_unused()  # else this process keeps what the ids took
        return cls(tuple(parts), folder)

    def __len__(self) -> int:
        return sum(part.num_documents for part in self.parts)

    @property
    def offsets(self) -> np.ndarray:
        """int64 [parts + 1]: where each part begins, in the order of the parts."""
        return np.cumsum([0] + [part.num_documents for part in self.parts])

    def of_part(self, number: int) -> np.ndarray:
        """uint32 [documents]: the ranks of a part's documents, in its order."""
        start, end = self.offsets[number : number + 2]
        return np.array(np.load(self.folder / RANKS, mmap_mode="r")[start:end])

    def columns(self, *names: str) -> list[np.ndarray]:
        """[N] each: columns of the keys, by rank."""
        values: list[np.ndarray] = []
        for number, part in enumerate(self.parts):
            table = pq.read_table(part.keys, columns=list(names), use_threads=False)
            if not values:
                values = [np.empty(len(self), str(table[n].type)) for n in names]
            rows = self.of_part(number)
            for column, name in zip(values, names, strict=True):
                column[rows] = table[name].to_numpy()
        return values

    def names(self, wanted: Sequence[int]) -> dict[int, dict[str, str]]:
        """{rank: {"id", "source"}} of some documents."""
        found: dict[int, dict[str, str]] = {}
        ranks = np.load(self.folder / RANKS, mmap_mode="r")
        places = np.flatnonzero(np.isin(ranks, np.array(wanted, np.uint32)))
        part_of = np.searchsorted(self.offsets, places, side="right") - 1
        for number, rows in _grouped(part_of, places):
            table = pq.read_table(self.parts[number].keys, columns=["id", "source"])
            names = table.take(pa.array(rows - self.offsets[number])).to_pylist()
            found |= dict(zip(ranks[rows].tolist(), names, strict=True))
        return found


def _grouped(groups: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for group in np.unique(groups).tolist():
        yield group, values[groups == group]
