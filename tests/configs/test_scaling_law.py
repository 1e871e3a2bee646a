"""The ladder: what it runs, what it refuses, and, small, the whole of it."""

import json
import math
import random
from functools import partial

import jax
import numpy as np
import pytest

from configs import scaling_law
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.economics.fitting import fit, read_fit
from nanojaxlm.economics.scaling import Law
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import StoreWriter, TokenStore


@pytest.fixture(scope="module")
def characters(tmp_path_factory) -> TokenStore:
    """A small store: 4,000 tokens to train on."""
    path = str(tmp_path_factory.mktemp("characters") / "store")
    tokenizer = Tokenizer.characters("abc")
    tokens = np.array([1, *[3, 4] * 1999, 2])
    with StoreWriter(path, tokenizer=tokenizer.model, sources=["test"], curation={}) as writer:
        for split in ("train", "validation"):
            writer.write(split, tokens, np.array([4000]), 3998)
        writer.finish()
    return TokenStore.open(path)


def test_the_ladder_holds_what_costs_little_enough_the_cheapest_first():
    rungs = scaling_law.ladder([2, 3, 4], [100_000, 200_000], 2e11, 512)
    costs = [rung.flops for rung in rungs]
    assert costs == sorted(costs) and costs[-1] <= 2e11
    assert {(rung.size, round(rung.tokens, -5)) for rung in rungs} == {
        (2, 100_000), (2, 200_000), (3, 100_000), (3, 200_000), (4, 100_000),
    }  # fmt: skip
    for rung in rungs:
        assert rung.flops == 6 * rung.params * rung.tokens
        assert rung.tokens == rung.steps * 1024


def test_two_runs_differ_in_size_and_steps_only(characters):
    small = scaling_law.recipe(rung_of(2, 300_000), characters)
    large = scaling_law.recipe(rung_of(5, 400_000), characters)
    assert small.data == large.data and small.optimizer == large.optimizer
    assert small.loss == large.loss
    assert (small.training.steps, large.training.steps) == (292, 390)
    assert small.model.decoder is not None and large.model.decoder is not None
    assert small.model.d_model * 5 == large.model.d_model * 2
    assert small.model.decoder.num_layers == 2 and large.model.decoder.num_layers == 5


def rungs_of(sizes, amounts):
    return scaling_law.ladder(sizes, amounts, math.inf, 512)


def rung_of(size, tokens, vocab_size=512):
    (rung,) = scaling_law.rungs_of(size, [tokens], vocab_size)
    return rung


def test_too_short_a_ladder_is_refused(characters):
    for rungs in ([], rungs_of([2, 3], [2000, 3000, 4000]), rungs_of([2, 3, 4], [2000, 3000])):
        with pytest.raises(UserError, match=r"a law needs 5, of 3 sizes and 3 amounts"):
            scaling_law.check(rungs, None, characters)


def test_a_larger_run_that_is_not_larger_is_refused(characters):
    rungs = rungs_of([2, 3, 4], [1024, 2048, 3072])
    for size, tokens in ((4, 4000), (5, 1024)):
        larger = rung_of(size, tokens)
        with pytest.raises(UserError, match="--larger_size and --larger_tokens must exceed"):
            scaling_law.check(rungs, larger, characters)
    scaling_law.check(rungs, rung_of(5, 3072), characters)


def test_tokens_that_would_be_read_twice_are_refused(characters):
    with pytest.raises(UserError, match=r"4,000 training tokens, but a run of 5,120"):
        scaling_law.check(rungs_of([2, 3, 4], [1024, 2048, 5120]), None, characters)


