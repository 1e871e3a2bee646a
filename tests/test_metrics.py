"""Figures against sums done by hand; the model's FLOPs are checked in model/test_transformer.py."""

import math

import pytest

from nanojaxlm import metrics
from nanojaxlm.metrics import Speedometer, bits_per_byte


def test_a_uniform_guess_over_256_bytes_costs_eight_bits_a_byte():
    assert bits_per_byte(1000 * math.log(256), 1000) == pytest.approx(8)


def test_bits_per_byte_divides_by_bytes_not_tokens():
    """10 tokens at 2 nats that stand for 40 bytes."""
    assert bits_per_byte(10 * 2.0, 40) == pytest.approx(0.5 / math.log(2))


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now[0])
    return now


def test_speed_and_mfu_are_of_the_time_since_the_last_reading(clock: list[float]):
    speed = Speedometer(flops_per_token=50.0, peak_flops_per_second=1e4, _since=clock[0])
    clock[0] += 4.0
    speed.add(300)
    speed.add(100)
    assert speed.read() == {"tokens_per_second": 100.0, "mfu": pytest.approx(0.5)}
    clock[0] += 1.0
    speed.add(10)
    assert speed.read()["tokens_per_second"] == pytest.approx(10.0)


def test_restart_forgets_what_was_no_training(clock: list[float]):
    speed = Speedometer(50.0, None, _since=clock[0])
    speed.add(1000)
    clock[0] += 60.0
    speed.restart()
    assert speed.read() == {}
    speed.add(20)
    clock[0] += 2.0
    assert speed.read() == {"tokens_per_second": pytest.approx(10.0)}  # no peak, no mfu
