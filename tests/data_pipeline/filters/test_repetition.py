"""n-grams against plain Python; the bounds never clear a document that has too much."""

import random
from collections import Counter

import numpy as np
import pytest

from data_pipeline.filters.exceptions import hash_of
from data_pipeline.filters.repetition import Sequences, repeats, sums


@pytest.fixture(scope="module")
def documents():
    rng = random.Random(0)
    made = [[], ["a"], ["a", "a"], ["a", "b"] * 30, list("abcdefgh") * 3]
    for n in range(0, 150, 5):
        run = [rng.choice(["p", "qq", "rrr"]) for _ in range(12)]
        words = [rng.choice(["a", "b", "cc", "dd", "eeeee"]) for _ in range(n)]
        made.append(words[: n // 2] + run + words[n // 2 :] + run)
    return made


@pytest.fixture(scope="module")
def sequences(documents):
    words = [word for document in documents for word in document]
    bounds = np.concatenate([[0], np.cumsum([len(document) for document in documents])])
    hashes = np.array([hash_of(word) for word in words], np.uint64)
    return Sequences(hashes, np.array([len(word) for word in words], np.int64), bounds)


def grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_what_repeated_ngrams_cover_equals_a_plain_count(documents, sequences, n):
    expected = []
    for words in documents:
        found = grams(words, n)
        covered = {i + k for i, g in enumerate(found) if g in found[:i] for k in range(n)}
        expected.append(sum(len(words[i]) for i in covered))
    assert sequences.covered(n).tolist() == expected


@pytest.mark.parametrize("n", [2, 5, 7])
def test_skipped_duplicates_equal_a_plain_reading(documents, sequences, n):
    expected = []
    for words in documents:
        seen, i, total = set(), 0, 0
        while i < len(words) - n + 1:
            gram = tuple(words[i : i + n])
            if gram in seen:
                total += len("".join(gram))
                i += n
            else:
                seen.add(gram)
                i += 1
        expected.append(total)
    assert sequences.skipped_duplicates(n).tolist() == expected
    assert (sequences.skipped_duplicates(n) <= sequences.covered(n)).all()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_groups_are_the_distinct_ngrams_in_their_order(documents, sequences, n):
    got = list(zip(*(values.tolist() for values in sequences.groups(n)[:3]), strict=True))
    expected = []
    for i, words in enumerate(documents):
        counts = Counter(grams(words, n))
        expected += [(i, number, len("".join(gram))) for gram, number in counts.items()]
    assert got == expected


@pytest.mark.parametrize("n", [2, 3, 4])
def test_no_document_beyond_a_limit_is_cleared(documents, sequences, n):
    tops = np.array(
        [
            max((len(" ".join(g)) * c for g, c in Counter(grams(words, n)).items()), default=0)
            for words in documents
        ]
    )
    for share in (0.5, 0.9, 1.0, 1.1):
        limits = tops * share
        near = sequences.near_top(n, limits)
        assert set(np.flatnonzero(tops > limits)) <= set(near.tolist())


def test_a_choice_of_documents_is_as_if_they_were_alone(sequences):
    chosen = np.array([1, 3, 4, 9, 20])
    some = sequences.only(chosen)
    assert some.covered(3).tolist() == sequences.covered(3)[chosen].tolist()
    assert some.skipped_duplicates(3).tolist() == sequences.skipped_duplicates(3)[chosen].tolist()


def test_repeats_and_sums_by_document():
    keys = np.array([5, 5, 7, 5, 7, 5], np.uint64)
    documents = np.array([0, 0, 0, 1, 1, 1])
    assert repeats(keys, documents).tolist() == [False, True, False, False, False, True]
    assert sums(np.array([1, 2, 3]), np.array([0, 2, 2, 3])).tolist() == [3, 0, 3]
    assert sums(np.array([True, True, True]), np.array([0, 0, 3])).tolist() == [0, 3]
