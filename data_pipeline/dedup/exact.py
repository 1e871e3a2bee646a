"""Exact duplicates: equal but for case, punctuation, white space and Unicode form."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipeline.engine import DataFrame, col, daft


@dataclass(frozen=True, kw_only=True)
class ExactConfig:
    """What is not told apart when texts are compared."""

    lowercase: bool = True
    remove_punctuation: bool = False


class ExactDedup:
    """The stage: of equal documents the longest stays, of equally long ones the smallest id."""

    name = "exact_dedup"

    def __init__(self, config: ExactConfig):
        self.config = config

    def judge(self, documents: DataFrame) -> DataFrame:
        """id, text, source -> the same and reason "exact_duplicate", score = copies in all."""
        normal = col("text").normalize(
            remove_punct=self.config.remove_punctuation,
            lowercase=self.config.lowercase,
            nfd_unicode=True,
            white_space=True,
        )
        table = documents.select(
            "id", normal.hash().alias("group"), col("text").length_bytes().alias("size")
        ).to_arrow()
        return drop_copies(documents, table, "exact_duplicate")


def drop_copies(
    documents: DataFrame, table: pa.Table, reason: str, scores: np.ndarray | None = None
) -> DataFrame:
    """Keeps the best of every group: the longest, then the smallest id; drops the others.

    Args:
        documents: id, text, source.
        table: id, group, size (bytes); a row a document.
        reason: the name of the drop.
        scores: float [rows of table]; None = the number of documents in the group.
    """
    ids = table["id"].to_numpy()
    groups = table["group"].to_numpy()
    order = np.lexsort((ids.astype(str), -table["size"].to_numpy().astype(np.int64), groups))
    best = np.zeros(len(order), bool)
    best[order] = np.diff(groups[order].astype(np.uint64), prepend=np.uint64(0)) != 0
    if len(order):
        best[order[0]] = True
    if scores is None:
        _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
        scores = counts[inverse]
    dropped = ~best
    verdicts = daft.from_arrow(
        pa.table(
            {
                "id": pa.array(ids[dropped], pa.large_string()),
                "reason": pa.array([reason] * int(dropped.sum()), pa.large_string()),
                "score": pa.array(scores[dropped], pa.float64()),
            }
        )
    )
    joined = documents.join(verdicts, on="id", how="left")
    return joined.select("id", "text", "source", "reason", "score")
