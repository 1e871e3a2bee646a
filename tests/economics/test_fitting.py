"""A planted law is found again, with intervals that hold the truth; damaged files are refused."""

import dataclasses
import json

import numpy as np
import pytest

from nanojaxlm.economics.fitting import Fit, Point, Text, fit, read_fit
from nanojaxlm.economics.scaling import BESIROGLU, Law
from nanojaxlm.errors import UserError

PLANTED = Law(E=2.0, A=60.0, alpha=0.35, B=400.0, beta=0.45, source="planted")
GRID = [(n, d) for n in (5e4, 1.3e5, 2.6e5, 4.7e5) for d in (4e5, 8e5, 1.6e6, 3.2e6)]


def runs_of(law, grid, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Point(params=n, tokens=d, loss=float(law.loss(n, d) * np.exp(noise * rng.normal())))
        for n, d in grid
    ]


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(runs_of(PLANTED, GRID, noise=0.002), num_bootstrap=20)


@pytest.mark.parametrize("law", [PLANTED, BESIROGLU], ids=["small", "chinchilla"])
def test_without_noise_the_planted_law_is_found(law):
    scale = 1 if law is PLANTED else 1e4
    found = fit(runs_of(law, [(n * scale, d * scale) for n, d in GRID]), num_bootstrap=1).law
    for name in ("E", "A", "alpha", "B", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-3), name


def test_with_noise_the_intervals_hold_the_truth(fitted):
    assert PLANTED.alpha in fitted.alpha
    assert PLANTED.beta in fitted.beta
    for params, tokens in ((1e6, 6e6), (1e5, 1e6), (1e7, 1e8)):
        assert PLANTED.loss(params, tokens) in fitted.predict(params, tokens)


def test_the_central_prediction_is_the_fits_own(fitted):
    assert fitted.predict(1e6, 6e6).central == fitted.law.loss(1e6, 6e6)


def test_the_further_away_the_wider(fitted):
    near, far = fitted.predict(5e5, 3e6), fitted.predict(5e8, 3e9)
    assert far.high - far.low > 2 * (near.high - near.low)


@pytest.mark.slow
def test_nine_of_ten_runs_fall_within_the_interval():
    within = []
    for seed in range(12):
        found = fit(runs_of(PLANTED, GRID, noise=0.002, seed=seed), num_bootstrap=30, seed=seed)
        (run,) = runs_of(PLANTED, [(7.6e5, 4e6)], noise=0.002, seed=1000 + seed)
        within.append(run.loss in found.predict(run.params, run.tokens))
    assert sum(within) >= 9  # of 12; 11 are expected


def test_one_run_that_went_wrong_hardly_moves_the_law():
    runs = runs_of(PLANTED, GRID)
    runs[5] = dataclasses.replace(runs[5], loss=1.2 * runs[5].loss)
    found = fit(runs, num_bootstrap=1).law
    assert found.loss(1e6, 6e6) == pytest.approx(PLANTED.loss(1e6, 6e6), rel=1e-3)


def test_the_same_seed_gives_the_same_intervals():
    runs = runs_of(PLANTED, GRID, noise=0.002)
    assert fit(runs, num_bootstrap=3, seed=1) == fit(runs, num_bootstrap=3, seed=1)


@pytest.mark.parametrize(
    "grid",
    [
        [],
        [(1e5, 1e6)] * 9,
        GRID[:4],  # one size
        GRID[:8],  # two sizes
        [(n, 1e6) for n in (1e5, 2e5, 3e5, 4e5, 5e5)],  # one amount
    ],
)
def test_too_few_different_runs_are_refused(grid):
    with pytest.raises(UserError, match="5 different runs, of 3 sizes and 3 amounts"):
        fit(runs_of(PLANTED, grid))


@pytest.mark.parametrize("field", ["params", "tokens", "loss"])
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_run_without_a_figure_is_refused(field, bad):
    with pytest.raises(ValueError, match=f"{field} must be above 0"):
        dataclasses.replace(Point(params=1.0, tokens=1.0, loss=1.0), **{field: bad})


def test_the_error_is_of_the_held_out_run(fitted):
    assert fitted.error is None
    loss = fitted.law.loss(1e6, 6e6) / 1.01
    held_out = Point(params=1e6, tokens=6e6, loss=loss)
    assert dataclasses.replace(fitted, held_out=held_out).error == pytest.approx(0.01)


def test_a_written_fit_is_read_again(tmp_path, fitted):
    text = Text(
        sources=("a.txt",), tokenizer="ab" * 32, vocab_size=512, train="cd" * 32,
        held_out="ef" * 32, bytes_per_token=2.1,
    )  # fmt: skip
    whole = dataclasses.replace(fitted, text=text, held_out=Point(params=1e6, tokens=6e6, loss=3.0))
    path = tmp_path / "scaling_law.json"
    path.write_text(json.dumps(whole.plain()))
    assert read_fit(path) == whole
    assert read_fit(str(path)).predict(1e7, 1e8) == whole.predict(1e7, 1e8)


def damaged(plain, name):
    match name:
        case "cut off":
            return json.dumps(plain)[:-20]
        case "a list":
            return "[1, 2]"
        case "foreign":
            return json.dumps({"loss": 3.0})
        case "no law":
            return json.dumps({key: value for key, value in plain.items() if key != "law"})
        case "a word for a number":
            return json.dumps(plain | {"law": plain["law"] | {"A": "many"}})
        case "negative":
            return json.dumps(plain | {"law": plain["law"] | {"beta": -0.3}})
        case "no resamples":
            return json.dumps(plain | {"resampled": []})
        case "short resamples":
            return json.dumps(plain | {"resampled": [[1.0, 2.0]]})
        case "not a number":
            return json.dumps(plain | {"resampled": [[float("nan")] * 5]})
        case "a run without loss":
            return json.dumps(plain | {"points": [{"params": 1.0, "tokens": 1.0, "loss": 0.0}]})
        case "empty":
            return ""
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "cut off", "a list", "foreign", "no law", "a word for a number", "negative",
        "no resamples", "short resamples", "not a number", "a run without loss", "empty",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_its_name(tmp_path, fitted, name):
    path = tmp_path / "some_law.json"
    path.write_text(damaged(fitted.plain(), name))
    with pytest.raises(UserError, match=r"some_law\.json.*python -m configs\.scaling_law"):
        read_fit(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json: No such file"):
        read_fit(tmp_path / "nowhere.json")
    with pytest.raises(UserError, match="cannot read"):
        read_fit(tmp_path)
