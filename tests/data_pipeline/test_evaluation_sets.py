"""What an evaluation set's file gives, and what its examples are found by."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.evaluation_sets import EvalSet, Index, lower_words
from nanojaxlm.errors import UserError

RECORDS = [
    {"question": "What is two?", "choices": {"text": ["one", "the third"], "label": [1, 2]}},
    {"question": "Who?", "choices": {"text": [], "label": []}},
]


@pytest.fixture
def write(tmp_path):
    def file(name):
        path = tmp_path / name
        text = "\n".join(map(json.dumps, RECORDS)) + "\n"
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(RECORDS), path)
        elif name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        elif name.endswith(".json"):
            path.write_text(json.dumps(RECORDS))
        else:
            path.write_text(text)
        return str(path)

    return file


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"])
def test_fields_of_records_are_joined_in_the_given_order(write, name):
    eval_set = EvalSet(name="x", path=write(name), fields=("choices", "question"))
    assert eval_set.texts() == ["one the third 1 2 What is two?", "Who?"]


def test_a_line_of_text_is_an_example(tmp_path):
    (tmp_path / "a.txt").write_text("first one\n\n second\n")
    assert EvalSet(name="x", path=str(tmp_path / "a.txt")).texts() == ["first one", "second"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_missing_field_is_named_with_those_that_are_there(write, name):
    eval_set = EvalSet(name="x", path=write(name), fields=("answer",))
    with pytest.raises(UserError, match=r"x: example 0 .* no field 'answer'.*choices.*"):
        eval_set.texts()


def test_files_that_are_missing_or_broken_are_told(tmp_path):
    with pytest.raises(UserError, match=r"decontaminate\.sets, x: path .*none\.txt' is no file"):
        EvalSet(name="x", path=str(tmp_path / "none.txt")).check()
    (tmp_path / "a.jsonl").write_text('{"a": "b"}\n{"a": \n')
    with pytest.raises(UserError, match=r"a\.jsonl:2 is not JSON"):
        EvalSet(name="x", path=str(tmp_path / "a.jsonl"), fields=("a",)).texts()
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=r"a\.parquet cannot be read"):
        EvalSet(name="x", path=str(tmp_path / "a.parquet"), fields=("a",)).texts()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "a:b", "path": "a.txt"}, "name must be"),
        ({"name": "a", "path": "a.csv"}, "path of a must end"),
        ({"name": "a", "path": "a.txt", "fields": ("x",)}, "fields of a: a line"),
        ({"name": "a", "path": "a.jsonl.gz"}, "fields of a must name"),
    ],
)
def test_impossible_sets_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        EvalSet(**wrong)


def test_runs_of_examples_are_found_and_none_reaches_across_two(tmp_path):
    (tmp_path / "a.txt").write_text("a b c d e\nf g h\nx y\n")
    index = Index([EvalSet(name="s", path=str(tmp_path / "a.txt"))], ngram_words=4, min_words=3)
    assert index.names == ["s:0", "s:1", "s:2"] and index.too_short == {"s": 1}
    documents = ["B, c; D-E f g", "e f g H x y", "a b c", "d", "a b c d e"]
    words = lower_words(pa.array(documents, pa.large_string()))
    first, length, example = (values.tolist() for values in index.find(words))
    found = sorted(zip(first, length, example, strict=True))
    starts = words.firsts.tolist()
    assert found == [(0, 4, 0), (starts[1] + 1, 3, 1), (starts[4], 4, 0), (starts[4] + 1, 4, 0)]
