"""Wall time: failures and saving cost more the more chips there are; known runs come out right."""

import pytest

from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.schedule import goodput, wall_time
from nanojaxlm.economics.table import ASSUMPTIONS


def test_goodput_falls_with_chips_and_with_each_cause_of_loss():
    parts = [goodput(ASSUMPTIONS, chips) for chips in (1, 8, 64, 1024, 16_384, 131_072)]
    assert parts == sorted(parts, reverse=True)
    assert 0 < parts[-1] < parts[0] < 1
    for name, factor in (
        ("failure.chip_hours", 0.1), ("failure.restart_hours", 10), ("checkpoint.seconds", 10),
    ):  # fmt: skip
        worse = ASSUMPTIONS.at(name, ASSUMPTIONS[name] * factor)
        assert goodput(worse, 1024) < goodput(ASSUMPTIONS, 1024)


def test_llama_3_was_effective_for_about_nine_tenths_of_its_time():
    """Dubey et al. 2024, section 3.3.4: "higher than 90%" on 16,384 GPUs."""
    assert goodput(ASSUMPTIONS, 16_384) == pytest.approx(0.9, abs=0.05)


def test_no_other_interval_between_saves_loses_less():
    """The one stated, by brute force over others."""
    between = ASSUMPTIONS["failure.chip_hours"] / 4096
    save, restart = ASSUMPTIONS["checkpoint.seconds"] / 3600, ASSUMPTIONS["failure.restart_hours"]
    best = max(
        1 / (1 + save / (minutes / 60) + (minutes / 120 + restart) / between)
        for minutes in (0.5 * i for i in range(1, 400))
    )
    assert goodput(ASSUMPTIONS, 4096) == pytest.approx(best, rel=1e-4)


def test_days_are_hours_over_chips_and_goodput():
    wall = wall_time(ASSUMPTIONS, Range(1e5, 2e5, 4e5), 256)
    assert wall.days.central == pytest.approx(2e5 / 256 / 24 / wall.goodput)
    assert wall.days.high == pytest.approx(2 * wall.days.central)
    expected = wall.days.central * 24 / wall.hours_between_failures
    assert wall.failures == pytest.approx(expected)
