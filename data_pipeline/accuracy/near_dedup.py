"""How right near_dedup is: on planted copies, and on the pairs of neardup/.

neardup/docs_*.jsonl.gz holds documents {"id", "text"}, neardup/pairs_*.jsonl.gz pairs {"a", "b",
"jaccard_5word"}, the Jaccard similarity of their sets of five words. A pair is found when its two
documents are in one cluster. Each pair is asked alone, so that a chain of versions, which
components join from end to end, says nothing of the pairs in it; "together" asks all at once.
"""

import gzip
import json
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.dedup.minhash import MinHashConfig, MinHashDedup, Search
from data_pipeline.dedup.ranks import Ranks
from data_pipeline.document import batch_of
from data_pipeline.engine import Tasks
from data_pipeline.parts import PartFile, rebatch
from nanojaxlm.errors import UserError

SIMILAR, AT_THE_BOUND = 0.8, 0.82
NUM_PLANTED, VOCABULARY, SEED = 4000, 5000, 1


def measure(data: Path) -> dict[str, float]:
    """Precision and recall at Jaccard 0.8: of planted pairs by arrangement, and of neardup/.

    Raises:
        UserError: data has no neardup/ as said above.
    """
    found: dict[str, float] = {}
    pairs = planted_pairs(NUM_PLANTED)
    jaccard = np.array([exact_jaccard(left, right) for left, right in pairs])
    edge = (jaccard >= SIMILAR) & (jaccard < AT_THE_BOUND)
    for arrangements in (2, 1):
        hits = pairs_found(pairs, MinHashConfig(arrangements=arrangements))
        name = f"planted, 14 x 8 arranged {arrangements} x"
        found |= _scores(name, jaccard, hits)
        found[f"{name}, recall of {edge.sum()} pairs of 0.80 to 0.82"] = float(hits[edge].mean())
    texts, marked = marked_pairs(data / "neardup")
    given = np.array([pair["jaccard_5word"] for pair in marked])
    hits = pairs_found([(texts[p["a"]], texts[p["b"]]) for p in marked], MinHashConfig())
    found |= _scores("neardup/", given, hits)
    label = dict(zip(texts, clusters(list(texts.values()), MinHashConfig()).tolist(), strict=True))
    hits = np.array([label[p["a"]] == label[p["b"]] for p in marked])
    return found | _scores("neardup/ together", given, hits)


def _scores(name: str, jaccard: np.ndarray, hits: np.ndarray) -> dict[str, float]:
    similar = jaccard >= SIMILAR
    return {
        f"{name}, precision of {hits.sum()} found": float(similar[hits].mean()),
        f"{name}, recall of {similar.sum()} similar of {len(hits)}": float(hits[similar].mean()),
    }


def planted_pairs(num: int) -> list[tuple[str, str]]:
    """Random texts of 60 to 400 words with copies, of whose words up to 7.5% are others."""
    rng = random.Random(SEED)
    vocabulary = [f"w{i}" for i in range(VOCABULARY)]
    pairs = []
    for _ in range(num):
        words = rng.choices(vocabulary, k=rng.randint(60, 400))
        rate = rng.uniform(0, 0.075)  # the similarities spread evenly from 0.5 to 1
        copy = [rng.choice(vocabulary) if rng.random() < rate else word for word in words]
        pairs.append((" ".join(words), " ".join(copy)))
    return pairs


def marked_pairs(folder: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """{id: text} and the pairs of neardup/."""
    documents, pairs = (
        [row for path in sorted(folder.glob(pattern)) for row in _rows(path)]
        for pattern in ("docs_*.jsonl.gz", "pairs_*.jsonl.gz")
    )
    if not documents or not pairs:
        raise UserError(f"{folder}: there are no docs_*.jsonl.gz and pairs_*.jsonl.gz")
    return {row["id"]: row["text"] for row in documents}, pairs


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def shingle_set(text: str) -> set[tuple[str, ...]]:
    """The different runs of five words of a text; of a shorter text, all of it."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))} if words else set()


def exact_jaccard(left: str, right: str) -> float:
    first, second = shingle_set(left), shingle_set(right)
    return len(first & second) / max(1, len(first | second))


def pairs_found(pairs: Sequence[tuple[str, str]], config: MinHashConfig) -> np.ndarray:
    """bool [P]: whether the documents of each pair come into one cluster, were there no others."""
    # A mark at the end of every word sets the pairs apart and leaves each pair's similarity.
    texts = [re.sub(r"(?<=\w)\b", f"q{i}", text) for i, pair in enumerate(pairs) for text in pair]
    labels = clusters(texts, config)
    return labels[::2] == labels[1::2]


def clusters(texts: Sequence[str], config: MinHashConfig) -> np.ndarray:
    """int [N]: the first text of each one's cluster."""
    ids = [f"{i:09d}" for i in range(len(texts))]
    stage = MinHashDedup(config)
    with tempfile.TemporaryDirectory() as folder:
        part = _Part("part-00000-000", Path(folder), batch_of(texts, ids=ids))
        file = None
        for batch in part.batches():
            keys = stage.keys(batch)
            file = file or PartFile(part.keys, keys.schema)
            file.write(keys)
        if file is None:
            return np.zeros(0, np.uint32)
        file.close()
        return Search(config, Ranks.make([part], Path(folder)), Tasks(0)).labels()


@dataclass(frozen=True)
class _Part:
    """Documents in memory, their keys in a folder."""

    name: str
    folder: Path
    documents: pa.RecordBatch

    @property
    def num_documents(self) -> int:
        return len(self.documents)

    @property
    def keys(self) -> Path:
        return self.folder / f"{self.name}.keys.parquet"

    def batches(self) -> Iterator[pa.RecordBatch]:
        return rebatch([self.documents])
