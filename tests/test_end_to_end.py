"""From documents to a report by the commands of the README, with the network denied."""

import json
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.token_store import TokenStore

pytestmark = pytest.mark.slow

# Told on every attempt to reach the network, by any Python code of the process, allowed or not.
GUARD = """
import os, socket, sys
def watch(event, arguments):
    if event == "socket.connect" and arguments[0].family == socket.AF_UNIX:
        return
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "urllib.Request"):
        with open(os.environ["NETWORK_ATTEMPTS"], "a") as file:
            told = [a for a in arguments if not isinstance(a, socket.socket)]
            file.write(f"{sys.argv} {event} {told}\\n")
        raise OSError("the network is denied to this test")
sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def denied():
    """The start of a command that has no network, not even to itself; [] where not allowed."""
    prefix = ["unshare", "--map-root-user", "--net"]
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    return prefix if allowed else []


@pytest.fixture(scope="module")
def main_job(tmp_path_factory, document_folder, run_module, denied):
    """(the folder, what each command printed) of the five commands without a network."""
    root = tmp_path_factory.mktemp("job")
    (root / "guard").mkdir()
    (root / "guard" / "sitecustomize.py").write_text(GUARD)
    curation, run = root / "curation", root / "run"
    small = {
        "model.d_model": 32,
        "model.decoder.num_layers": 2,
        "model.decoder.attention.num_heads": 2,
        "model.decoder.attention.num_kv_heads": 2,
        "model.decoder.attention.head_dim": 16,
        "model.decoder.feed_forward.hidden": 64,
        "data.sequence_length": 64,
        "data.batch_size": 8,
        "training.steps": 30,
        "evaluation.every": 15,
        "evaluation.sample_tokens": 8,
        "checkpoint.every": 15,
    }
    printed = {}
    for module, arguments in (
        (
            "data_pipeline.main",
            [
                "--config=configs/curation/quickstart.py",
                f"--input={document_folder}",
                f"--output={curation}",
                "--config.tokenizer.vocab_size=400",
            ],
        ),
        (
            "nanojaxlm.main",
            [
                "--config=configs/quickstart.py",
                f"--config.data.stores={curation / 'store'}",
                f"--workdir={run}",
                *(f"--config.{name}={value}" for name, value in small.items()),
            ],
        ),
        ("nanojaxlm.evaluate", [f"--checkpoint={run}"]),
        ("nanojaxlm.generate", [f"--checkpoint={run}", "--prompt=The ", "--max_tokens=8"]),
        (
            "nanojaxlm.report",
            [f"--curation={curation}", f"--workdir={run}", f"--output={root / 'report.html'}"],
        ),
    ):
        done = run_module(
            module,
            *arguments,
            before=denied,
            PYTHONPATH=f"{root / 'guard'}",
            NETWORK_ATTEMPTS=str(root / "attempts"),
        )
        assert done.returncode == 0, f"{module}: {done.stderr}"
        assert "Traceback" not in done.stderr
        printed[module] = done.stdout
    return root, printed


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_no_command_tries_to_reach_the_network(main_job):
    root, _ = main_job
    attempts = root / "attempts"
    assert not attempts.exists(), attempts.read_text()


def test_the_guard_would_have_seen_an_attempt(main_job, tmp_path, run_module):
    root, _ = main_job
    (tmp_path / "calls.py").write_text(
        "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)\n"
    )
    done = run_module(
        "calls",
        PYTHONPATH=f"{root / 'guard'}:{tmp_path}",
        NETWORK_ATTEMPTS=str(tmp_path / "attempts"),
    )
    assert done.returncode and "denied" in done.stderr
    assert "192.0.2.1" in (tmp_path / "attempts").read_text()


def test_the_curations_files_agree_with_each_other(main_job):
    curation = main_job[0] / "curation"
    report = json.loads((curation / "report.json").read_text())
    assert {"inputs", "read", "stages", "kept", "tokenizer", "versions", "cores", "seconds"} <= set(
        report
    )
    kept = sum(split["documents"] for split in report["kept"].values())
    dropped = pa.concat_tables([pq.read_table(p) for p in (curation / "dropped").glob("*")])
    assert kept + len(dropped) == report["read"]["documents"] == 61
    assert dict(zip(*(dropped[c].to_pylist() for c in ("reason", "stage")), strict=True)) == {
        "too_few_words": "filter"
    }
    store = TokenStore.open(
        str(curation / "store"), tokenizer=(curation / "tokenizer.model").read_bytes()
    )
    tokenizer = Tokenizer(store.tokenizer)
    assert tokenizer.vocab_size == 400
    for name in ("train", "validation"):
        table = pa.concat_tables(
            [pq.read_table(p) for p in sorted((curation / "documents" / name).glob("*"))]
        )
        split = store.split(name)
        ids = split.read(0, split.num_tokens)
        texts = [tokenizer.decode(part) for part in np.split(ids, split.offsets[1:-1])]
        assert texts == table["text"].to_pylist()


def test_the_runs_files_agree_with_each_other(main_job):
    root, printed = main_job
    run = root / "run"
    metrics = lines(run / "metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, 31))
    assert metrics[-1]["loss"] < 0.9 * metrics[0]["loss"]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["loss"] == pytest.approx(metrics[-1]["validation_loss"], rel=1e-5)
    assert evaluation["bits_per_byte"] == pytest.approx(
        metrics[-1]["validation_bits_per_byte"], rel=1e-5
    )
    split = TokenStore.open(str(root / "curation" / "store")).split("validation")
    assert evaluation["bytes"] == split.num_bytes
    samples = lines(run / "samples.jsonl")
    assert [(s["step"], s["prompt"]) for s in samples] == [
        (step, prompt) for step in (15, 30) for prompt in ("def ", "The license ")
    ]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["15", "30"]
    assert printed["nanojaxlm.generate"].startswith("The ")


def test_the_report_tells_what_the_files_hold(main_job):
    root, printed = main_job
    page = (root / "report.html").read_text()
    evaluation = json.loads((root / "run" / "evaluation.json").read_text())
    shown = f"{evaluation['bits_per_byte']:.3f}"
    assert shown in page and shown in printed["nanojaxlm.report"]
    for text in ("too_few_words", "xz", "bigram"):
        assert text in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
