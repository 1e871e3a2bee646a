"""The trainable classifier of quality: its features, its learning, its files, its command."""

import gzip
import json
import math
import pickle
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.document import CODE, PROSE, batch_of
from data_pipeline.filters import lessons, model_file, quality
from data_pipeline.filters.quality import Classifier, Quality, QualityConfig, QualityTraining
from nanojaxlm.errors import UserError

DATA = Path(__file__).parents[4] / "shared/data/lm"
GOOD = "the careful study describes how rivers carve valleys over many thousand years and of it"
BAD = "click here now buy cheap !!! best $$$ offer http free win login sale and of it"
SMALL = QualityTraining(log2_buckets=14)


def sentences(words: str, seed: int, number: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words.split(), k=40)) for _ in range(number)]


def large(texts: Sequence[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


@pytest.fixture(scope="module")
def content() -> bytes:
    return quality.train(sentences(GOOD, 1, 60), sentences(BAD, 2, 60), SMALL)


@pytest.fixture
def model(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    return str(path)


def _slow_ids(text: str, max_ngram: int, ids_of: dict[tuple[str, ...], int]) -> list[int]:
    """Numbers of the n-grams, by another way of finding words, in the same order."""
    words = re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]|[a-z0-9_]+|[^\w\s]+", text.lower())
    grams = (
        tuple(words[i : i + n])
        for i in range(len(words))
        for n in range(1, max_ngram + 1)
        if i + n <= len(words)
    )
    return [ids_of.setdefault(gram, len(ids_of)) for gram in grams]


@pytest.mark.parametrize("max_ngram", [1, 2, 4])
def test_ngrams_are_those_of_a_plain_loop(max_ngram: int):
    texts = [
        "The cat sat, the CAT sat!",
        "",
        "cat",
        "日本語 text 12",
        "  the\tcat\nsat... ",
        "sat sat sat internationalization2 internationalization3",
    ]
    ids, bounds = quality.ngram_ids(large(texts), max_ngram, 26)
    seen: dict[tuple[str, ...], int] = {}
    expected = [_slow_ids(text, max_ngram, seen) for text in texts]
    assert np.diff(bounds).tolist() == [len(some) for some in expected]
    flat = [number for some in expected for number in some]
    # The same n-gram has the same bucket, and another one another, in a table this large.
    assert len({*zip(flat, ids.tolist(), strict=True)}) == len(seen) == len({*ids.tolist()})


def test_no_ngram_reaches_over_the_end_of_a_text():
    apart, _ = quality.ngram_ids(large(["one two", "three"]), 2, 26)
    alone = [quality.ngram_ids(large([text]), 2, 26)[0] for text in ("one two", "three")]
    assert apart.tolist() == np.concatenate(alone).tolist()


def test_probability_is_the_formula_of_the_docstring():
    weights = np.zeros(256, np.int32)
    one, pair, two = quality.ngram_ids(large(["one two"]), 2, 8)[0]
    assert len({one, two, pair}) == 3
    weights[[one, two, pair]] = [300, -100, 40]
    found = Classifier(weights, 0.01, 0.25, 2).probabilities(large(["one two", ""]))
    logit = 0.25 + (3.0 - 1.0 + 0.4) / 3
    np.testing.assert_allclose(found, [1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(-0.25))])


def test_it_learns_to_tell_the_sides_apart(content: bytes):
    model = Classifier.from_bytes(content)
    good = model.probabilities(large(sentences(GOOD, 3, 50)))
    bad = model.probabilities(large(sentences(BAD, 4, 50)))
    assert good.min() > 0.5 > bad.max()


def test_fit_is_at_the_minimum_of_the_penalized_loss():
    """The slope, computed here from dense features, is zero at what `fit` found."""
    texts = [sentences(GOOD, 1, 12), sentences(BAD, 2, 5)]
    training = QualityTraining(log2_buckets=10, max_ngram=1, l2=1e-2)
    model = quality.fit(texts[0], texts[1], training)
    x = np.zeros((17, 1 << 10))
    for row, text in enumerate(texts[0] + texts[1]):
        ids, _ = quality.ngram_ids(large([text]), 1, 10)
        np.add.at(x[row], ids, 1 / len(ids))
    x *= (x > 0).sum(0) > 1
    size = math.sqrt((x**2).sum() / 17)
    x, w = x / size, model.weights * model.unit * size
    good = np.arange(17) < 12
    p = 1 / (1 + np.exp(-(x @ w + model.bias)))
    miss = np.where(good, (p - 1) * 0.5 / 12, p * 0.5 / 5)
    assert abs(miss.sum()) < 1e-4  # both sides weigh the same
    np.testing.assert_allclose(x.T @ miss + training.l2 * w, 0, atol=1e-4)


def test_the_same_texts_give_the_same_file(content: bytes):
    assert quality.train(sentences(GOOD, 1, 60), sentences(BAD, 2, 60), SMALL) == content


def test_judge_drops_below_the_threshold_and_leaves_code_alone(model: str):
    texts = [sentences(GOOD, 5, 1)[0], sentences(BAD, 5, 1)[0], sentences(BAD, 5, 1)[0], ""]
    batch = batch_of(texts, kinds=[PROSE, PROSE, CODE, PROSE])
    judged = Quality(QualityConfig(model=model)).judge(batch)
    assert judged.verdicts.reason[:3].tolist() == [None, "low_quality", None]
    scores = judged.measures["quality"]
    assert judged.verdicts.score[1] == scores[1] < 0.5 < scores[0]
    assert np.isnan(scores[2]) and judged.notes["quality"][2] is None
    assert judged.notes["quality"][0] == round(scores[0], 2)
    everything = Quality(QualityConfig(model=model, min_score=0)).judge(batch)
    assert everything.verdicts.reason.tolist() == [None] * 4


def test_judging_does_not_depend_on_the_batch_and_survives_pickling(model: str):
    texts = sentences(GOOD, 6, 20) + sentences(BAD, 7, 20) + ["", "é ü 日本", "x" * 1000]
    stage = Quality(QualityConfig(model=model))
    assert stage.files == (model,)
    together = stage.judge(batch_of(texts)).measures["quality"]
    stage = pickle.loads(pickle.dumps(stage))
    alone = [stage.judge(batch_of([text])).measures["quality"][0] for text in texts]
    sliced = stage.judge(batch_of(["first", *texts]).slice(1)).measures["quality"]
    assert together.tolist() == alone == sliced.tolist()
    assert len(stage.judge(batch_of([])).measures["quality"]) == 0


def test_a_long_text_is_judged_like_a_short_one_of_its_kind(
    content: bytes, monkeypatch: pytest.MonkeyPatch
):
    model, text = Classifier.from_bytes(content), sentences(BAD, 8, 1)[0] + " "
    short = model.probabilities(large([text * 30]))
    monkeypatch.setattr(quality, "_LONG", 1000)
    monkeypatch.setattr(quality, "_PORTION", len(text) * 3)
    texts = large(["first", text * 30, "last", text * 30])
    found = model.probabilities(texts)
    assert found[1] == found[3] == pytest.approx(short[0], abs=0.01)
    assert found[[0, 2]].tolist() == model.probabilities(large(["first", "last"])).tolist()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no model at all",
        lambda content: content[: len(content) // 2],
        lambda content: model_file.to_bytes("perplexity, version 1", {}, {}),
        lambda content: model_file.to_bytes(quality.KIND, {}, {}),
        lambda content: model_file.to_bytes(
            quality.KIND, {"unit": 1, "bias": 0, "max_ngram": 1}, {"weights": np.zeros(7, np.int32)}
        ),
    ],
)
def test_a_damaged_model_is_named_with_its_field(
    tmp_path: Path, content: bytes, damage: Callable[[bytes], bytes]
):
    path = tmp_path / "model.npz"
    path.write_bytes(damage(content))
    with pytest.raises(UserError, match=r"config\.quality\.model: .*model\.npz.*python -m"):
        Quality(QualityConfig(model=str(path)))


