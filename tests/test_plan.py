"""`python -m nanojaxlm.plan` as a user runs it."""

import json
import re

import pytest

pytestmark = pytest.mark.slow
PLAN = "nanojaxlm.plan"
KNOWN = ("--params=6.74e9", "--tokens=2e12", "--accelerator=a100-80gb")


def test_json_is_all_that_is_printed_and_holds_the_hours(run_module):
    done = run_module(PLAN, *KNOWN, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    hours = json.loads(done.stdout)["accelerator_hours"]
    assert hours["low"] < 184_320 < hours["high"]
    assert hours["central"] == pytest.approx(184_320, rel=0.15)


def test_flags_override_constants_file_below_flags_below_set(run_module, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(
        '"power.pue" = 1.3\n[a100-80gb]\nprice_per_hour = "1:2:3"\n[build]\nstaff = 4\n'
    )
    done = run_module(
        PLAN, *KNOWN, "--json", f"--assumptions={file}", "--staff=5", "--set=power.pue=1.1:1.2:1.5"
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["constants"]}
    assert [rows["a100-80gb.price_per_hour"][key] for key in ("low", "value", "high")] == [1, 2, 3]
    assert rows["build.staff"]["value"] == 5 and rows["build.staff"]["source"] == "--staff"
    assert rows["power.pue"]["value"] == 1.2 and rows["power.pue"]["overridden"]
    assert not rows["h100.price_per_hour"]["overridden"]


def test_the_page_and_the_terminal_say_the_same_verdict(run_module, tmp_path):
    page = tmp_path / "new" / "plan.html"
    done = run_module(PLAN, "--params=7B", "--queries=2M", "--data_stays", f"--html={page}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Fine-tune an open model" in done.stdout
    text = page.read_text()
    assert "Fine-tune an open model" in text
    assert not re.search(r"<script|src=|@import|url\(", text)


def test_constants_are_listed_with_source_and_date(run_module):
    done = run_module(PLAN, "--constants")
    assert done.returncode == 0, done.stderr
    for words in ("h100.price_per_hour", "mfu.ampere", "Muennighoff", "electricity"):
        assert words in done.stdout


def test_a_config_is_planned_with_its_own_steps(run_module):
    done = run_module(PLAN, "--config=configs/models/llama.py:2-7b", "--accelerator=v5p", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"]["params"] == 6_738_415_616
    assert found["model"]["tokens"] == pytest.approx(2e12, rel=0.01)
    assert found["memory"]["command"].startswith("python -m nanojaxlm.planning.compile")


def test_a_finished_run_replaces_assumptions(run_module, finished_run):
    measured = f"--measured={finished_run}"
    config = f"--config=configs/saved.py:{finished_run}/config.json"
    done = run_module(PLAN, config, measured, "--json", "--tokens=1e8")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accelerator"] == "cpu"
    speed = found["measured"]["tokens_per_second"]["central"]
    devices = found["measured"]["num_devices"]
    by_hand = 1e8 / (speed / devices) / 3600
    assert found["accelerator_hours"]["central"] == pytest.approx(by_hand, rel=0.05)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["nothing says how large", "--params", "--budget"]),
        (["--params=seven"], ["--params=seven is no number", "7B"]),
        ([*KNOWN, "--chips=1"], ["do not fit on --chips=1", "fit from"]),
        ([*KNOWN, "--chips=2.5"], ["--chips=2.5", "whole number"]),
        ([*KNOWN, "--set=h100.prize=2"], ["no constant 'h100.prize'", "h100.price_per_hour"]),
        (["--budget=0.0000001"], ["the budget buys nothing", "raise --budget"]),
        (["--params=1e9", "--corpus=nowhere"], ["--corpus=nowhere", "no such file"]),
        (["--params=1e9", "--measured=nowhere"], ["--measured=nowhere holds no run"]),
        (["--params=1e9", "--assumptions=nowhere"], ["--assumptions=nowhere", "TOML"]),
        (["--config=configs/quickstart.py"], ["--config.model.vocab_size", "--measured"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_mistakes_are_told_in_one_line(run_module, assert_mistake, flags, words):
    assert_mistake(run_module(PLAN, *flags), 2, *words)
