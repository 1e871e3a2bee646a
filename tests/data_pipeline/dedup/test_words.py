"""Words against Python's own splitting, and hashes of runs against the runs themselves."""

import itertools
import random
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.dedup.regions import Regions
from data_pipeline.dedup.words import BLOCK, Words, run_hashes, runs_of_lengths

LETTERS = "aZ9_é\u2013\u2019ñ«»\u0301न\u093f\u00a0 \t\n\r\v\f.,-\u2028\U0001d400\U0001f600"
TEXTS = ["", " ", "one two", "Grüße, «Wörter»!", "", "x\ny\tz", "\u0928\u093f end"]


def cut(words):
    spans = zip(words.starts, words.ends, strict=True)
    found = [words.data[start:end].tobytes().decode() for start, end in spans]
    return [found[first:last] for first, last in itertools.pairwise(words.firsts.tolist())]


def random_texts():
    rng = random.Random(2)
    return TEXTS + ["".join(rng.choices(LETTERS, k=rng.randint(0, 40))) for _ in range(300)]


def test_words_between_spaces_are_those_of_split():
    texts = random_texts()
    array = pa.array(["dropped", *texts], pa.large_string())[1:]
    assert cut(Words.between_spaces(array)) == [re.findall(r"[^ \t\n\r\v\f]+", t) for t in texts]


def test_words_of_letters_are_runs_of_letters_marks_and_digits():
    def plain(text):
        inside = [unicodedata.category(c)[0] in "LM" or c == "_" or c.isdecimal() for c in text]
        marked = "".join(c if keep else "\0" for c, keep in zip(text, inside, strict=True))
        return [word for word in marked.split("\0") if word]

    texts = random_texts()
    assert cut(Words.of_letters(pa.array(texts, pa.large_string()))) == [plain(t) for t in texts]


@pytest.mark.parametrize("make", [Words.between_spaces, Words.of_letters])
def test_characters_of_scripts_without_spaces_stand_alone(make):
    texts = ["ab中文cd", "ไทยx", "かな", "한국어 말"]
    want = [["ab", "中", "文", "cd"], ["ไ", "ท", "ย", "x"], ["か", "な"], ["한국어", "말"]]
    assert cut(make(pa.array(texts, pa.large_string()))) == want


def test_hashes_are_equal_where_words_are():
    rng = random.Random(1)
    words = ["a" * n + end for n in (0, 1, 6, 7, 8, 9, 15, 16, 17, 255, 256, 300) for end in "bc"]
    text = " ".join(rng.choices(words, k=500))
    found = Words.between_spaces(pa.array([text], pa.large_string()))
    assert len(dict(zip(text.split(), found.hashes.tolist(), strict=True))) == len(words)
    assert len(set(zip(text.split(), found.hashes.tolist(), strict=True))) == len(words)
    assert len(set(found.hashes.tolist())) == len(words)


@pytest.mark.parametrize("length", [1, 2, 7, 13, 50])
def test_run_hashes_are_equal_where_runs_are_and_do_not_depend_on_blocks(length):
    values = np.random.default_rng(0).integers(0, 2**63, 3).astype(np.uint64)
    values = values[np.random.default_rng(1).integers(0, 2, BLOCK + 300)]
    hashes = run_hashes(values, length)
    runs = np.lib.stride_tricks.sliding_window_view(values, length)
    pairs = {(run.tobytes(), h) for run, h in zip(runs, hashes.tolist(), strict=True)}
    assert len(pairs) == len({run for run, _ in pairs}) == len({h for _, h in pairs})
    ascending = runs_of_lengths(values, [1, length] if length > 1 else [1])
    again = np.concatenate([found for _, n, found in ascending if n == length])
    assert (again == hashes).all()
    assert not len(run_hashes(values[: length - 1], length))


def test_regions_hold_every_run_once_and_a_long_repetition_makes_few():
    rng = random.Random(4)
    texts = [" ".join(rng.choices("abcdefgh", k=k)) for k in (0, 9, 10, 11, 400)] + ["a " * 3000]
    regions = Regions.of(pa.array(texts, pa.large_string()), 10)
    runs = [set() for _ in texts]
    for document, start, count in zip(
        regions.documents, regions.starts, regions.counts, strict=True
    ):
        places = set(range(start, start + count))
        assert not runs[document] & places
        runs[document] |= places
    want = [set(range(max(len(text.split()) - 9, 0))) for text in texts]
    assert runs == want
    assert (regions.documents == 5).sum() < 3000 / 6
    assert regions.inner[regions.documents == 5].all()
