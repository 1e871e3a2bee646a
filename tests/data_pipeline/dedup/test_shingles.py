"""Words, shingles and their hashes against plain Python."""

import random
import re

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.accuracy.near_dedup import exact_jaccard, shingle_set
from data_pipeline.dedup import shingles

ODD = [
    "",
    " \n ",
    "...!?",
    "one",
    "One,  two",
    "a b c d e",
    "A b-c\td (e)\u00a0f",
    "  (leading) and trailing. ",
    "snake_case x2 caf\u00e9 \u00c4\u00d6 \u4f60\u597d\uff0c\u4e16\u754c \u2014 \U0001f600 z",
    "x " * 50,
    "a\x00b\u202ec d",
]


def texts_of(*texts):
    return pa.array(texts, pa.large_string())


@pytest.mark.parametrize("text", ODD)
def test_normal_texts_are_the_words_with_one_space_between(text):
    [got] = shingles.normal_texts(texts_of(text)).to_pylist()
    assert got == " ".join(re.findall(r"\w+", text.lower()))


def test_sketches_have_a_hash_for_every_different_shingle():
    values, counts = shingles.sketches(shingles.normal_texts(texts_of(*ODD)), 5, 1)
    assert counts.tolist() == [len(shingle_set(text)) for text in ODD]
    for one in np.split(values, np.cumsum(counts)[:-1]):
        assert (np.diff(one.astype(np.int64)) > 0).all()


def test_a_sketch_is_the_same_in_any_company():
    alone = [shingles.sketches(shingles.normal_texts(texts_of(t)), 5, 1)[0] for t in ODD]
    together = shingles.sketches(shingles.normal_texts(texts_of(*ODD)), 5, 1)[0]
    assert np.concatenate(alone).tolist() == together.tolist()


def test_a_long_text_keeps_its_smallest_hashes(monkeypatch):
    normal = texts_of(" ".join(map(str, range(500))), "one two", " ".join(map(str, range(300))))
    whole, counts = shingles.sketches(normal, 5, 1)
    monkeypatch.setattr(shingles, "MAX_SKETCH", 100)
    values, kept = shingles.sketches(normal, 5, 1)
    assert counts.tolist() == [496, 1, 296]
    assert kept.tolist() == [100, 1, 100]
    first, short, last = np.split(whole, np.cumsum(counts)[:-1])
    assert values.tolist() == [*first[:100].tolist(), *short.tolist(), *last[:100].tolist()]


def test_the_rate_of_equal_minhashes_estimates_the_similarity():
    rng = random.Random(3)
    words = [f"w{rng.randrange(5000)}" for _ in range(400)]
    other = [w if rng.random() > 0.03 else "other" for w in words]
    pair = " ".join(words), " ".join(other)
    left, right = shingles.minhashes(texts_of(*pair), 2000, 5, 1)
    assert (left == right).mean() == pytest.approx(exact_jaccard(*pair), abs=0.04)
    short = shingles.minhashes(texts_of("one two", "one two", "one three"), 8, 5, 1)
    assert (short[0] == short[1]).all()
    assert not (short[0] == short[2]).any()


def test_combined_hashes_differ_where_a_value_or_its_place_does():
    values = np.array([[1, 2, 3], [1, 2, 3], [3, 2, 1], [1, 2, 4], [0, 0, 0]], np.uint32)
    got = shingles.combined(values, 1).tolist()
    assert got[0] == got[1]
    assert len(set(got)) == 4
    assert got != shingles.combined(values, 2).tolist()
