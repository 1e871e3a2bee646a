"""Columns of uint64 on disk, cut into slices, so that no comparison needs all of them in memory.

Rows go from parts to buckets, the slices of equal leading bits of their hash, so that rows of equal
hash meet; and from buckets back to the parts whose documents they belong to. A place in the corpus
is one uint64, the rank of a document in its upper half and a place within it in its lower one: the
order of places is that of (id, position).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.dedup.ranks import Ranks
from data_pipeline.stage import Part

NUM_SLICES_BITS = 10  # of hashes; buckets are made of some of these slices
ROWS_A_BUCKET = 2**21  # sorting so many takes some 200 MB
PART_OF = "part_of.npy"
HALF, LOW = np.uint64(32), np.uint64(2**32 - 1)


def write_slices(path: Path, slices: np.ndarray, num_slices: int, *columns: np.ndarray) -> Path:
    """Writes rows by their slice; slices: int [M], columns: uint64 [M] each."""
    order = np.argsort(slices, kind="stable")
    np.save(path, np.stack([column[order] for column in columns]))
    counts = np.bincount(slices, minlength=num_slices)
    np.save(_offsets_path(path), np.concatenate([[0], np.cumsum(counts)]))
    return path


def read_slices(paths: Sequence[Path], first: int, last: int) -> np.ndarray:
    """uint64 [C, K]: the rows of slices first to last - 1 of all files."""
    found = []
    for path in paths:
        offsets = np.load(_offsets_path(path), mmap_mode="r")
        found.append(np.array(np.load(path, mmap_mode="r")[:, offsets[first] : offsets[last]]))
    return np.concatenate(found, axis=1)


def _offsets_path(path: Path) -> Path:
    return path.with_name(path.stem + ".offsets.npy")


def remove(paths: Sequence[Path]) -> None:
    """Removes files that are not needed any more."""
    for path in paths:
        path.unlink()
        _offsets_path(path).unlink()


def write_hashed(path: Path, hashes: np.ndarray, *columns: np.ndarray) -> Path:
    """Writes rows by the leading bits of their hash, the first of their columns."""
    slices = (hashes >> np.uint64(64 - NUM_SLICES_BITS)).astype(np.int64)
    return write_slices(path, slices, 1 << NUM_SLICES_BITS, hashes, *columns)


def buckets(paths: Sequence[Path]) -> list[tuple[int, int, int]]:
    """(number, first, last) of the buckets of hashed files: slices of about ROWS_A_BUCKET rows."""
    total = np.zeros((1 << NUM_SLICES_BITS) + 1, np.int64)
    for path in paths:
        total += np.load(_offsets_path(path))
    cuts, found = [0], []
    for place in range(1, len(total) - 1):
        if total[place + 1] - total[cuts[-1]] > ROWS_A_BUCKET:
            cuts.append(place)
    for number, (first, last) in enumerate(zip(cuts, [*cuts[1:], len(total) - 1], strict=True)):
        found.append((number, first, last))
    return found


@dataclass(frozen=True)
class Route:
    """The way from ranks to parts, and of the places in a part to its rows."""

    ranks: Ranks

    @classmethod
    def make(cls, ranks: Ranks) -> "Route":
        """Writes beside the ranks which part has each document."""
        part_of = np.zeros(len(ranks), np.uint32)
        for number in range(len(ranks.parts)):
            part_of[ranks.of_part(number)] = number
        np.save(ranks.folder / PART_OF, part_of)
        return cls(ranks)

    def write(self, path: Path, places: np.ndarray, *columns: np.ndarray) -> Path:
        """Writes rows by the part of their places, the first of their columns."""
        part_of = np.load(self.ranks.folder / PART_OF, mmap_mode="r")
        slices = part_of[(places >> HALF).astype(np.int64)].astype(np.int64)
        return write_slices(path, slices, len(self.ranks.parts), places, *columns)

    def read(self, paths: Sequence[Path], number: int) -> np.ndarray:
        """uint64 [C, K]: the rows that belong to a part, by their place in the part.

        That has the document's row in the part instead of its rank, and is the first column.
        """
        found = read_slices(paths, number, number + 1)
        rank = self.ranks.of_part(number)
        order = np.argsort(rank)
        row = order[np.searchsorted(rank[order], (found[0] >> HALF).astype(np.uint32))]
        found[0] = (row.astype(np.uint64) << HALF) | (found[0] & LOW)
        return found[:, np.argsort(found[0], kind="stable")]

    def places(self, number: int, in_part: np.ndarray) -> np.ndarray:
        """uint64: places in the corpus, of places in a part."""
        rank = self.ranks.of_part(number)[(in_part >> HALF).astype(np.int64)]
        return (rank.astype(np.uint64) << HALF) | (in_part & LOW)

    def texts(self, ranks: Sequence[int]) -> dict[int, tuple[str, str]]:
        """{rank: (id, text)} of a few documents, read from their parts again."""
        found: dict[int, tuple[str, str]] = {}
        part_of = np.load(self.ranks.folder / PART_OF, mmap_mode="r")
        for number in sorted({int(part_of[rank]) for rank in ranks}):
            rank_of, row = self.ranks.of_part(number), 0
            missing = set(rank_of[np.isin(rank_of, np.array(ranks, np.uint32))].tolist())
            for batch in self.ranks.parts[number].batches():
                here = rank_of[row : row + len(batch)].tolist()
                for i in [i for i, rank in enumerate(here) if rank in missing]:
                    found[here[i]] = batch["id"][i].as_py(), batch["text"][i].as_py()
                    missing.remove(here[i])
                row += len(batch)
                if not missing:
                    break
        return found


def lists_of(counts: np.ndarray, values: np.ndarray) -> pa.Array:
    """A list for each of N rows: counts int [N], values, all of them one after the other."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def groups_of(part: Part, place: str, *names: str) -> Iterator[tuple[int, list[np.ndarray]]]:
    """What the keys of a part list of its documents, some documents at a time.

    Yields:
        The number of documents; then uint64 [M], the place in the part, whose lower half is that of
        the column `place`, and the other columns [M].
    """
    file, row = pq.ParquetFile(part.keys), 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[place, *names], use_threads=False)
        columns = [table[name].combine_chunks() for name in (place, *names)]
        counts = columns[0].value_lengths().to_numpy(zero_copy_only=False)
        rows = np.repeat(np.arange(row, row + len(counts), dtype=np.uint64), counts)
        within, *others = (column.flatten().to_numpy(zero_copy_only=False) for column in columns)
        yield len(counts), [(rows << HALF) | within.astype(np.uint64), *others]
        row += len(counts)


def between(rows: np.ndarray, first: int, last: int) -> np.ndarray:
    """uint64 [C, K] of [C, M], by place in a part: those of documents first to last - 1."""
    limits = np.array([first, last], np.uint64) << HALF
    return rows[:, slice(*np.searchsorted(rows[0], limits))]


def first_of_groups(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts rows by keys, the first key first; fastest where that one's values mostly differ.

    Returns:
        order int64 [M], and new bool [M], in that order: where any key but the last differs from
        that of the row before.
    """
    order = np.argsort(keys[0])
    new = _changes(keys[0][order])
    shared = np.flatnonzero(~new | ~np.append(new[1:], True)[: len(new)])
    rows, group = order[shared], np.cumsum(new)[shared]
    rows = rows[np.lexsort((*(key[rows] for key in keys[:0:-1]), group))]
    order[shared] = rows
    for key in keys[1:-1]:
        new[shared] |= _changes(key[rows])
    return order, new


def _changes(values: np.ndarray) -> np.ndarray:
    """bool [M]: differs from the one before; the first does."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return new
