"""What a stage did to a part, counted so that the sum over parts is exact whatever their number."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.document import text_bytes
from data_pipeline.stage import Judged

NUM_EXAMPLES, EXCERPT = 3, 400  # of a note's changes; characters around the first change
COUNTS = ("documents_in", "documents_out", "bytes_in", "bytes_out", "worker_seconds")
Histogram = dict[str, int]  # a value of two significant digits -> how many


class Tally:
    """Counts, histograms and changes of a stage; `plain` is JSON, and `merged` adds such.

    documents and bytes in and out; dropped: {reason: documents}; lengths_in, lengths_out: bytes a
    document; measures: {name: histogram}; notes: {name: {value: documents}}; scores: {reason:
    histogram of what was held against the bound}; changes: {note: [{id, source, before, after}]}.
    """

    def __init__(self) -> None:
        self.plain: dict[str, Any] = dict.fromkeys(COUNTS, 0) | {
            "dropped": {}, "lengths_in": {}, "lengths_out": {},
            "measures": {}, "notes": {}, "scores": {}, "changes": {},
        }  # fmt: skip

    def add(self, batch: pa.RecordBatch, judged: Judged) -> None:
        """Counts a batch and what was said of it."""
        plain, reasons = self.plain, judged.verdicts.reason
        keep = reasons == None  # noqa: E711  (elementwise)
        texts = batch["text"] if judged.texts is None else judged.texts
        sizes_in = pc.binary_length(batch["text"]).to_numpy(False)
        sizes_out = pc.binary_length(texts).to_numpy(False)[keep]
        plain["documents_in"] += len(batch)
        plain["documents_out"] += int(keep.sum())
        plain["bytes_in"] += text_bytes(batch)
        plain["bytes_out"] += int(sizes_out.sum())
        _add(plain["lengths_in"], histogram(sizes_in))
        _add(plain["lengths_out"], histogram(sizes_out))
        for reason, count in Counter(reasons[~keep]).items():
            plain["dropped"][reason] = plain["dropped"].get(reason, 0) + count
            scores = judged.verdicts.score[reasons == reason]
            _add(plain["scores"].setdefault(reason, {}), histogram(scores))
        for name, values in judged.measures.items():
            _add(plain["measures"].setdefault(name, {}), histogram(np.asarray(values, float)))
        for name, values in judged.notes.items():
            found = [value for value in values if value is not None and value == value]
            texts_of = [value for value in found if isinstance(value, str)]
            numbers = np.array([v for v in found if not isinstance(v, str)], float)
            _add(plain["notes"].setdefault(name, {}), Counter(texts_of))
            _add(plain["measures"].setdefault(name, {}), histogram(numbers))
            if judged.texts is not None:
                self._add_changes(name, values, batch, judged.texts)

    def _add_changes(
        self, name: str, values: np.ndarray, batch: pa.RecordBatch, texts: pa.Array
    ) -> None:
        seen = self.plain["changes"].setdefault(name, [])
        ids = batch["id"].to_pylist()
        rows = [i for i, value in enumerate(values) if value is not None and value == value]
        found, limit = 0, seen[-1]["id"] if len(seen) == NUM_EXAMPLES else None
        for row in sorted(rows, key=ids.__getitem__):
            if found == NUM_EXAMPLES or (limit is not None and ids[row] > limit):
                break
            before, after = batch["text"][row].as_py(), texts[row].as_py()
            if before == after:
                continue
            found += 1
            before, after = around_first_change(before, after)
            source = batch["source"][row].as_py()
            seen.append({"id": ids[row], "source": source, "before": before, "after": after})
        seen.sort(key=lambda change: change["id"])
        del seen[NUM_EXAMPLES:]


def merged(tallies: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sum of plain tallies."""
    total = Tally().plain
    for tally in tallies:
        for name in COUNTS:
            total[name] += tally[name]
        for name in ("dropped", "lengths_in", "lengths_out"):
            _add(total[name], tally[name])
        for name in ("measures", "notes", "scores"):
            for key, counts in tally[name].items():
                _add(total[name].setdefault(key, {}), counts)
        for name, changes in tally["changes"].items():
            seen = total["changes"].setdefault(name, [])
            seen += changes
            seen.sort(key=lambda change: change["id"])
            del seen[NUM_EXAMPLES:]
    total["dropped"] = dict(sorted(total["dropped"].items(), key=lambda item: (-item[1], item[0])))
    for name in ("measures", "notes", "scores"):
        total[name] = {key: counts for key, counts in sorted(total[name].items()) if counts}
    total["changes"] = {key: seen for key, seen in sorted(total["changes"].items()) if seen}
    return total


def histogram(values: np.ndarray) -> Histogram:
    """How many values there are of each two significant digits; NaN is left out."""
    values = values[np.isfinite(values)].astype(float)
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        exponent = np.where(size > 0, np.floor(np.log10(size)), 0)
    unit = 10.0 ** (exponent - 1)
    found, counts = np.unique(np.round(values / unit) * unit, return_counts=True)
    result: Histogram = {}
    for value, count in zip(found, counts, strict=True):
        _add(result, {f"{value:.2g}": int(count)})
    return result


def around_first_change(before: str, after: str) -> tuple[str, str]:
    """Excerpts of two texts that begin a little before their first difference."""
    low, high = 0, min(len(before), len(after))
    while low < high:  # the longest common prefix, by halving: comparing slices is fast
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    start = max(0, low - EXCERPT // 4)
    return before[start : start + EXCERPT], after[start : start + EXCERPT]


def _add(total: dict[str, int], counts: dict[str, int]) -> None:
    for key, count in counts.items():
        total[key] = total.get(key, 0) + count
