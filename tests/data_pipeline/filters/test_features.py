"""The vectorised counts against plain Python, document by document."""

# ruff: noqa: RUF001  (characters that look alike are what this is about)

import random

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.filters.characters import ALPHA
from data_pipeline.filters.features import Features
from data_pipeline.filters.published import ends_in_ellipsis, num_ellipses, num_present
from data_pipeline.filters.repetition import repeated_segments

TEXTS = [
    "",
    "   \n\n ",
    "one",
    "a b c\na b c\n\nd e  f\n",
    "ünïcode 日本語 テスト١٢ x1\r\nzwei\u00a0drei\u2003vier",
    "tail without newline\nlast",
    "x" * 5000 + " y",
    "\nleading\n\n\n\ntrailing\n\n",
    "a\rb\r\nc\vd\fe\x1cf\x1dg\x1eh\x85i\u2028j\u2029k\n\r",
    "only\r",
    "𝒳 𐩖 🙂🙂 é\u0301",
    "wait... and…\nso.... \n…\n...",
]


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(0)
    parts = ["a ", "b ", "c\n", "dd ", "\n\n", "a b c d e ", "é ", "…", "日\n", "\r\n", "1 "]
    made = ["".join(rng.choice(parts) for _ in range(n)) for n in range(0, 120, 3)]
    return [*TEXTS, *made]


@pytest.fixture(scope="module")
def features(texts):
    return Features(pa.array(texts, pa.large_string()))


def segments(features, chosen):
    """The texts of segments, a list a document."""
    found = [[] for _ in range(features.num_documents)]
    data = features.joined.data.tobytes()
    for start, end, document in zip(chosen.starts, chosen.ends, chosen.documents, strict=True):
        found[document].append(data[start:end].decode())
    return found


def test_chunks_ink_and_lengths_equal_plain_splitting(texts, features):
    assert features.chunk_counts.tolist() == [len(t.split()) for t in texts]
    assert features.ink.tolist() == [sum(map(len, t.split())) for t in texts]
    assert features.joined.lengths.tolist() == [len(t) for t in texts]


def test_rows_and_lines_equal_pythons(texts, features):
    assert segments(features, features.rows) == [t.split("\n") for t in texts]
    assert segments(features, features.lines) == [t.splitlines() for t in texts]
    for chosen, split in (
        (features.rows, lambda t: t.split("\n")),
        (features.lines, str.splitlines),
    ):
        expected = [len(line.split()) for t in texts for line in split(t)]
        assert chosen.num_chunks.tolist() == expected


def test_a_batch_that_is_a_slice_is_read_from_its_place(texts):
    whole = pa.array(texts, pa.large_string())
    some = Features(whole.slice(3, 5))
    assert segments(some, some.rows) == [t.split("\n") for t in texts[3:8]]


def test_character_counts_equal_pythons(texts, features):
    assert features.num_digits.tolist() == [sum(c.isdigit() for c in t) for t in texts]
    plain = [t for t in texts if "\u0301" not in t]  # a mark on a letter is a letter here
    few = Features(pa.array(plain, pa.large_string()))
    assert few.num_letters.tolist() == [sum(c.isalpha() for c in t) for t in plain]


def test_the_bits_of_words_are_those_of_their_characters(features):
    words = features.words
    data = features.joined.data.tobytes()
    for start, end, bits in zip(words.starts, words.ends, words.bits, strict=True):
        word = data[start:end].decode()
        assert bool(bits & ALPHA) == any(c.isalpha() for c in word)


def test_ellipses_equal_pythons(texts, features):
    assert num_ellipses(features).tolist() == [t.count("...") + t.count("…") for t in texts]
    rows = features.inked_rows
    found = ends_in_ellipsis(features, features.joined.chunks[1][rows.last - 1])
    expected = [
        line.rstrip().endswith(("...", "…"))
        for t in texts
        for line in t.split("\n")
        if line.strip()
    ]
    assert found.tolist() == expected


def test_words_that_are_present_equal_a_plain_count(texts, features):
    words = ("a", "dd", "c", "nowhere")
    expected = [len(set(words) & set(t.split())) for t in texts]
    assert num_present(features.chunk_sequences, words).tolist() == expected


def test_repeated_segments_equal_a_plain_count(texts, features):
    rows = features.rows
    got = repeated_segments(features.joined, rows.starts, rows.ends, rows.documents)
    expected = []
    for text in texts:
        lines = text.split("\n")
        expected += [line in lines[:i] for i, line in enumerate(lines)]
    np.testing.assert_array_equal(got, expected)


def test_segments_that_differ_in_their_midst_only_are_no_repeats():
    text = "\n".join(["begin 1 and the end of it", "begin 2 and the end of it"] * 2)
    features = Features(pa.array([text], pa.large_string()))
    rows = features.rows
    got = repeated_segments(features.joined, rows.starts, rows.ends, rows.documents)
    assert got.tolist() == [False, False, True, True]
