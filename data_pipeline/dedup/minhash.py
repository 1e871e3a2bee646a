"""Near duplicates: MinHash signatures of word 5-grams, LSH bands, connected components.

Broder 1997 (min-wise hashing), Leskovec et al., Mining of Massive Datasets, chapter 3 (banding).
Two documents of Jaccard similarity s share a band of r rows with probability s^r, one of b bands
with 1 - (1 - s^r)^b. Candidates are then judged by the whole signature: the fraction of equal
hashes estimates s with a standard error of sqrt(s (1 - s) / (b r)).
"""

from dataclasses import dataclass

import numpy as np

from data_pipeline.dedup.exact import drop_copies
from data_pipeline.engine import DataFrame, col

ALL_PAIRS = 32  # buckets up to this size compare all pairs, larger ones neighbours and the first


@dataclass(frozen=True, kw_only=True)
class MinHashConfig:
    """num_bands * rows_per_band hashes a document."""

    num_bands: int = 28
    rows_per_band: int = 4
    ngram_words: int = 5
    min_similarity: float = 0.72  # estimated; 2 standard errors (112 hashes) below Jaccard 0.8
    seed: int = 1

    def __post_init__(self):
        for name in ("num_bands", "rows_per_band", "ngram_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.min_similarity <= 1:
            raise ValueError(f"min_similarity is a fraction above 0, got {self.min_similarity}")


class MinHashDedup:
    """The stage: of near duplicates the longest stays, of equally long ones the smallest id."""

    name = "near_dedup"

    def __init__(self, config: MinHashConfig):
        self.config = config

    def judge(self, documents: DataFrame) -> DataFrame:
        """id, text, source -> and reason "near_duplicate", score = the highest similarity seen."""
        config = self.config
        normal = col("text").normalize(
            remove_punct=True, lowercase=True, nfd_unicode=True, white_space=True
        )
        signature = normal.minhash(
            num_hashes=config.num_bands * config.rows_per_band,
            ngram_size=config.ngram_words,
            seed=config.seed,
        )
        table = documents.select(
            "id", signature.alias("signature"), col("text").length_bytes().alias("size")
        ).to_arrow()
        column = table["signature"].combine_chunks()
        signatures = column.flatten().to_numpy().reshape(len(column), -1)
        groups, similarity = cluster(signatures, config)
        table = table.drop_columns(["signature"]).append_column("group", [groups])
        return drop_copies(documents, table, "near_duplicate", similarity)


def cluster(signatures: np.ndarray, config: MinHashConfig) -> tuple[np.ndarray, np.ndarray]:
    """Groups near duplicates.

    Args:
        signatures: uint32 [N, num_bands * rows_per_band].

    Returns:
        groups int64 [N], the smallest index of the connected component; similarity float64 [N],
        the highest estimate with any candidate, 0 where there was none.
    """
    left, right = _candidates(signatures, config)
    similarity = np.zeros(len(signatures))
    near = np.zeros(len(left), bool)
    for start in range(0, len(left), 2**16):  # bounds the memory of the comparison
        part = slice(start, start + 2**16)
        equal = (signatures[left[part]] == signatures[right[part]]).mean(axis=1)
        near[part] = equal >= config.min_similarity
        np.maximum.at(similarity, left[part], equal)
        np.maximum.at(similarity, right[part], equal)
    return components(len(signatures), left[near], right[near]), similarity


def components(num: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int64 [num]: the smallest node of each node's connected component; left, right are edges."""
    parent = np.arange(num)
    while True:
        low = np.minimum(parent[left], parent[right])
        before = parent.copy()
        np.minimum.at(parent, parent[left], low)
        np.minimum.at(parent, parent[right], low)
        parent = parent[parent]
        if (parent == before).all():
            return parent


def _candidates(signatures: np.ndarray, config: MinHashConfig) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i < j), each once, that share a bucket of some band."""
    num = len(signatures)
    pairs = [np.zeros(0, np.int64)]
    for band in range(config.num_bands):
        start = band * config.rows_per_band
        rows = np.ascontiguousarray(signatures[:, start : start + config.rows_per_band])
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
        _, bucket = np.unique(keys, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        bucket = bucket[order]
        first = np.flatnonzero(np.diff(bucket, prepend=-1))
        size = np.diff(np.append(first, num))
        small = np.repeat(size <= ALL_PAIRS, size)
        for step in range(1, min(ALL_PAIRS, num)):
            same = bucket[step:] == bucket[:-step]
            if not same.any():
                break
            if step > 1:
                same &= small[step:]
            pairs.append(order[:-step][same] * num + order[step:][same])
        heads = np.repeat(order[first], size)
        others = ~small & (order != heads)
        pairs.append(heads[others] * num + order[others])
    found = np.unique(np.concatenate(pairs))
    return found // max(num, 1), found % max(num, 1)
