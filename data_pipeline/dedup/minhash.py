"""Near duplicates: MinHash signatures of word 5-grams, LSH bands, connected components.

Broder 1997 (min-wise hashing); Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter
3 (banding). Two documents of Jaccard similarity s agree in all r hashes of a band with probability
s^r, in one of b bands with 1 - (1 - s^r)^b: of 14 bands of 8 rows, with 0.923 at s = 0.8. Here the
same hashes are by default arranged a second time, each band of other ones, which makes it 0.986.

Documents that agree in a band are candidates. Their shingles are then compared, so that a pair is
taken for near duplicates by its similarity, not by its luck: the documents are read a second time,
for sketches of those that have a candidate. Components join what is similar, directly or by way of
others.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dedup import bands, copies, shingles, similarity
from data_pipeline.dedup.components import join
from data_pipeline.dedup.copies import Copies
from data_pipeline.dedup.ranks import Ranks
from data_pipeline.engine import Tasks
from data_pipeline.stage import Judged, Part

FEW_DOCUMENTS = 20_000  # to compare so few in this process is faster than to start others
KEYS_A_TASK = 2**22  # of documents and bands, 32 MB


@dataclass(frozen=True, kw_only=True)
class MinHashConfig:
    """What near duplicates are; num_bands * rows_per_band hashes a document.

    As RefinedWeb (Penedo et al. 2023, section G.3.2): MinHashConfig(num_bands=450,
    rows_per_band=20, arrangements=1, min_similarity=None).
    """

    num_bands: int = 14
    rows_per_band: int = 8
    arrangements: int = 2  # 1 or 2: how often the hashes are made bands
    ngram_words: int = 5
    min_similarity: float | None = 0.8  # Jaccard; None: to agree in a band is enough
    seed: int = 1

    def __post_init__(self):
        for name in ("num_bands", "rows_per_band", "ngram_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.arrangements not in (1, 2):
            raise ValueError(f"arrangements must be 1 or 2, got {self.arrangements}")
        if self.min_similarity is not None and not 0 < self.min_similarity <= 1:
            raise ValueError(
                f"min_similarity is a fraction above 0 or None, got {self.min_similarity}"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to 2^32 - 1, got {self.seed}")

    @property
    def num_keys(self) -> int:
        """Keys a document: one a band."""
        return self.num_bands * self.arrangements


class MinHashDedup:
    """The stage: of near duplicates the longest stays, of equally long ones the smallest id.

    Drops as "near_duplicate", score = the Jaccard similarity to the document that stays. It is
    below min_similarity where a document is joined to that one by way of others.
    """

    name = "near_dedup"
    rewrites = False
    files: tuple[str, ...] = ()

    def __init__(self, config: MinHashConfig):
        self.config = config

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """id, source, size, whether there are words to compare, and a key for each band."""
        config = self.config
        normal = shingles.normal_texts(batch["text"])
        num_hashes = config.num_bands * config.rows_per_band
        hashes = shingles.minhashes(normal, num_hashes, config.ngram_words, config.seed)
        by_band = hashes.reshape(len(batch), config.num_bands, config.rows_per_band)
        arranged = [by_band[:, band] for band in range(config.num_bands)]
        if config.arrangements == 2:
            by_row = hashes.reshape(len(batch), config.rows_per_band, config.num_bands)
            arranged += [by_row[:, :, band] for band in range(config.num_bands)]
        columns = {_band(i): shingles.combined(x, config.seed) for i, x in enumerate(arranged)}
        has_words = pc.not_equal(normal, "")
        return copies.keys_of(batch, {"has_words": has_words, **columns})

    def decide(self, parts: Sequence[Part], folder: Path, tasks: Tasks) -> dict[str, Any]:
        """Finds near duplicates; see `Copies.details`.

        Details also: chained, the dropped documents that are less similar than min_similarity to
        the one that stays.
        """
        work = folder / "work"
        work.mkdir()
        ranks = Ranks.make(parts, work)
        if len(ranks) <= FEW_DOCUMENTS:
            tasks = Tasks(0)
        search = Search(self.config, ranks, tasks)
        labels = search.labels()
        found = Copies.of(labels, *ranks.columns("size"))
        score = search.similarity_to_best(found)
        found.write(ranks, folder, score)
        details = found.details(ranks)
        if self.config.min_similarity is not None:
            details["chained"] = int((score[found.dropped] < self.config.min_similarity).sum())
        shutil.rmtree(work)
        return details

    def judge(self, batch: pa.RecordBatch, decisions: pa.RecordBatch) -> Judged:
        """Drops all but the best of near duplicates."""
        return copies.judged("near_duplicate", decisions)


def _band(number: int) -> str:
    return f"band_{number:03d}"


@dataclass(frozen=True)
class Search:
    """The search for near duplicates among ranked documents, a step after the other."""

    config: MinHashConfig
    ranks: Ranks
    tasks: Tasks

    def labels(self) -> np.ndarray:
        """uint32 [N]: the smallest rank of each document's cluster."""
        folder, config = self.ranks.folder, self.config
        names = [_band(i) for i in range(config.num_keys)]
        # To open a part's keys costs more the more bands there are, so several are read at once.
        at_once = max(1, KEYS_A_TASK // max(1, len(self.ranks)))
        shared_out = [names[i : i + at_once] for i in range(0, len(names), at_once)]
        self.tasks.map(partial(_write_buckets, self.ranks), shared_out)
        wanted = np.zeros(len(self.ranks), bool)
        for name in names:
            wanted[_members(folder, name)] = True
        shingle = (config.ngram_words, config.seed)
        similarity.write_sketches(self.ranks, wanted, shingle, self.tasks)
        labels = np.arange(len(self.ranks), dtype=np.uint32)
        stars = [_stars(folder, name) for name in names]
        if config.min_similarity is None:
            for file in stars:
                join(labels, *bands.ranks_of(np.load(file)))
            return labels
        least = config.min_similarity
        _join_edges(labels, similarity.compare(self.ranks, "star", stars, self.tasks, least))
        # Most documents of a cluster are joined now. What is left: members of a bucket that are
        # not, though they may be more like each other than like its first.
        np.save(folder / "labels.npy", labels)
        rest = self.tasks.map(partial(_write_rest, folder), names)
        edges = similarity.compare(self.ranks, "rest", rest, self.tasks, least, known=stars)
        _join_edges(labels, edges)
        return labels

    def similarity_to_best(self, found: Copies) -> np.ndarray:
        """float64 [N]: of the dropped, the similarity to the document that stays; others 0."""
        dropped = np.flatnonzero(found.dropped)
        file = self.ranks.folder / "dropped.npy"
        np.save(file, np.sort(bands.pairs_of(found.best[dropped], dropped)))
        score = np.zeros(len(self.ranks))
        for path in similarity.compare(self.ranks, "score", [file], self.tasks):
            edges = np.load(path)
            score[edges["right"]] = edges["similarity"]
        return score


def _write_buckets(ranks: Ranks, names: Sequence[str]) -> None:
    """Writes the buckets of some bands, and their star pairs."""
    has_words, *columns = ranks.columns("has_words", *names)
    comparable = np.flatnonzero(has_words)
    for name, keys in zip(names, columns, strict=True):
        members, starts = bands.buckets_of(comparable, keys[comparable])
        np.save(ranks.folder / f"{name}.members.npy", members)
        np.save(ranks.folder / f"{name}.starts.npy", starts)
        np.save(_stars(ranks.folder, name), bands.star_pairs(members, starts))


def _write_rest(folder: Path, name: str) -> Path:
    """Writes the pairs of a band's buckets that are neither joined nor star pairs."""
    labels = np.load(folder / "labels.npy", mmap_mode="r")
    starts = np.load(folder / f"{name}.starts.npy")
    path = folder / f"{name}.rest.npy"
    np.save(path, bands.window_pairs(_members(folder, name), starts, labels))
    return path


def _members(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.members.npy")


def _stars(folder: Path, name: str) -> Path:
    return folder / f"{name}.stars.npy"


def _join_edges(labels: np.ndarray, files: Sequence[Path]) -> None:
    for file in files:
        edges = np.load(file)
        join(labels, edges["left"], edges["right"])
