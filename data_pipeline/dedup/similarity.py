"""Exact similarities of pairs of documents, from sketches of those that have a candidate.

The sketch of a document is the set of its shingles as 32-bit hashes; of a document of more than
MAX_SKETCH shingles, that many of the smallest, which estimate the similarity with a standard error
below 0.002 (bottom-k sketches, Cohen and Kaplan 2007).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.dedup.bands import pairs_between, ranges, ranks_of
from data_pipeline.dedup.ranks import Ranks
from data_pipeline.dedup.shingles import MAX_SKETCH, normal_texts, sketches
from data_pipeline.engine import Tasks

EDGE = np.dtype([("left", np.uint32), ("right", np.uint32), ("similarity", np.float64)])
PAIRS_A_TASK = 2**21  # 16 MB; counted before repeated pairs are made one
HASHES_AT_ONCE = 2**19  # of sketches compared in one go, some 50 MB
COUNTS, STARTS, PARTS = "sketch_counts.npy", "sketch_starts.npy", "sketch_parts.npy"


def write_sketches(ranks: Ranks, wanted: np.ndarray, shingle: tuple[int, int], tasks: Tasks):
    """Reads the documents again and writes the sketches of the wanted ones beside the ranks.

    Args:
        wanted: bool [N], by rank.
        shingle: words a shingle, seed.
    """
    np.save(ranks.folder / "wanted.npy", wanted)
    numbers = list(range(len(ranks.parts)))
    files = tasks.map(partial(_write_part, ranks, shingle), numbers)
    counts, starts = np.zeros(len(ranks), np.uint32), np.zeros(len(ranks), np.int64)
    part_of = np.zeros(len(ranks), np.uint32)
    for number, file in zip(numbers, files, strict=True):
        found = np.load(file)
        of_part = ranks.of_part(number)
        counts[of_part], part_of[of_part] = found, number
        starts[of_part] = np.cumsum(found, dtype=np.int64) - found
    for name, values in ((COUNTS, counts), (STARTS, starts), (PARTS, part_of)):
        np.save(ranks.folder / name, values)


def _write_part(ranks: Ranks, shingle: tuple[int, int], number: int) -> Path:
    part = ranks.parts[number]
    wanted = np.load(ranks.folder / "wanted.npy", mmap_mode="r")[ranks.of_part(number)]
    counts, row = np.zeros(part.num_documents, np.uint32), 0
    with open(_sketches_path(ranks, number), "wb") as file:
        for batch in part.batches() if wanted.any() else ():
            rows = np.flatnonzero(wanted[row : row + len(batch)])
            if len(rows):
                normal = normal_texts(batch["text"].take(pa.array(rows)))
                values, counts[row + rows] = sketches(normal, *shingle)
                file.write(values.data)
            row += len(batch)
    path = _sketches_path(ranks, number).with_suffix(".counts.npy")
    np.save(path, counts)
    return path


def _sketches_path(ranks: Ranks, number: int) -> Path:
    return ranks.folder / f"{ranks.parts[number].name}.sketches"


def compare(
    ranks: Ranks,
    name: str,
    files: Sequence[Path],
    tasks: Tasks,
    min_similarity: float = 0.0,
    known: Sequence[Path] = (),
) -> list[Path]:
    """Compares pairs whose sketches were written.

    Args:
        name: begins the names of the files that come out, in the folder of the ranks.
        files: sorted pairs, which may repeat.
        known: files of pairs that are left out.

    Returns:
        Files of EDGE arrays, the different pairs of min_similarity at least.
    """
    shared_out = list(enumerate(ranges(files, PAIRS_A_TASK)))
    run = partial(_compare_range, ranks, name, tuple(files), tuple(known), min_similarity)
    return tasks.map(run, shared_out)


def _compare_range(
    ranks: Ranks,
    name: str,
    files: Sequence[Path],
    known: Sequence[Path],
    min_similarity: float,
    item: tuple[int, tuple[int, int]],
) -> Path:
    number, (low, high) = item
    pairs = pairs_between(files, low, high)
    if known:
        pairs = np.setdiff1d(pairs, pairs_between(known, low, high), assume_unique=True)
    edges = Sketches(ranks).edges(pairs, min_similarity)
    path = ranks.folder / f"{name}-{number:05d}.npy"
    np.save(path, edges)
    return path


@dataclass(frozen=True)
class Sketches:
    """Reads sketches and compares them."""

    ranks: Ranks

    def edges(self, pairs: np.ndarray, min_similarity: float) -> np.ndarray:
        """EDGE [E]: the pairs of min_similarity at least."""
        counts = np.load(self.ranks.folder / COUNTS, mmap_mode="r")
        left, right = ranks_of(pairs)
        sizes = np.stack([counts[left], counts[right]]).astype(np.int64)
        # Sets of such different sizes cannot be so similar.
        possible = sizes.min(axis=0) / np.maximum(sizes.max(axis=0), 1) >= min_similarity
        left, right, total = left[possible], right[possible], sizes.sum(axis=0)[possible]
        found = [np.zeros(0, EDGE)]
        at_once = np.cumsum(total) // HASHES_AT_ONCE
        for some in np.split(np.arange(len(left)), np.flatnonzero(np.diff(at_once)) + 1):
            similarity = self.similarities(left[some], right[some])
            near = similarity >= min_similarity
            edges = np.empty(int(near.sum()), EDGE)
            edges["left"], edges["right"] = left[some][near], right[some][near]
            edges["similarity"] = similarity[near]
            found.append(edges)
        return np.concatenate(found)

    def similarities(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """float64 [P]: the Jaccard similarities of pairs of ranks; 0 where a set is empty."""
        ranks, inverse = np.unique(np.concatenate([left, right]), return_inverse=True)
        values, starts, counts = self._read(ranks)
        num = len(left)
        # The largest hash that both sketches would hold if it were in their set.
        whole = counts < MAX_SKETCH
        limit = np.full(len(ranks), 2**32 - 1, np.uint64)
        limit[~whole] = values[starts[~whole] + MAX_SKETCH - 1]
        limit = np.minimum(limit[inverse[:num]], limit[inverse[num:]])
        sets, sizes = [], []
        for side in (inverse[:num], inverse[num:]):
            sizes.append(counts[side])
            pair = np.repeat(np.arange(num, dtype=np.uint64), counts[side])
            place = np.arange(len(pair)) + np.repeat(
                starts[side] - (np.cumsum(counts[side]) - counts[side]), counts[side]
            )
            hashes = values[place].astype(np.uint64)
            if not whole[side].all() or not whole.all():
                inside = hashes <= limit[pair.astype(np.int64)]
                pair, hashes = pair[inside], hashes[inside]
                sizes[-1] = np.bincount(pair.astype(np.int64), minlength=num)
            sets.append((pair << np.uint64(32)) | hashes)
        first, second = sets
        if not len(first) or not len(second):
            return np.zeros(num)
        at = np.minimum(np.searchsorted(first, second), len(first) - 1)
        common = second[first[at] == second] >> np.uint64(32)
        shared = np.bincount(common.astype(np.int64), minlength=num)
        return shared / np.maximum(sizes[0] + sizes[1] - shared, 1)

    def _read(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The sketches of ascending ranks: values uint32, and where each starts, and its count."""
        folder = self.ranks.folder
        counts, starts, part_of = (
            np.load(folder / name, mmap_mode="r")[wanted] for name in (COUNTS, STARTS, PARTS)
        )
        counts = counts.astype(np.int64)
        pieces: list[bytes] = [b""] * len(wanted)
        for part in np.unique(part_of).tolist():
            file = os.open(_sketches_path(self.ranks, part), os.O_RDONLY)
            try:
                for i in np.flatnonzero(part_of == part).tolist():
                    pieces[i] = os.pread(file, 4 * int(counts[i]), 4 * int(starts[i]))
            finally:
                os.close(file)
        values = np.frombuffer(b"".join(pieces), np.uint32)
        return values, np.cumsum(counts) - counts, counts