def flags_of(*arguments):
    scaling_law._FLAGS.unparse_flags()
    return ["scaling_law", *arguments]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--text=a.txt"], "--output is missing"),
        (["--output=out"], "give --text=FILE, or --store=DIR"),
        (["--output=out", "--text=a", "--store=b"], "give --text=FILE, or --store=DIR"),
        (["--output=out", "--text=no.txt"], r"cannot read no\.txt"),
        (["--output=out", "--store=no"], "no"),
        (["--output=out", "--text=a", "--sizes=2,x"], r"--sizes=2,x must be whole numbers"),
        (["--output=out", "--text=a", "--tokens=0"], r"--tokens=0 must be whole numbers"),
        (["--output=out", "--text=a", "--vocab_size=7"], "vocab_size"),
    ],
)
def test_a_mistake_is_told(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        scaling_law.main(flags_of(*arguments))


def test_the_law_is_written_before_the_larger_run_begins(tmp_path, monkeypatch, characters):
    """Runs that follow a planted law, instead of training."""
    law = Law(E=2.0, A=60.0, alpha=0.35, B=400.0, beta=0.45, source="planted")
    larger = rung_of(5, 3072, 6)
    written = tmp_path / "scaling_law.json"
    trained = []

    def follow(config, workdir, console):
        rung = rung_of(config.model.decoder.num_layers, 1024 * config.training.steps, 6)
        if rung == larger:
            assert read_fit(written).held_out is None
        trained.append(rung)
        workdir.mkdir(parents=True)
        line = {"step": rung.steps, "validation_loss": law.loss(rung.params, rung.tokens)}
        (workdir / "metrics.jsonl").write_text(json.dumps(line))

    monkeypatch.setattr(scaling_law, "train", follow)
    monkeypatch.setattr(scaling_law, "fit", partial(fit, num_bootstrap=2))
    vocab_size = characters.manifest.vocab_size
    assert vocab_size == 6
    command = flags_of(
        f"--store={characters.path}", f"--output={tmp_path}", "--sizes=2,3,4",
        "--tokens=1024,2048,3072", "--larger_size=5", "--larger_tokens=3072",
    )  # fmt: skip
    scaling_law.main(command)
    assert len(trained) == 10 and trained[-1] == larger
    found = read_fit(written)
    assert found.error is not None and abs(found.error) < 1e-3
    assert found.text is not None
    assert found.text.tokenizer == characters.manifest.tokenizer
    scaling_law.main(command)
    assert len(trained) == 10


@pytest.fixture
def tiny(monkeypatch):
    """Sizes that train in seconds, on one device: what there is to split is too little."""
    device = jax.devices()[0]
    monkeypatch.setattr(jax, "devices", lambda *_: [device])
    monkeypatch.setattr(scaling_law, "HEAD_DIM", 8)
    monkeypatch.setattr(scaling_law, "SEQUENCE_LENGTH", 32)
    monkeypatch.setattr(scaling_law, "TOKENS_PER_STEP", 32 * 8)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Sentences of made-up words, each of which has few successors."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abdegilmnorstu", k=rng.randint(2, 6))) for _ in range(200)]
    followers = {word: rng.choices(words, k=4) for word in words}
    text, word = [], words[0]
    for _ in range(30_000):
        text.append(word)
        word = rng.choices(followers[word], weights=[8, 4, 2, 1])[0]
    folder = tmp_path_factory.mktemp("material")
    (folder / "train.txt").write_text(" ".join(text[:-2000]))
    (folder / "held_out.txt").write_text(" ".join(text[-2000:]))
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("tiny", "quick_compile")
def test_it_predicts_a_larger_run_and_trains_nothing_twice(tmp_path, material, capsys):
    command = flags_of(
        f"--text={material / 'train.txt'}",
        f"--held_out={material / 'held_out.txt'}",
        "--held_out_bytes=4000",
        f"--output={tmp_path / 'out'}",
        "--vocab_size=290",
        "--sizes=1,2,3",
        "--tokens=8192,16384,32768",
        "--most_flops=1.8e9",
        "--larger_size=4",
        "--larger_tokens=24576",
    )
    scaling_law.main(command)
    printed = capsys.readouterr().out
    assert "the law predicts" in printed
    path = tmp_path / "out" / "scaling_law.json"
    found = read_fit(path)
    assert found.text is not None and found.text.vocab_size == 290
    assert found.held_out is not None and found.error is not None
    assert found.held_out.params > max(point.params for point in found.points)
    predicted = found.predict(found.held_out.params, found.held_out.tokens)
    assert math.isfinite(predicted.low) and math.isfinite(predicted.high)
    assert abs(found.error) < 0.1
    assert "measured" in (tmp_path / "out" / "scaling_law.html").read_text()
    runs = sorted((tmp_path / "out" / "runs").iterdir())
    assert len(runs) == len(found.points) + 1

    metrics = [(run / "metrics.jsonl").read_bytes() for run in runs]
    scaling_law.main(command)
    assert "step" not in capsys.readouterr().out
    assert [(run / "metrics.jsonl").read_bytes() for run in runs] == metrics
    assert read_fit(path) == found

    config = json.loads((runs[0] / "config.json").read_text())
    config["optimizer"]["learning_rate"] = 0.5
    (runs[0] / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="was trained with another config or store"):
        scaling_law.main(command)