def test_a_missing_model_is_named_with_its_field(tmp_path: Path):
    with pytest.raises(UserError, match=r"config\.quality\.model: .*cannot be read \(No such"):
        Quality(QualityConfig(model=str(tmp_path / "none.npz")))


@pytest.mark.parametrize(
    "make",
    [
        lambda: QualityConfig(model=""),
        lambda: QualityConfig(model="m", min_score=1.1),
        lambda: QualityConfig(model="m", min_score=float("nan")),
        lambda: QualityTraining(log2_buckets=40),
        lambda: QualityTraining(max_ngram=0),
        lambda: QualityTraining(l2=0),
    ],
)
def test_impossible_values_are_refused(make: Callable[[], object]):
    with pytest.raises(ValueError, match=r"got|names a file"):
        make()


def test_area_under_curve_counts_pairs():
    good, bad = np.array([0.9, 0.5, 0.4]), np.array([0.5, 0.1])
    pairs = [(g > b) + (g == b) / 2 for g in good for b in bad]
    assert quality.area_under_curve(good, bad) == pytest.approx(np.mean(pairs))


def test_texts_are_held_out_by_hash_each_once():
    texts = [f"text {i}" for i in range(50)]
    learned, held = lessons.hold_out(texts)
    assert sorted(learned + held) == sorted(texts) and len(held) == 5
    assert lessons.hold_out(texts[::-1] + texts[:20]) == (learned, held)
    with pytest.raises(UserError, match="2 at least"):
        lessons.hold_out(["one", "one"])


