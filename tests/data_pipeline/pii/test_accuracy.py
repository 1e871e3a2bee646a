"""The marked texts of presidio-research, where they are there; prose and code without any."""

import gzip
import json
import sysconfig
from pathlib import Path

import pytest

from data_pipeline.accuracy.pii import judged, measure
from data_pipeline.document import batch_of
from data_pipeline.pii import KINDS, Pii, PiiConfig

DATA = Path(__file__).parents[4] / "shared/data"
FIXED_FORMS = ("email", "phone", "ip", "card", "iban", "national_number")


@pytest.mark.slow
def test_fixed_forms_are_found():
    if not (DATA / "pii").is_dir():
        pytest.skip("the marked texts are not here")
    pytest.importorskip("faker", reason="names of persons need faker")
    found = measure(DATA)
    for kind in FIXED_FORMS:
        assert found[f"{kind} recall"] >= 0.98, kind
        assert found[f"{kind} precision"] >= 0.95, kind
    assert found["street recall"] >= 0.75
    assert found["street precision"] >= 0.95
    assert found["person precision"] >= 0.8


def test_spans_are_compared_by_characters():
    row = {
        "full_text": "é é é a@b.de and 151.101.1.69",
        "spans": [
            {"entity_type": "EMAIL_ADDRESS", "start_position": 6, "end_position": 12},
            {"entity_type": "IP_ADDRESS", "start_position": 0, "end_position": 3},
        ],
    }
    counts = judged(row, PiiConfig(kinds=tuple(kind for kind in KINDS if kind != "person")))
    assert counts["email", "right"] == counts["email", "recalled"] == 1
    assert counts["ip", "marked"] == counts["ip", "given"] == 1
    assert counts["ip", "right"] == counts["ip", "recalled"] == 0


def test_ordinary_prose_is_left_alone():
    path = DATA / "lm/novels_val.jsonl.gz"
    if not path.exists():
        pytest.skip("the novels are not here")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    notes = Pii(PiiConfig()).judge(batch_of(texts)).notes
    size = sum(map(len, texts))
    assert sum(sum(n or 0 for n in note) for note in notes.values()) <= size / 1e6


def test_numbers_in_code_are_left_alone():
    """The standard library holds addresses of its authors and of hosts, and no person's number."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    texts = [path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.py"))]
    kinds = tuple(kind for kind in KINDS if kind not in ("email", "ip", "person"))
    notes = Pii(PiiConfig(kinds=kinds)).judge(batch_of(texts)).notes
    assert sum(sum(n or 0 for n in note) for note in notes.values()) <= 2
