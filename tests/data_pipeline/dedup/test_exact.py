"""Equal but for case and space: one stays, and it is the one the rule says."""

import itertools

import numpy as np
import pytest

from data_pipeline.dedup import exact
from data_pipeline.dedup.exact import ExactConfig, ExactDedup
from data_pipeline.document import batch_of
from data_pipeline.engine import Tasks
from data_pipeline.stage import Comparison


@pytest.fixture
def judge(make_parts, judge_all):
    """judge(texts, config, ids, parts): {id: (reason, score, note of copies)}."""

    def run(texts, config=None, ids=None, num_parts=1):
        stage = ExactDedup(config or ExactConfig())
        ids = ids or [f"{i:03d}" for i in range(len(texts))]
        batches = [batch_of(texts[n::num_parts], ids=ids[n::num_parts]) for n in range(num_parts)]
        parts = make_parts(batches, stage)
        found = {}
        batches = [batch for part in parts for batch in part.batches()]
        for batch, one in zip(batches, judge_all(stage, parts), strict=True):
            values = one.verdicts.reason, one.verdicts.score, one.notes["copies"]
            found |= dict(zip(batch["id"].to_pylist(), zip(*values, strict=True), strict=True))
        assert sorted(found) == sorted(ids)
        return found

    return run


def reasons(found):
    return [found[id_][0] for id_ in sorted(found)]


def test_it_is_a_comparison():
    assert isinstance(ExactDedup(ExactConfig()), Comparison)


def test_copies_but_for_case_and_space_are_dropped_with_the_size_of_their_group(judge):
    got = judge(["Hello  World", "hello world", "other", "HELLO\nWORLD"])
    assert got["001"][:2] == got["003"][:2] == ("exact_duplicate", 3.0)
    assert got["000"][0] is None  # the longest
    assert got["000"][2] == 3
    assert got["002"][0] is None
    assert got["002"][2] is None
    assert np.isnan(got["002"][1])


def test_among_equally_long_copies_the_smallest_id_stays(judge):
    assert reasons(judge(["same", "same", "SAME"], ids=["b", "a", "c"])) == [
        None,
        "exact_duplicate",
        "exact_duplicate",
    ]


def test_unicode_forms_are_one_text_and_punctuation_is_not_ignored_by_default(judge):
    assert reasons(judge(["caf\u00e9", "cafe\u0301"])) == ["exact_duplicate", None]  # in bytes
    assert reasons(judge(["a, b", "a b"])) == [None, None]
    assert reasons(judge(["a, b", "a b"], ExactConfig(remove_punctuation=True)))[1] is not None


@pytest.mark.parametrize("num_parts", [1, 3])  # some parts are empty
@pytest.mark.parametrize("num", [0, 1, 2])
def test_few_documents_are_no_special_case(judge, num, num_parts):
    assert reasons(judge(["x"] * num, num_parts=num_parts)) == [None, "exact_duplicate"][:num]


@pytest.mark.parametrize("a_task", [20, 1000])
def test_parts_and_tasks_change_nothing(judge, monkeypatch, a_task):
    texts = [f"text {i % 37} {'A' if i % 2 else 'a'}{' ' * (i % 5)}" for i in range(150)]
    expected = judge(texts)
    best = {}
    for i, text in enumerate(texts):  # the rule, said plainly
        key = " ".join(text.lower().split())
        best[key] = min(best.get(key, (0, "")), (-len(text), f"{i:03d}"))
    kept = {id_ for _, id_ in best.values()}
    assert {id_ for id_, (reason, *_) in expected.items() if reason is None} == kept
    monkeypatch.setattr(exact, "DOCUMENTS_A_TASK", a_task)
    for num_parts in (3, 7):
        got = judge(texts, num_parts=num_parts)
        assert {k: (v[0], v[2]) for k, v in got.items()} == {
            k: (v[0], v[2]) for k, v in expected.items()
        }


def test_details_count_clusters_and_name_some(make_parts, tmp_path):
    texts = [word for i, word in enumerate("abcdefghijklmnop") for _ in range(i + 1)]
    stage = ExactDedup(ExactConfig())
    sources = [f"file{i}" for i in range(len(texts))]
    ids = [f"{i:03d}" for i in range(len(texts))]
    parts = make_parts([batch_of(texts, sources, ids=ids)], stage)
    details = stage.decide(parts, tmp_path, Tasks(0))
    assert details["clusters"] == {str(size): 1 for size in range(2, 17)}
    shown = details["examples"]
    assert [one["size"] for one in shown] == [16, 15, 14, 13, 12, 2, 3, 4, 5, 6]
    assert shown[5] == {"size": 2, "kept": "001 (file1)", "dropped": ["002 (file2)"]}
    assert len(shown[0]["dropped"]) == 5


def test_hashes_of_different_texts_differ_in_both_halves():
    stage = ExactDedup(ExactConfig())
    texts = ["".join(some) for some in itertools.product("abc", repeat=7)]
    keys = stage.keys(batch_of(texts))
    for half in ("hash_0", "hash_1"):
        assert len(set(keys[half].to_pylist())) == len(texts)
    assert keys["hash_0"] != keys["hash_1"]
