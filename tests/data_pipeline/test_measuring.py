"""The commands that measure: their help, their mistakes, and that they run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline import peer
from data_pipeline.document import batch_of

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"COLUMNS": "200"},
    )


@pytest.mark.parametrize(
    ("module", "word"),
    [
        ("data_pipeline.benchmark", "--megabytes"),
        ("data_pipeline.scale", "--gigabytes"),
        ("data_pipeline.accuracy", "--data"),
    ],
)
def test_help_names_the_flags_and_a_mistake_is_told_in_one_line(module, word):
    done = run(module, "--help")
    assert done.returncode == 0 and word in done.stdout
    done = run(module, "--no_such_flag=3")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no_such_flag" in done.stderr


def test_missing_folders_are_told():
    assert "--output is missing" in run("data_pipeline.scale").stderr
    assert "name the folder" in run("data_pipeline.accuracy", "--data=/none/such").stderr


def test_the_benchmark_times_every_stage_and_datatrove_where_it_is_installed(tmp_path, make_prose):
    with open(tmp_path / "documents.jsonl", "w") as file:
        for i in range(60):
            file.write(json.dumps({"text": make_prose(i, 60)}) + "\n")
    done = run("data_pipeline.benchmark", f"--input={tmp_path}", "--megabytes=0.3")
    assert done.returncode == 0, done.stdout + done.stderr
    for stage in ("exact_dedup", "language", "filter", "near_dedup", "substring_dedup", "pii"):
        assert stage in done.stdout
    assert ("x" in done.stdout.splitlines()[-2].split("│")[-2]) == peer.installed()


def test_a_corpus_is_made_curated_and_watched(tmp_path, make_prose):
    for i in range(30):
        (tmp_path / f"{i}.txt").write_text(make_prose(i, 60))
    output = tmp_path / "out"
    arguments = ("--gigabytes=0.001", f"--input={tmp_path}", f"--output={output}", "--workers=1")
    done = run("data_pipeline.scale", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((output / "scale.json").read_text())["runs"]
    assert 0.9e6 < found["bytes"] < 1.2e6 and 0 < found["kept"] < found["documents"]
    assert found["peak_bytes"] > 50e6 and len(found["curve"]) > 2
    assert {"read", "near_dedup", "substring_dedup", "pii"} <= set(found["seconds_by_stage"])


@pytest.mark.skipif(not peer.installed(), reason="datatrove is not installed")
def test_datatrove_is_asked_for_the_same_work(tmp_path, make_prose):
    (tmp_path / "in").mkdir()
    texts = [make_prose(i) for i in range(12)]
    texts += [texts[3] + "One more.\n", "too short", "write to ann@example.com " + texts[5]]
    rows = batch_of(texts).select(["id", "text"]).to_pylist()
    for number in range(2):
        lines = [json.dumps(row) + "\n" for row in rows[number::2]]
        (tmp_path / "in" / f"{number}.jsonl").write_text("".join(lines))
    seconds = peer.seconds_by_step(tmp_path / "in", tmp_path / "work", 2)
    assert set(seconds) == {"filter", "near_dedup", "pii"} and min(seconds.values()) > 0

    def left(name: str) -> list[str]:
        files = sorted((tmp_path / "work" / name).glob("*.jsonl"))
        return [json.loads(line)["text"] for file in files for line in file.open()]

    assert "too short" not in left("filtered")
    assert len(left("deduplicated")) == len(texts) - 2
    assert len(left("scrubbed")) == len(texts)
    assert not any("ann@example.com" in text for text in left("scrubbed"))
