"""Near duplicates against brute force over exact Jaccard similarities."""

import random

import numpy as np
import pytest

from data_pipeline.dedup.minhash import MinHashConfig, MinHashDedup, cluster, components
from data_pipeline.engine import daft


def shingles(text, n=5):
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def jaccard(a, b):
    return len(a & b) / len(a | b)


@pytest.fixture(scope="module")
def planted():
    """200 random texts; 60 of them have a copy with a growing number of words replaced."""
    rng = random.Random(7)
    vocabulary = [f"word{i}" for i in range(3000)]
    texts = [" ".join(rng.choices(vocabulary, k=200)) for _ in range(200)]
    for i in range(60):
        words = texts[i].split()
        for position in rng.sample(range(200), i // 5):
            words[position] = rng.choice(vocabulary)
        texts.append(" ".join(words))
    return texts


def judge(texts, config=None):
    ids = [f"{i:04d}" for i in range(len(texts))]
    frame = daft.from_pydict({"id": ids, "text": texts, "source": ["s"] * len(texts)})
    rows = MinHashDedup(config or MinHashConfig()).judge(frame).sort("id").to_pydict()
    return rows["reason"], rows["score"]


def test_recall_and_precision_on_planted_copies_against_brute_force(planted):
    reasons, scores = judge(planted)
    sets = [shingles(text) for text in planted]
    truth = {(i, 200 + i): jaccard(sets[i], sets[200 + i]) for i in range(60)}
    found = {pair for pair in truth if reasons[pair[0]] or reasons[pair[1]]}
    similar = {pair for pair, similarity in truth.items() if similarity >= 0.8}
    assert len(similar) >= 10
    assert len(found & similar) / len(similar) >= 0.95
    assert all(truth[pair] >= 0.6 for pair in found)
    assert sum(reason is not None for reason in reasons) == len(found)  # nothing unrelated
    for i, j in found:
        dropped = i if reasons[i] else j
        assert scores[dropped] == pytest.approx(truth[i, j], abs=0.15)


def test_case_and_punctuation_do_not_hide_a_copy(planted):
    text = planted[0]
    assert judge([text, text.upper().replace(" ", ", ")])[0].count("near_duplicate") == 1


def test_of_a_group_the_longest_stays(planted):
    text = planted[0]
    assert judge([text, text + " and more", text + " end"])[0] == [
        "near_duplicate",
        None,
        "near_duplicate",
    ]


def test_short_texts_are_alike_only_when_equal():
    assert judge(["one two", "one three", "", "one  two"])[0] == [
        "near_duplicate",
        None,
        None,
        None,
    ]


def test_pairs_in_a_crowded_band_are_found_by_their_other_bands():
    rng = np.random.default_rng(0)
    config = MinHashConfig(num_bands=8, rows_per_band=2, min_similarity=0.8)
    signatures = rng.integers(0, 2**32, (500, 16), dtype=np.uint32)
    signatures[:, :2] = 5  # a band in which all documents share a bucket
    signatures[400] = signatures[100]
    groups, similarity = cluster(signatures, config)
    assert groups[400] == groups[100] == 100
    assert len(set(groups.tolist())) == 499
    assert similarity[400] == 1.0


def test_components_equal_a_plain_search():
    rng = random.Random(3)
    left, right = np.array([rng.sample(range(300), 2) for _ in range(200)]).T
    groups = components(300, left, right)
    neighbours = {i: set() for i in range(300)}
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        neighbours[a].add(b)
        neighbours[b].add(a)
    for start in range(300):
        seen, todo = {start}, [start]
        while todo:
            new = neighbours[todo.pop()] - seen
            seen |= new
            todo += new
        assert groups[start] == min(seen)


@pytest.mark.parametrize("fields", [{"num_bands": 0}, {"min_similarity": 0.0}])
def test_impossible_configs_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        MinHashConfig(**fields)
