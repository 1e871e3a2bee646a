"""Scores of sentences by their definitions, and the file of pairs."""

import gzip
import json

import numpy as np
import pytest

from nanojaxlm.errors import UserError
from nanojaxlm.evaluation.minimal_pairs import Pair, judge, read_pairs

pytestmark = pytest.mark.usefixtures("quick_compile")
SENTENCES = ["a bad cab.", "bad a cab.", "dead heads", "he fed.", "he fed a", "gag", "fade", "ébb."]
PAIRS = [
    Pair(good, bad, f"paradigm {i % 3}")
    for i, (good, bad) in enumerate((a, b) for a in SENTENCES for b in SENTENCES if a != b)
]


def score(s, kind, sentence):
    """By the definitions, one whole pass after another."""
    t = s.tokenizer
    ids = t.encode(sentence)
    if kind == "decoder":
        table = s.log_probabilities(None, [t.bos_id, *ids])
        return sum(table[i, token] for i, token in enumerate(ids))
    total = 0.0
    for i, token in enumerate(ids):
        hole = t.special_id("<mask>" if kind == "encoder" else "<extra_id_0>")
        read = [t.bos_id, *ids[:i], hole, *ids[i + 1 :], t.eos_id]
        if kind == "encoder":
            total += s.log_probabilities(read, None)[i + 1, token]
        else:
            total += s.log_probabilities(read, [t.bos_id, hole])[1, token]
    return total


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["decoder", "encoder", "encoder_decoder"])
def test_a_pair_is_right_where_the_good_sentence_scores_higher(subject, kind):
    s = subject(kind)
    scores = {sentence: score(s, kind, sentence) for sentence in SENTENCES}
    judged = judge(s.scorer, s.params, s.model.config, s.tokenizer, PAIRS)
    right = [scores[pair.good] > scores[pair.bad] for pair in PAIRS]
    assert judged.num_pairs == len(PAIRS)
    assert judged.accuracy == pytest.approx(np.mean(right)) == 0.5  # each pair stands both ways
    assert list(judged.by_paradigm) == ["paradigm 0", "paradigm 1", "paradigm 2"]
    for i, name in enumerate(judged.by_paradigm):
        assert judged.by_paradigm[name] == pytest.approx(np.mean(right[i::3]))


def test_equal_scores_are_not_right(subject):
    s = subject("decoder")
    judged = judge(s.scorer, s.params, s.model.config, s.tokenizer, [Pair("bad", "bad", "x")])
    assert judged.accuracy == 0


def write(path, rows, opener=open):
    with opener(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


def test_pairs_come_of_plain_and_gzipped_files_with_blimps_fields(tmp_path):
    rows = [
        {"UID": "one", "field": "syntax", "sentence_good": "É a.", "sentence_bad": "É b."},
        {"paradigm": "two", "sentence_good": "c", "sentence_bad": "d"},
        {"sentence_good": "e", "sentence_bad": "f"},
    ]
    want = [Pair("É a.", "É b.", "one"), Pair("c", "d", "two"), Pair("e", "f", "all")]
    assert read_pairs(write(tmp_path / "a.jsonl", rows)) == want
    assert read_pairs(write(tmp_path / "a.jsonl.gz", rows, gzip.open)) == want


def test_the_limit_is_of_each_paradigm(tmp_path):
    rows = [
        {"UID": name, "sentence_good": f"{name}{i}", "sentence_bad": "x"}
        for i in range(5)
        for name in "ab"
    ]
    kept = read_pairs(write(tmp_path / "p.jsonl", rows), limit=2)
    assert [pair.good for pair in kept] == ["a0", "b0", "a1", "b1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"sentence_good": "a"}\n', "line 1 lacks sentence_good or sentence_bad"),
        (b"\n[1]\n", "line 2 lacks"),
        (b'{"sentence_good": "", "sentence_bad": "b"}\n', "line 1 lacks"),
        (b"{\n", "line 1 is no JSON"),
        (b"", "has no pairs"),
        (b"\xff\n", "cannot read the pairs"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_line(tmp_path, content, words):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_pairs(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the pairs of .*no\.jsonl"):
        read_pairs(str(tmp_path / "no.jsonl"))


def test_the_developers_pairs_are_read(shared_data):
    pairs = read_pairs(str(shared_data / "eval" / "blimp_dev.jsonl.gz"))
    assert len(pairs) == 8000 and len({pair.paradigm for pair in pairs}) == 20
