"""Figures come one step late, each from the step that they are of."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.errors import UserError
from nanojaxlm.losses import Sums
from nanojaxlm.metrics import Speedometer
from nanojaxlm.progress import Progress
from nanojaxlm.step import StepReport


class Lines:
    """A writer that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def metrics(self, step, figures, show):
        self.lines.append((step, figures, show))


@pytest.fixture
def clock(monkeypatch):
    """A clock that each look moves on by one second."""
    seconds = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(seconds)))


def progress_of(lines, show_every=2, tokens_of=lambda step: 128):
    speed = Speedometer(flops_per_token=10.0, peak_flops_per_second=1e4)
    return Progress(lines, speed, lambda step: step / 10, tokens_of, show_every)


def report(nll, count=4.0, grad_norm=0.5, extra=0.0, assigned=0.0, dropped=0.0):
    halves = jnp.asarray(np.array([1, 0xABCDEF], np.uint32))
    values = (nll, 0, count, extra, assigned, dropped)
    sums = Sums(*(jnp.float32(value) for value in values))
    return StepReport(sums, jnp.float32(grad_norm), halves)


def test_a_step_is_written_when_the_next_is_under_way(clock):
    lines = Lines()
    progress = progress_of(lines)
    progress.after(1, report(8.0))
    assert lines.lines == []
    progress.after(2, report(6.0, count=3.0))
    progress.after(3, report(2.0))
    assert [(step, show) for step, _, show in lines.lines] == [(1, False), (2, True)]
    first, second = (figures for _, figures, _ in lines.lines)
    assert first == {
        "loss": 2.0,
        "learning_rate": 0.0,  # of the first update
        "grad_norm": 0.5,
        "targets": 4,
        "batch_hash": "0000000100abcdef",
    }
    assert second["loss"] == 2.0 and second["learning_rate"] == 0.1 and second["targets"] == 3
    assert second["tokens_per_second"] > 0
    assert second["mfu"] == pytest.approx(second["tokens_per_second"] * 10 / 1e4)


def test_further_figures_are_written_with_their_own_step(clock):
    lines = Lines()
    progress = progress_of(lines)
    for step in (1, 2, 3):
        progress.after(step, report(float(step)))
    speed = progress.settle()
    progress.write(speed | {"validation_loss": 1.5})
    step, figures, _ = lines.lines[-1]
    assert (step, figures["loss"], figures["validation_loss"]) == (3, 0.75, 1.5)
    assert figures["tokens_per_second"] == speed["tokens_per_second"]
    assert [step for step, _, _ in lines.lines] == [1, 2, 3]


def test_what_comes_between_steps_is_not_counted_as_training(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    lines = Lines()
    progress = progress_of(lines, show_every=1)
    progress.after(1, report(1.0))
    progress.settle()
    now[0] = 100.0  # evaluates
    progress.write({})
    now[0] = 200.0  # saves
    progress.restart()
    now[0] = 202.0
    progress.after(2, report(1.0))
    assert progress.settle() == {"tokens_per_second": 64.0, "mfu": 0.064}


def test_the_first_step_of_each_size_compiles_and_is_not_timed(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    progress = progress_of(Lines(), tokens_of=lambda done: 128 if done < 2 else 256)
    for step, seconds in enumerate((50.0, 1.0, 70.0, 4.0), start=1):
        now[0] += seconds
        progress.after(step, report(1.0))
    assert progress.settle()["tokens_per_second"] == 256 / 4


@pytest.mark.parametrize(
    ("bad", "figures", "name"),
    [
        (report(float("nan")), {}, "loss is nan"),
        (report(float("inf")), {}, "loss is inf"),
        (report(1.0, grad_norm=float("inf")), {}, "grad_norm is inf"),
        (report(1.0), {"validation_loss": float("nan")}, "validation_loss is nan"),
    ],
)
def test_a_figure_that_is_not_finite_is_refused_by_name_and_never_written(bad, figures, name):
    lines = Lines()
    progress = progress_of(lines)
    progress.after(5, bad)
    with pytest.raises(UserError, match=f"{name} at step 5: lower the learning rate"):
        progress.write(figures)
    assert lines.lines == []


def test_the_extra_loss_is_a_target_s_mean_and_left_out_where_there_is_none(clock):
    """Of routers and extra heads; the loss itself is that of the next token."""
    lines = Lines()
    progress = progress_of(lines)
    progress.after(1, report(8.0))
    progress.after(2, report(8.0, count=4.0, extra=2.0))
    progress.after(3, report(8.0))
    (_, without, _), (_, with_extra, _) = lines.lines
    assert "extra_loss" not in without
    assert (with_extra["loss"], with_extra["extra_loss"]) == (2.0, 0.5)


def test_the_rate_of_dropped_assignments_is_told_where_experts_have_a_capacity(clock):
    lines = Lines()
    progress = progress_of(lines)
    progress.after(1, report(8.0))
    progress.after(2, report(8.0, assigned=32.0, dropped=4.0))
    progress.after(3, report(8.0))
    (_, without, _), (_, with_capacity, _) = lines.lines
    assert "dropped_rate" not in without
    assert with_capacity["dropped_rate"] == 0.125
