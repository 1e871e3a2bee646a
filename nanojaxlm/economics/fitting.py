"""A law L(N, D) fitted to runs, with how sure it is; kept as scaling_law.json for the planner."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.scaling import TRAINING_FLOPS, Law
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import from_config_dict, to_plain

SCALING_LAW = "scaling_law.json"
NUM_PARAMETERS = 5
HUBER_DELTA = (
    1e-3  # of log loss (Hoffmann et al. 2022, section 3.3): what is off by more weighs less
)
INTERVAL = (5, 95)  # percentiles

_EXPONENTS = np.geomspace(0.05, 2.0, 12)  # of the grid of starts
_NUM_STARTS = 8  # the best of the grid, which are polished
_BOUNDS = ((-20, -20, -20, 0.01, 0.01), (60, 60, 5, 4, 4))  # of log A, log B, log E, alpha, beta


@dataclass(frozen=True, kw_only=True)
class Point:
    """A finished run. params: all of them, embeddings too; loss: nats a held-out token.

    Counted so, the law predicts a run left out of the ladders of configs.scaling_law better (0.41%
    and 0.50% rms) than with embeddings left out (0.48%, 0.52%), and it is what users know.
    """

    params: float
    tokens: float  # read, each once
    loss: float

    def __post_init__(self) -> None:
        for name in ("params", "tokens", "loss"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")

    @property
    def flops(self) -> float:
        return TRAINING_FLOPS * self.params * self.tokens


@dataclass(frozen=True, kw_only=True)
class Text:
    """What the nats are of: losses on another text, or with another tokenizer, are no more or less.

    tokenizer, train, held_out: sha256 of the tokenizer and of both splits, as a manifest has them.
    """

    sources: tuple[str, ...]
    tokenizer: str
    vocab_size: int
    train: str
    held_out: str
    bytes_per_token: float  # of the held-out text


@dataclass(frozen=True, kw_only=True)
class Fit:
    """law: the best fit to `points`. resampled: (E, A, alpha, B, beta) of fits to draws from them.

    held_out: a larger run, which the law was not fitted to, where it has been made.
    """

    law: Law
    points: tuple[Point, ...]
    resampled: tuple[tuple[float, ...], ...]
    text: Text | None = None
    held_out: Point | None = None

    def __post_init__(self) -> None:
        if not self.points or not self.resampled:
            raise ValueError("points and resampled must not be empty")
        for i, row in enumerate(self.resampled):
            if len(row) != NUM_PARAMETERS or not np.all(np.isfinite(row)):
                raise ValueError(f"resampled[{i}] must be {NUM_PARAMETERS} finite numbers")

    def predict(self, params: float, tokens: float) -> Range:
        """The loss of a run: the fit's, and within what 90% of such runs would fall.

        That counts what the resampled laws differ in, and how far single runs lie from the law.
        """
        central = self.law.loss(params, tokens)
        E, A, alpha, B, beta = np.array(self.resampled).T
        losses = E + A * params**-alpha + B * tokens**-beta
        freedom = len(self.points) - NUM_PARAMETERS
        scatter = self.residuals * np.sqrt(len(self.points) / max(1, freedom))
        return _interval(losses[:, None] * np.exp(scatter), central)

    @property
    def residuals(self) -> np.ndarray:
        """log(measured / fitted) of each point."""
        fitted = [self.law.loss(point.params, point.tokens) for point in self.points]
        return np.log([point.loss for point in self.points]) - np.log(fitted)

    @property
    def alpha(self) -> Range:
        return _interval(np.array(self.resampled)[:, 2], self.law.alpha)

    @property
    def beta(self) -> Range:
        return _interval(np.array(self.resampled)[:, 4], self.law.beta)

    @property
    def error(self) -> float | None:
        """Predicted over measured loss of the held-out run, less 1."""
        if self.held_out is None:
            return None
        return self.law.loss(self.held_out.params, self.held_out.tokens) / self.held_out.loss - 1

    def plain(self) -> dict[str, Any]:
        """JSON values; read_fit is the inverse."""
        return to_plain(self)


def read_fit(path: str | Path) -> Fit:
    """A file of Fit.plain().

    Raises:
        UserError: it cannot be read, or is something else.
    """
    again = "make it anew with python -m configs.scaling_law"
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise UserError(f"cannot read the scaling law {path}: {reason}; {again}") from None
    if not isinstance(plain, dict):
        raise UserError(f"{path} holds no scaling law; {again}")
    try:
        return from_config_dict(Fit, plain, "its field")
    except UserError as error:
        raise UserError(f"{path} holds no scaling law: {error}; {again}") from None


def fit(points: Sequence[Point], num_bootstrap: int = 200, seed: int = 0) -> Fit:
    """Approach 3 of Hoffmann et al. 2022: least Huber loss of log L, from a grid of starts.

    num_bootstrap: fits to as many points drawn with replacement, for the intervals.

    Raises:
        UserError: too few different runs to tell five numbers.
    """
    runs = _Runs(*np.array([[p.params, p.tokens, p.loss] for p in points], float).reshape(-1, 3).T)
    if not runs.suffices():
        distinct, sizes, amounts = runs.counts()
        raise UserError(
            f"a law of {NUM_PARAMETERS} numbers needs {NUM_PARAMETERS} different runs, of 3 sizes "
            f"and 3 amounts of tokens at least; there are {distinct} runs, of {sizes} and "
            f"{amounts}: add sizes or amounts"
        )
    best = _polish(runs, _starts(runs, _NUM_STARTS))
    generator = np.random.default_rng(seed)
    resampled = []
    while len(resampled) < num_bootstrap:
        drawn = runs.take(generator.integers(len(points), size=len(points)))
        if drawn.suffices():
            resampled.append(_polish(drawn, [best, *_starts(drawn, 1)]))
    source = f"fitted to {len(points)} runs"
    return Fit(
        law=Law(**_numbers(best), source=source),
        points=tuple(points),
        resampled=tuple(tuple(_numbers(vector).values()) for vector in resampled),
    )


class _Runs(NamedTuple):
    params: np.ndarray
    tokens: np.ndarray
    losses: np.ndarray

    def take(self, rows: np.ndarray) -> "_Runs":
        return _Runs(*(column[rows] for column in self))

    def counts(self) -> tuple[int, int, int]:
        """Different runs, sizes and amounts of tokens."""
        pairs = set(zip(self.params, self.tokens, strict=True))
        return len(pairs), len(set(self.params)), len(set(self.tokens))

    def suffices(self) -> bool:
        distinct, sizes, amounts = self.counts()
        return distinct >= NUM_PARAMETERS and sizes >= 3 and amounts >= 3


def _starts(runs: _Runs, number: int) -> list[np.ndarray]:
    """The best of a grid of exponents: with these given, the law is linear in E, A and B."""
    found = []
    for alpha, beta in itertools.product(_EXPONENTS, _EXPONENTS):
        # powers of a ratio, not of a million, so that the columns are of one size
        n, d = runs.params / runs.params.min(), runs.tokens / runs.tokens.min()
        columns = np.stack([np.ones_like(n), n**-alpha, d**-beta], axis=1)
        weights, misfit = optimize.nnls(columns / runs.losses[:, None], np.ones_like(n))
        E, A, B = np.maximum(weights, 1e-6)  # log of 0 is no start
        a = np.log(A) + alpha * np.log(runs.params.min())
        b = np.log(B) + beta * np.log(runs.tokens.min())
        found.append((misfit, np.array([a, b, np.log(E), alpha, beta])))
    return [start for _, start in sorted(found, key=lambda one: one[0])[:number]]


def _polish(runs: _Runs, starts: Sequence[np.ndarray]) -> np.ndarray:
    """(log A, log B, log E, alpha, beta) of least Huber loss.

    By a trust region with exact slopes: the L-BFGS of Hoffmann et al. stopped before the minimum
    (Besiroglu et al. 2024).
    """
    log_n, log_d, log_loss = (np.log(column) for column in runs)

    def terms(vector: np.ndarray) -> np.ndarray:
        a, b, e, alpha, beta = vector
        return np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(log_n, e)])

    def off(vector: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(terms(vector)) - log_loss

    def slopes(vector: np.ndarray) -> np.ndarray:
        parts = terms(vector)
        n, d, rest = np.exp(parts - np.logaddexp.reduce(parts))
        return np.stack([n, d, rest, -n * log_n, -d * log_d], axis=1)

    results = [
        optimize.least_squares(
            off,
            np.clip(start, *_BOUNDS),
            slopes,  # pyright: ignore[reportArgumentType] - its stub forgets functions
            bounds=_BOUNDS,
            x_scale="jac",
            loss="huber",
            f_scale=HUBER_DELTA,
        )
        for start in starts
    ]
    return min(results, key=lambda result: result.cost).x


def _numbers(vector: np.ndarray) -> dict[str, float]:
    a, b, e, alpha, beta = map(float, vector)
    exp = lambda x: float(np.exp(x))  # noqa: E731
    return {"E": exp(e), "A": exp(a), "alpha": alpha, "B": exp(b), "beta": beta}


def _interval(values: np.ndarray, central: float) -> Range:
    low, high = np.percentile(values, INTERVAL)
    return Range(min(float(low), central), central, max(float(high), central))
