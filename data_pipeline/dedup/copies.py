"""Of copies the best stays: the longest text in bytes, and of equally long ones the smallest id."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dedup.ranks import Ranks
from data_pipeline.document import Verdicts
from data_pipeline.parts import PartFile
from data_pipeline.stage import Judged, decisions_path

NUM_EXAMPLES, NAMED_COPIES = 10, 5  # clusters in the details; documents named of each
DECISIONS = pa.schema([("drop", pa.bool_()), ("score", pa.float64()), ("copies", pa.uint32())])


@dataclass(frozen=True)
class Copies:
    """Clusters of copies, by rank.

    best: uint32 [N], of each document the one of its cluster that stays, itself where it is that.
    copies: uint32 [N], documents in its cluster, itself included.
    """

    best: np.ndarray
    copies: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, sizes: np.ndarray) -> "Copies":
        """From the smallest rank of each document's cluster [N] and the bytes of its text [N]."""
        copies = np.bincount(labels, minlength=len(labels)).astype(np.uint32)[labels]
        best = np.arange(len(labels), dtype=np.uint32)
        members = np.flatnonzero(copies > 1)
        order = members[np.lexsort((members, -sizes[members], labels[members]))]
        first = np.diff(labels[order], prepend=-1) != 0
        best[order] = order[first][np.cumsum(first) - 1]
        return cls(best, copies)

    @property
    def dropped(self) -> np.ndarray:
        """bool [N]."""
        return self.best != np.arange(len(self.best))

    def write(self, ranks: Ranks, folder: Path, score: np.ndarray) -> None:
        """Writes what was decided of every part; score: float64 [N], of the dropped."""
        dropped = self.dropped
        for number, part in enumerate(ranks.parts):
            rows = ranks.of_part(number)
            columns = dropped[rows], score[rows], self.copies[rows]
            with PartFile(decisions_path(folder, part), DECISIONS) as file:
                file.write(pa.table([pa.array(c) for c in columns], schema=DECISIONS))

    def details(self, ranks: Ranks) -> dict[str, Any]:
        """For the report: how many clusters have how many documents, and some clusters.

        The examples are the largest clusters and those of the smallest ids; each names what stays
        and the dropped of the smallest ids.
        """
        kept = np.flatnonzero(~self.dropped & (self.copies > 1))
        sizes, counts = np.unique(self.copies[kept], return_counts=True)
        largest = kept[np.argsort(-self.copies[kept].astype(np.int64), kind="stable")]
        half = NUM_EXAMPLES // 2
        shown = [*largest[:half].tolist(), *np.setdiff1d(kept, largest[:half])[:half].tolist()]
        others = {k: np.flatnonzero((self.best == k) & self.dropped)[:NAMED_COPIES] for k in shown}
        names = ranks.names([*shown, *(rank for some in others.values() for rank in some.tolist())])
        return {
            "clusters": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
            "examples": [
                {
                    "size": int(self.copies[rank]),
                    "kept": _phrase(names[rank]),
                    "dropped": [_phrase(names[other]) for other in others[rank].tolist()],
                }
                for rank in shown
            ],
        }


def _phrase(name: dict[str, str]) -> str:
    return f"{name['id']} ({name['source']})"


def judged(reason: str, decisions: pa.RecordBatch) -> Judged:
    """Drops what was decided; a kept document notes how many "copies" there were, if several."""
    drop, score = (decisions[name].to_numpy(False) for name in ("drop", "score"))
    copies = decisions["copies"].to_numpy(False).astype(object)
    verdicts = Verdicts.keep_all(len(decisions))
    verdicts.drop(reason, drop, score)
    copies[drop | (copies < 2)] = None
    return Judged(verdicts, notes={"copies": copies})


def keys_of(batch: pa.RecordBatch, columns: Mapping[str, pa.Array | np.ndarray]) -> pa.RecordBatch:
    """Keys of a batch: id and source, which `Ranks` needs, size in bytes, and other columns."""
    columns = {
        "id": batch["id"],
        "source": batch["source"],
        "size": pc.binary_length(batch["text"]),
        **columns,
    }
    return pa.RecordBatch.from_pydict({name: pa.array(c) for name, c in columns.items()})
