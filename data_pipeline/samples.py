"""Samples of what stages dropped, to be browsed: of each reason the smallest ids.

The smallest ids, not the first ones met: so they are the same however documents fall into parts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.document import Verdicts
from data_pipeline.parts import PartFile

PER_REASON, MAX_CHARACTERS = 200, 10_000  # documents; a longer text is cut
NUM_EXAMPLES, EXCERPT = 3, 300  # of a reason in the report; characters
SAMPLES = "dropped.parquet"
SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("source", pa.large_string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("text", pa.large_string()),
    ]
)


class Samples:
    """The documents of a part that stand for those which a stage dropped."""

    def __init__(self, stage: str):
        self._stage, self._seen = stage, dict[str, list[dict[str, Any]]]()

    def add(self, batch: pa.RecordBatch, verdicts: Verdicts) -> None:
        """Looks at the dropped documents of a batch."""
        rows = np.flatnonzero(verdicts.reason != None)  # noqa: E711  (elementwise)
        for row, id_ in zip(rows, batch["id"].take(pa.array(rows)).to_pylist(), strict=True):
            reason = verdicts.reason[row]
            seen = self._seen.setdefault(reason, [])
            if len(seen) >= PER_REASON and id_ > seen[-1]["id"]:
                continue
            score = verdicts.score[row]
            seen.append(
                {
                    "id": id_,
                    "source": batch["source"][row].as_py(),
                    "stage": self._stage,
                    "reason": reason,
                    "score": None if np.isnan(score) else float(score),
                    "text": batch["text"][row].as_py()[:MAX_CHARACTERS],
                }
            )
            seen.sort(key=lambda sample: sample["id"])
            del seen[PER_REASON:]

    def write(self, folder: Path, part: str) -> None:
        """Writes folder/PART.dropped.parquet."""
        rows = [sample for reason in sorted(self._seen) for sample in self._seen[reason]]
        with PartFile(samples_path(folder, part), SCHEMA) as file:
            file.write(pa.Table.from_pylist(rows, SCHEMA))


def merge_samples(folder: Path, parts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Writes folder/dropped.parquet from the parts' samples; examples of each reason."""
    total: pa.Table = SCHEMA.empty_table()
    for part in parts:
        found = pq.read_table(samples_path(folder, part), schema=SCHEMA)
        if len(found):
            total = _smallest(pa.concat_tables([total, found]))
    with PartFile(folder / SAMPLES, SCHEMA) as file:
        file.write(total)
    examples: dict[str, list[dict[str, Any]]] = {}
    for reason, row in zip(total["reason"].to_pylist(), range(len(total)), strict=True):
        shown = examples.setdefault(reason, [])
        if len(shown) < NUM_EXAMPLES:
            sample = {name: total[name][row].as_py() for name in ("id", "source", "score", "text")}
            sample["excerpt"] = sample.pop("text")[:EXCERPT]
            shown.append(sample)
    return examples


def samples_path(folder: Path, part: str) -> Path:
    """Where a part's samples lie until the stage is finished."""
    return folder / f"{part}.dropped.parquet"


def _smallest(table: pa.Table) -> pa.Table:
    """Rows by reason and id, PER_REASON of each reason."""
    table = table.sort_by([("reason", "ascending"), ("id", "ascending")])
    reasons = table["reason"].to_numpy()
    first = np.flatnonzero(np.concatenate([[True], reasons[1:] != reasons[:-1]]))
    place = np.arange(len(reasons)) - np.repeat(first, np.diff(np.append(first, len(reasons))))
    return table.filter(pa.array(place < PER_REASON))
