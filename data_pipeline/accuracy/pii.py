"""Personal data against texts whose spans are marked.

DATA/pii/synth_dataset_v2.json.gz is the data set of presidio-research: 1500 sentences from
templates, filled with invented values. A marked span is recalled where a finding of its kind
overlaps it, and a finding is right where it overlaps a marked span of its kind. Of dates only those
count that a text calls a birth's. The rules were written with an eye on these texts, and the names
come from lists like those of the gazetteer, so real texts are harder.
"""

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_pipeline.document import batch_of
from data_pipeline.pii import KINDS, Pii, PiiConfig
from data_pipeline.pii.stage import find
from data_pipeline.pii.text import Text

# Our kind -> the marks that it may answer; the first are those whose recall counts.
MARKS = {
    "email": ("EMAIL_ADDRESS",),
    "card": ("CREDIT_CARD",),
    "iban": ("IBAN_CODE",),
    "ip": ("IP_ADDRESS",),
    "phone": ("PHONE_NUMBER",),
    "national_number": ("US_SSN", "US_DRIVER_LICENSE"),
    "street": ("STREET_ADDRESS",),
    "birth_date": ("DATE_TIME",),
    "person": ("PERSON",),
}

_COPIES = 8  # of all texts in the batch that is timed: 1 MB


def measure(data: Path) -> dict[str, float]:
    """Precision and recall by kind, and MB/s of the stage on these texts, one core."""
    path = data / "pii" / "synth_dataset_v2.json.gz"
    rows = json.loads(gzip.decompress(path.read_bytes()))
    config = PiiConfig(kinds=KINDS)
    found: dict[str, float] = {"texts": len(rows)}
    counts = Counter[tuple[str, str]]()
    for row in rows:
        counts += judged(row, config)
    for kind in MARKS:
        marked, given = counts[kind, "marked"], counts[kind, "given"]
        found[f"{kind} marked"] = marked
        found[f"{kind} precision"] = counts[kind, "right"] / given if given else 0.0
        found[f"{kind} recall"] = counts[kind, "recalled"] / marked if marked else 0.0
    batch = batch_of([row["full_text"] for row in rows] * _COPIES)
    size = sum(len(row["full_text"].encode()) for row in rows) * _COPIES
    for what, kinds in (("", PiiConfig().kinds), (" with person", KINDS)):
        stage = Pii(PiiConfig(kinds=kinds))
        seconds = []
        for _ in range(3):
            start = time.process_time()
            stage.judge(batch)
            seconds.append(time.process_time() - start)
        found[f"MB/s{what}"] = size / min(seconds) / 1e6
    return found


def judged(row: Mapping[str, Any], config: PiiConfig) -> Counter[tuple[str, str]]:
    """(kind, "marked" | "recalled" | "given" | "right") -> how many, of one marked text."""
    full: str = row["full_text"]
    text = Text([full.encode()])
    spans = find(text, config)
    # character positions, as the marks are
    given = [(_place(text, s.start), _place(text, s.end), s.kind) for s in spans]
    counts = Counter[tuple[str, str]]()
    for kind, names in MARKS.items():
        marks = _marks(row, names)
        ours = [(start, end) for start, end, k in given if k == kind]
        if kind == "birth_date":
            marks = [m for m in marks if "birth" in full.lower() or "born" in full.lower()]
        counts[kind, "marked"] = len(marks)
        counts[kind, "recalled"] = sum(_meets(mark, ours) for mark in marks)
        counts[kind, "given"] = len(ours)
        counts[kind, "right"] = sum(_meets(span, marks) for span in ours)
    return counts


def _marks(row: Mapping[str, Any], names: Iterable[str]) -> list[tuple[int, int]]:
    return [
        (span["start_position"], span["end_position"])
        for span in row["spans"]
        if span["entity_type"] in names
    ]


def _meets(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _place(text: Text, place: int) -> int:
    return len(text.data[int(text.starts[0]) : place].decode())
