"""Equal but for case and space: one stays, and it is the one the rule says."""

import pyarrow as pa
import pytest

from data_pipeline.dedup.exact import ExactConfig, ExactDedup
from data_pipeline.document import SCHEMA
from data_pipeline.engine import daft


def judge(texts, config=None, ids=None):
    columns = [ids or [f"{i:02d}" for i in range(len(texts))], texts, ["s"] * len(texts)]
    frame = daft.from_arrow(pa.table(columns, schema=SCHEMA))
    rows = ExactDedup(config or ExactConfig()).judge(frame).sort("id").to_pydict()
    return dict(zip(rows["id"], zip(rows["reason"], rows["score"], strict=True), strict=True))


def test_copies_but_for_case_and_space_are_dropped_with_the_size_of_their_group():
    got = judge(["Hello  World", "hello world", "other", "HELLO\nWORLD"])
    assert got["02"] == (None, None)
    assert got["00"] == (None, None)  # the longest
    assert got["01"] == got["03"] == ("exact_duplicate", 3.0)


def test_among_equally_long_copies_the_smallest_id_stays():
    got = judge(["same", "same", "SAME"], ids=["b", "a", "c"])
    assert [got[i][0] for i in "abc"] == [None, "exact_duplicate", "exact_duplicate"]


def test_unicode_forms_are_one_text_and_punctuation_is_not_ignored_by_default():
    assert judge(["caf\u00e9", "cafe\u0301"])["00"][0] == "exact_duplicate"
    assert judge(["a, b", "a b"])["01"][0] is None
    assert judge(["a, b", "a b"], ExactConfig(remove_punctuation=True))["01"][0] is not None


@pytest.mark.parametrize("num", [0, 1])
def test_few_documents_are_no_special_case(num):
    assert list(judge(["x"] * num).values()) == [(None, None)] * num