def _write(path: Path, texts: Sequence[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def test_command_trains_a_model_that_the_stage_takes(tmp_path: Path, capsys):
    good = _write(tmp_path / "good.jsonl", sentences(GOOD, 1, 60))
    bad = _write(tmp_path / "bad.jsonl", sentences(BAD, 2, 60))
    output = tmp_path / "models/model.npz"
    quality.main(["quality", f"--positives={good}", f"--negatives={bad}", f"--output={output}"])
    told = capsys.readouterr().out
    assert "54 documents to learn from" in told and "6 held out" in told
    assert "accuracy 1.0000" in told and "AUC 1.0000" in told
    assert re.search(r"0\.5 .*100\.0%.* 0\.0%", told)
    judged = Quality(QualityConfig(model=str(output))).judge(batch_of(sentences(BAD, 9, 3)))
    assert judged.verdicts.reason.tolist() == ["low_quality"] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--positives=one.txt", "--output=m"], "all needed"),
        (["--positives=none", "--negatives=one.txt", "--output=m"], "--positives=none: .*no such"),
        (["--positives=one.txt", "--negatives=one.txt", "--output=m"], "--positives: 1 different"),
        (["--max_megabytes=0", "--positives=a", "--negatives=a", "--output=m"], "must be > 0"),
        (["--threshold=1"], "threshold"),
    ],
)
def test_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
):
    (tmp_path / "one.txt").write_text("A text of one sentence only.\n")
    monkeypatch.chdir(tmp_path)
    for name in ("positives", "negatives", "output", "max_megabytes"):
        quality._FLAGS[name].unparse()
    with pytest.raises(UserError, match=said):
        quality.main(["quality", *arguments])


def test_a_sample_of_texts_does_not_depend_on_files(tmp_path: Path):
    texts = [f"{i} " * 200 for i in range(40)]
    one = _write(tmp_path / "one.jsonl", texts)
    several = [_write(tmp_path / f"{k}.jsonl", texts[k::3][::-1]) for k in range(3)]
    sample = lessons.read_texts([one], "positives", 0.005)
    assert 1 <= len(sample) < 40
    assert lessons.read_texts([*several, one], "positives", 0.005) == sample


def test_what_is_no_prose_teaches_nothing(tmp_path: Path):
    (tmp_path / "code.py").write_text("import os\n")
    with pytest.raises(UserError, match=r"--negatives=.*no document of prose"):
        lessons.read_texts([str(tmp_path)], "negatives", 1.0)


@pytest.mark.slow
def test_it_tells_real_prose_from_chatter():
    """Speeches it has not seen, from forum posts and scripts of films it has not seen."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is missing")

    def load(name: str) -> list[str]:
        with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
            return [json.loads(line)["text"] for line in file]

    def cut(texts: Sequence[str]) -> list[str]:
        return [text[i : i + 800] for text in texts for i in range(0, len(text) - 799, 800)]

    good, bad = load("state_union.jsonl.gz"), cut(load("webtext.jsonl.gz"))
    learned, held = lessons.hold_out(bad)
    model = quality.fit(cut(good[:50]), learned, QualityTraining())
    scores = [model.probabilities(large(texts)) for texts in (cut(good[50:]), held)]
    assert quality.area_under_curve(*scores) > 0.995
