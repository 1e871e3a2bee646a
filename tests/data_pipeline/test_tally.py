"""Counts: the sum over parts is the count of the whole."""

import json

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline import tally
from data_pipeline.document import Verdicts, batch_of
from data_pipeline.stage import Judged


def judge(batch, first):
    """Every fourth document is dropped; the others are rewritten, with notes and measures."""
    numbers = np.arange(first, first + len(batch))
    verdicts = Verdicts.keep_all(len(batch))
    verdicts.drop("fourth", numbers % 4 == 0, numbers / 7)
    texts = pa.array([t.replace("7", "<7>") for t in batch["text"].to_pylist()], pa.large_string())
    notes = {
        "sevens": np.array([t.count("7") or None for t in batch["text"].to_pylist()], object),
        "parity": np.array([("even", "odd")[n % 2] for n in numbers], object),
    }
    measures = {"third": np.where(numbers % 2, numbers / 3, np.nan)}
    return Judged(verdicts, texts=texts, notes=notes, measures=measures)


@pytest.mark.parametrize("cuts", [[100], [1, 50, 100], [30, 31, 99, 100]])
def test_the_sum_over_parts_is_the_count_of_the_whole(cuts):
    batch = batch_of([f"document {i} of {i * i}" for i in range(100)])
    whole = tally.Tally()
    whole.add(batch, judge(batch, 0))
    tallies = []
    for start, stop in zip([0, *cuts], cuts, strict=False):
        part = tally.Tally()
        part.add(batch.slice(start, stop - start), judge(batch.slice(start, stop - start), start))
        tallies.append(json.loads(json.dumps(part.plain)))
    merged = tally.merged(tallies)
    assert merged == tally.merged([json.loads(json.dumps(whole.plain))])
    assert (merged["documents_in"], merged["documents_out"]) == (100, 75)
    assert merged["dropped"] == {"fourth": 25}
    assert merged["notes"]["parity"] == {"even": 50, "odd": 50}
    assert sum(merged["measures"]["third"].values()) == 50
    assert sum(merged["lengths_out"].values()) == 75
    assert all("7" in c["before"] and "<7>" in c["after"] for c in merged["changes"]["sevens"])
    assert len(merged["changes"]["sevens"]) == tally.NUM_EXAMPLES


def test_histograms_count_two_significant_digits():
    values = np.array([0.0, 0.123, 0.1249, 123456, 125.0, -3.14, np.nan, np.inf, 99.6])
    assert tally.histogram(values) == {
        "0": 1, "0.12": 2, "1.2e+05": 1, "1.2e+02": 1, "-3.1": 1, "1e+02": 1,
    }  # fmt: skip


def test_excerpts_begin_before_the_first_change():
    before = "a" * 5000 + "mail x@y.z now" + "b" * 5000
    after = "a" * 5000 + "mail <EMAIL> now" + "b" * 5000
    one, two = tally.around_first_change(before, after)
    assert "mail x@y.z now" in one and "mail <EMAIL> now" in two
    assert len(one) == len(two) == tally.EXCERPT
    assert tally.around_first_change("same", "same more") == ("same", "same more")
