"""Words are those of spaCy; what is cheap to see is checked without it."""

# ruff: noqa: RUF001  (characters that look alike are what this is about)

import importlib.util
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.filters.joined import Joined
from data_pipeline.filters.words import Words


def split(texts: list[str]) -> list[list[str]]:
    joined = Joined(pa.array(texts, pa.large_string()))
    words = Words(joined)
    data = joined.data.tobytes()
    found: list[list[str]] = [[] for _ in texts]
    for document, start, end in zip(words.documents, words.starts, words.ends, strict=True):
        found[document].append(data[start:end].decode())
    lengths = [len(word) for document in found for word in document]
    assert words.lengths.tolist() == lengths
    return found


CASES = [
    ("", []),
    (" \n\t ", []),
    ("one", ["one"]),
    ("Hello, world!", ["Hello", ",", "world", "!"]),
    ("don't won’t cannot", ["do", "n't", "wo", "n’t", "can", "not"]),
    ("shouldn't've", ["should", "n't", "'ve"]),
    ("John's dogs' 'tis", ["John", "'s", "dogs", "'", "'", "tis"]),
    ("Mr. Smith, e.g. U.S. law.", ["Mr.", "Smith", ",", "e.g.", "U.S.", "law", "."]),
    ("(see 3.5 below):", ["(", "see", "3.5", "below", "):"]),
    ("well-known word--word 1--2", ["well", "-", "known", "word", "--", "word", "1", "-", "-2"]),
    ("and/or foo/bar", ["and/or", "foo", "/", "bar"]),
    ("http://a.example.org/b?c=d, x=y", ["http://a.example.org/b?c=d", ",", "x", "=", "y"]),
    ("10km 9am $5 5% 100°C.", ["10", "km", "9", "am", "$", "5", "5", "%", "100", "°", "C", "."]),
    ("wait... what…now", ["wait", "...", "what", "…", "now"]),
    ("Yes.No end.)", ["Yes", ".", "No", "end", ".", ")"]),
    ("日本語の文章です。", ["日本語の文章です", "。"]),
    (":-) <3 ''", [":-)", "<3", "''"]),
]


@pytest.mark.parametrize(("text", "words"), CASES)
def test_words_of_a_few_texts(text: str, words: list[str]):
    assert split([text]) == [words]


def test_a_documents_words_do_not_depend_on_its_neighbours():
    texts = [text for text, _ in CASES]
    assert split(texts) == [words for _, words in CASES]
    assert split(texts[::-1]) == [words for _, words in CASES[::-1]]


@pytest.mark.skipif(not importlib.util.find_spec("spacy"), reason="spacy is not installed")
def test_the_words_of_odd_documents_are_spacys(odd_documents: Callable[[int, int], list[str]]):
    import spacy

    tokenize = spacy.blank("en").tokenizer
    texts = odd_documents(5, 60) + [text for text, _ in CASES]
    expected = [[t.text.strip() for t in tokenize(text) if t.text.strip()] for text in texts]
    got = split(texts)
    number = sum(map(len, expected))
    differing = sum(
        len(set(a) ^ set(b)) + abs(len(a) - len(b)) for a, b in zip(expected, got, strict=True)
    )
    assert differing <= 0.001 * number


@pytest.mark.parametrize("run", ["(", ".", "a", "-=", "[1", ":)", "'s", "é", "1km"])
def test_a_run_without_a_space_takes_no_step_for_each_of_its_characters(run: str):
    joined = Joined(pa.array([run * 10**5], pa.large_string()))
    words = Words(joined)
    assert words.ends[-1] == joined.ends[0]
    assert len(words.hashes) == len(words.bits) == len(words.lengths)


def test_hashes_tell_words_apart_by_all_their_bytes():
    texts = ["a" * n for n in (1, 7, 8, 9, 16, 17, 600, 601)] + ["b" + "a" * 600, "a" * 600 + "b"]
    joined = Joined(pa.array([" ".join(texts)], pa.large_string()))
    words = Words(joined)
    assert len(words.starts) == len(texts)
    assert len(np.unique(words.hashes)) == len(texts)
