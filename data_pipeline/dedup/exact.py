"""Exact duplicates: equal but for case, white space and Unicode form, and if so wished punctuation.

Texts are compared by 128 bits of hash: among 10^9 documents, two different ones are taken for
equal with a probability of 10^18 / 2^129, about 10^-21.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.dedup import copies
from data_pipeline.dedup.bands import buckets_of
from data_pipeline.dedup.copies import Copies
from data_pipeline.dedup.ranks import Ranks
from data_pipeline.engine import Tasks, col, evaluate
from data_pipeline.stage import Judged, Part

SEEDS = (0, 1)  # of the two halves of a text's hash
DOCUMENTS_A_TASK = 2**20


@dataclass(frozen=True, kw_only=True)
class ExactConfig:
    """What is not told apart when texts are compared."""

    lowercase: bool = True
    remove_punctuation: bool = False


class ExactDedup:
    """The stage: of equal documents the longest stays, of equally long ones the smallest id.

    Drops as "exact_duplicate", score = documents that are equal, itself included.
    """

    name = "exact_dedup"
    rewrites = False
    files: tuple[str, ...] = ()

    def __init__(self, config: ExactConfig):
        self.config = config

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """id, source, size and the hash of each text, in two halves."""
        normal = col("text").normalize(
            remove_punct=self.config.remove_punctuation,
            lowercase=self.config.lowercase,
            nfd_unicode=True,
            white_space=True,
        )
        texts = evaluate(batch.select(["text"]), normal.alias("text"))
        halves = [col("text").hash(seed=seed).alias(f"hash_{seed}") for seed in SEEDS]
        found = evaluate(texts, *halves).combine_chunks()
        return copies.keys_of(
            batch, {name: found[name].combine_chunks() for name in found.column_names}
        )

    def decide(self, parts: Sequence[Part], folder: Path, tasks: Tasks) -> dict[str, Any]:
        """Finds equal documents; see `Copies.details`."""
        ranks = Ranks.make(parts, folder)
        num_tasks = 1 << max(0, (len(ranks) - 1) // DOCUMENTS_A_TASK).bit_length()
        labels = np.arange(len(ranks), dtype=np.uint32)
        for members, starts in tasks.map(partial(_equal, ranks, num_tasks), range(num_tasks)):
            sizes = np.diff(starts, append=len(members))
            labels[members] = np.repeat(members[starts], sizes)
        found = Copies.of(labels, *ranks.columns("size"))
        found.write(ranks, folder, found.copies.astype(np.float64))
        return found.details(ranks)

    def judge(self, batch: pa.RecordBatch, decisions: pa.RecordBatch) -> Judged:
        """Drops all but the best of equal documents."""
        return copies.judged("exact_duplicate", decisions)


def _equal(ranks: Ranks, num_tasks: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Buckets of equal documents, of those whose hash modulo num_tasks is number."""
    first, second = ranks.columns(*(f"hash_{seed}" for seed in SEEDS))
    mine = np.flatnonzero(first % np.uint64(num_tasks) == number)
    return buckets_of(mine, first[mine], second[mine])
