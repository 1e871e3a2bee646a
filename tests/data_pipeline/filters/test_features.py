"""The vectorised counts against plain Python, document by document."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.filters.features import ALPHA, DIGIT, Features, hash_word

TEXTS = [
    "",
    "   \n\n ",
    "one",
    "a b c\na b c\n\nd e  f\n",
    "ünïcode 日本語 テスト١٢ x1\r\nzwei\u00a0drei\u2003vier",
    "tail without newline\nlast",
    "x" * 5000 + " y",
    "\nleading\n\n\n\ntrailing\n\n",
]


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(0)
    made = [
        "".join(rng.choice(["a ", "b ", "c\n", "dd ", "\n\n", "a b c d e "]) for _ in range(n))
        for n in range(0, 120, 3)
    ]
    return [*TEXTS, *made]


@pytest.fixture(scope="module")
def features(texts):
    return Features(pa.array(texts, pa.large_string()))


def lines_of(text):
    return [line.split() for line in text.split("\n") if line.split()]


def repeats(items):
    return [item in items[:i] for i, item in enumerate(items)]


def test_words_lines_and_ink_equal_plain_splitting(texts, features):
    assert features.num_words.tolist() == [len(t.split()) for t in texts]
    assert features.num_lines.tolist() == [len(lines_of(t)) for t in texts]
    assert features.ink.tolist() == [sum(map(len, t.split())) for t in texts]
    assert features.num_characters.tolist() == [len(t) for t in texts]


def test_character_classes_equal_pythons(texts, features):
    assert features.count_class(DIGIT).tolist() == [sum(c.isdigit() for c in t) for t in texts]
    assert features.count_class(ALPHA).tolist() == [sum(c.isalpha() for c in t) for t in texts]


def test_longest_and_mean_line_equal_plain_splitting(texts, features):
    full = [t for t in texts if t]
    f = Features(pa.array(full, pa.large_string()))
    assert f.longest_line().tolist() == [
        max(len(line) for line in t.splitlines(keepends=True) or [""])
        if "\r" not in t and "\u2003" not in t
        else max(len(line) for line in t.split("\n")) + 1
        for t in full
    ]
    np.testing.assert_allclose(
        f.mean_line_length(),
        [len(t) / (t.count("\n") + (not t.endswith("\n"))) for t in full],
    )


def test_repeated_lines_equal_a_plain_count(texts, features):
    got = features.repeated_rate(features.line_hashes, features.line_documents)
    expected = [sum(repeats(lines_of(t))) / len(lines_of(t)) if lines_of(t) else 0.0 for t in texts]
    np.testing.assert_allclose(got, expected)


def test_repeated_paragraphs_equal_a_plain_count(texts, features):
    got = features.repeated_rate(features.paragraph_hashes, features.paragraph_documents)
    expected = []
    for text in texts:
        paragraphs, current = [], []
        for line in [*text.split("\n"), ""]:
            if line.split():
                current.append(line.split())
            elif current:
                paragraphs.append(current)
                current = []
        expected.append(sum(repeats(paragraphs)) / max(len(paragraphs), 1))
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_repeated_ngrams_equal_a_plain_count(texts, features, n):
    expected = []
    for text in texts:
        words = text.split()
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        covered = {i + k for i, again in enumerate(repeats(grams)) if again for k in range(n)}
        ink = sum(map(len, words))
        expected.append(sum(len(words[i]) for i in covered) / ink if ink else 0.0)
    np.testing.assert_allclose(features.repeated_ngram_rate(n), expected)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_top_ngram_equals_a_plain_count(texts, features, n):
    expected = []
    for text in texts:
        words = text.split()
        counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        most = max((c * sum(map(len, g)) for g, c in counts.items() if c > 1), default=0)
        expected.append(most / max(sum(map(len, words)), 1))
    np.testing.assert_allclose(features.top_ngram_rate(n), expected)


def test_a_words_hash_is_its_own_and_the_same_wherever_it_stands():
    words = ["the", "teh", "eth", "th", "they", "日本", "本日"]
    f = Features(pa.array([" ".join(words), "x " + "\n".join(words)], pa.large_string()))
    assert f.word_hashes[: len(words)].tolist() == f.word_hashes[len(words) + 1 :].tolist()
    assert [hash_word(word) for word in words] == f.word_hashes[: len(words)].tolist()
    assert len(set(f.word_hashes.tolist())) == len(words) + 1
