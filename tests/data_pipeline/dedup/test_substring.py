"""Repeated runs of words are cut exactly: against a search that compares all runs."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.dedup import spill, substring
from data_pipeline.dedup.substring import SubstringConfig, SubstringDedup
from data_pipeline.document import CODE, PROSE, batch_of
from data_pipeline.engine import Tasks
from data_pipeline.stage import decisions_path


@pytest.fixture
def run(make_parts, judge_all):
    """run(texts, config, num_parts): {id: (text after it, reason, score, tokens removed)}."""

    def judge(texts, config, num_parts=1, kinds=None, ids=None):
        stage = SubstringDedup(config)
        ids = ids or [f"{i:04d}" for i in range(len(texts))]
        rows = batch_of(texts, kinds=kinds, ids=ids)
        batches = [
            rows.take(pa.array(range(i, len(texts), num_parts), pa.int64()))
            for i in range(num_parts)
        ]
        result = {}
        said = judge_all(stage, make_parts(batches, stage))
        for batch, judged in zip([batch for batch in batches if len(batch)], said, strict=True):
            after = batch["text"] if judged.texts is None else judged.texts
            columns = judged.verdicts.reason, judged.verdicts.score
            removed = judged.notes["tokens_removed"]
            for i, name in enumerate(batch["id"].to_pylist()):
                result[name] = (after[i].as_py(), columns[0][i], columns[1][i], removed[i])
        return result

    return judge


def kept_words(texts, length):
    """What the module says, word for word: [[(word, kept)]] by comparing every run with all."""
    first: dict[tuple[str, ...], tuple[int, int]] = {}
    kept = []
    for number, text in enumerate(texts):
        words = text.split()
        keep = [True] * len(words)
        for start in range(len(words) - length + 1):
            run = tuple(words[start : start + length])
            document, place = first.setdefault(run, (number, start))
            if (document, place) != (number, start):
                begin = start if document < number else max(start, place + length)
                keep[begin : start + length] = [False] * (start + length - begin)
        kept.append(list(zip(words, keep, strict=True)))
    return kept


def corpus(seed, num_documents, vocabulary, period=0.2):
    """Texts of few words, pieces of others, and periodic stretches."""
    rng = random.Random(seed)
    texts = []
    for _ in range(num_documents):
        words = []
        for _ in range(rng.randint(0, 5)):
            dice, other = rng.random(), rng.choice(texts).split() if texts else []
            if dice < period:
                piece = [rng.choice(vocabulary) for _ in range(rng.randint(1, 3))]
                words += piece * rng.randint(1, 12)
            elif dice < 0.6 and other:
                start = rng.randrange(len(other))
                words += other[start : start + rng.randint(1, 30)]
            else:
                words += rng.choices(vocabulary, k=rng.randint(1, 15))
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("length", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("num_words", [1, 2, 3, 30])
def test_cuts_exactly_what_a_comparison_of_all_runs_does(run, length, num_words):
    for seed in range(4):
        texts = corpus(seed, 25, [f"w{i}" for i in range(num_words)])
        want = [
            " ".join(word for word, keep in words if keep) for words in kept_words(texts, length)
        ]
        config = SubstringConfig(min_tokens=length, min_tokens_left=0)
        for num_parts in (1, 3):
            got = run(texts, config, num_parts)
            assert [got[name][0] for name in sorted(got)] == want, (seed, num_parts)


def test_no_stretch_that_is_left_holds_a_run_twice_and_none_is_lost(run, make_prose):
    """The two properties themselves, on prose with 50 words and paragraphs moved about."""
    rng = random.Random(3)
    pieces = [make_prose(seed, 12) for seed in range(30)]
    texts = ["\n".join(rng.sample(pieces, rng.randint(1, 4))) for _ in range(40)]
    kept = kept_words(texts, 50)
    got = run(texts, SubstringConfig(min_tokens_left=0), 4)
    assert [got[n][0].split() for n in sorted(got)] == [[w for w, k in ws if k] for ws in kept]
    seen, left = set(), set()
    for words in kept:
        stretch = []
        for word, keep in [*words, ("", False)]:
            if keep:
                stretch.append(word)
                continue
            for i in range(len(stretch) - 49):
                found = tuple(stretch[i : i + 50])
                assert found not in seen
                seen.add(found)
            left.update(stretch)
            stretch = []
    assert left == {word for text in texts for word in text.split()}
    assert sum(len(ws) for ws in kept) > 2 * sum(k for ws in kept for _, k in ws)


def test_many_buckets_and_files_change_nothing(run, monkeypatch):
    texts = corpus(1, 60, ["a", "b", "c"])
    config = SubstringConfig(min_tokens=6, min_tokens_left=0)
    want = run(texts, config, 5)
    monkeypatch.setattr(spill, "ROWS_A_BUCKET", 50)
    assert repr(run(texts, config, 5)) == repr(want)


@pytest.mark.slow
def test_worker_processes_decide_the_same(make_parts, tmp_path, monkeypatch):
    monkeypatch.setattr(substring, "FEW_DOCUMENTS", 0)
    stage = SubstringDedup(SubstringConfig(min_tokens=6))
    texts = corpus(2, 60, ["a", "b", "c"])
    batches = [batch_of(texts[i::3], [f"{j}" for j in range(i, 60, 3)]) for i in range(3)]
    parts, said = make_parts(batches, stage), []
    for workers in (0, 2):
        folder = tmp_path / f"{workers}"
        folder.mkdir()
        details = stage.decide(parts, folder, Tasks(workers))
        tables = [pq.read_table(decisions_path(folder, part)).to_pylist() for part in parts]
        said.append((details, tables))
    assert said[0] == said[1] and said[0][0]["documents_cut"]


def test_first_is_by_id_and_chains_keep_one_copy(run):
    words = [f"w{i}" for i in range(20)]
    texts = [" ".join(words[5:]), " ".join(words[:15]), " ".join(words)]
    got = run(texts, SubstringConfig(min_tokens=8, min_tokens_left=0), ids=["c", "b", "a"])
    assert got["a"][0] == texts[2] and got["b"][0] == got["c"][0] == ""
    assert got["b"][3] == got["c"][3] == 15


def test_the_space_around_a_cut_keeps_its_line_break(run):
    run_of_8 = " ".join("abcdefgh")
    texts = [run_of_8, f"one {run_of_8}\n\ntwo", f"  {run_of_8} three", f"four\n{run_of_8}\n"]
    got = run(texts, SubstringConfig(min_tokens=8, min_tokens_left=0))
    assert [got[n][0] for n in sorted(got)][1:] == ["one\n\ntwo", "three", "four"]


def test_characters_of_scripts_without_spaces_are_words(run):
    text = "".join(chr(0x4E00 + 7 * i) for i in range(60))
    got = run([text, "新" + text + "的"], SubstringConfig(min_tokens_left=0))
    assert got["0001"][0] == "新的"


def test_what_is_left_with_too_little_is_dropped_with_the_fraction_removed(run):
    text = " ".join(map(str, range(60)))
    got = run([text, text + " x" * 20, text + " y" * 50], SubstringConfig())
    assert got["0001"][1:] == ("duplicate_substrings", pytest.approx(60 / 80), 60)
    assert got["0002"] == (" ".join(["y"] * 50), None, pytest.approx(np.nan, nan_ok=True), 60)


def test_other_kinds_are_neither_cut_nor_compared(run):
    text = " ".join(map(str, range(60)))
    config = SubstringConfig(kinds=(PROSE,), min_tokens_left=0)
    got = run([text, text, text], config, kinds=[CODE, PROSE, PROSE])
    assert [got[name][0] for name in sorted(got)] == [text, text, ""]


def test_details_show_the_longest_and_the_most_repeated(make_parts, tmp_path):
    stage = SubstringDedup(SubstringConfig(min_tokens=5))
    long, short = " ".join("abcdefghij"), " ".join("vwxyz")
    texts = [short, "1 " + long, short, short, long]
    parts = make_parts([batch_of(texts, ids=list("ABCDE"))], stage)
    details = stage.decide(parts, tmp_path, Tasks(0))
    assert details["documents_cut"] == 3 and details["tokens_removed"] == 20
    assert details["longest"][0] == {"tokens": 10, "id": "E", "excerpt": long}
    assert details["most_repeated"][0] == {"documents": 3, "id": "A", "excerpt": short}
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("texts", [[], [""], ["", "one", "\n"]])
def test_nothing_to_compare_is_no_special_case(run, texts):
    assert [got[0] for _, got in sorted(run(texts, SubstringConfig()).items())] == texts


@pytest.mark.parametrize("wrong", [{"min_tokens": 1}, {"min_tokens_left": -1}, {"kinds": ()}])
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SubstringConfig(**wrong)
