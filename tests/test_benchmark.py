"""The benchmark runs as a command, and says what it ran on."""

import re

import jax
import pytest

from nanojaxlm.benchmark import OBJECTIVES


@pytest.mark.slow
def test_every_objective_has_a_speed_and_a_ratio_to_the_first(run_module):
    arguments = ("--seconds=0.1", "--sequence_length=128", "--batch_size=4")
    done = run_module("nanojaxlm.benchmark", *arguments, COLUMNS="120")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"jax {jax.__version__}" in done.stdout and "128 tokens x 4 rows" in done.stdout
    rows = dict(re.findall(r"│ (.+?) +│ +([\d.]+) +│ +[\d.]+ +│", done.stdout))
    assert rows.keys() == OBJECTIVES.keys()
    assert all(float(speed) > 0.01 for speed in rows.values())
