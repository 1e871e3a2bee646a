"""The command: figures and exit codes of compiling a config for chips that are not here."""

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = "nanojaxlm.planning.compile"
SMALL = (
    f"--config={ROOT / 'configs' / 'shakespeare_char.py'}",
    "--config.model.vocab_size=128",
    "--config.model.decoder.num_layers=2",
    "--config.data.sequence_length=64",
    "--config.data.batch_size=16",
)
Run = Callable[..., subprocess.CompletedProcess]

pytestmark = pytest.mark.slow
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: the extra tpu"
)


def test_a_config_compiles_for_a_cpu_cut_up(run_module: Run, tmp_path: Path):
    file = tmp_path / "plan.json"
    done = run_module(MODULE, *SMALL, "--topology=cpu:4", "--config.mesh.fsdp=2", f"--json={file}")
    assert done.returncode == 0, done.stderr
    for word in ("argument bytes", "model FLOPs", "bytes moved", "all-gather", "fsdp"):
        assert word in done.stdout
    report = json.loads(file.read_text())
    assert report["mesh"] == {"data": 2, "fsdp": 2}
    assert report["memory"]["peak"] > report["memory"]["argument"] > 0
    assert report["unknown_trips"] == 0


@needs_libtpu
def test_what_does_not_fit_a_tpu_exits_with_3_and_says_what_to_try(run_module: Run):
    """A table of 16 GiB and its moments on one chip of as much."""
    large = ("--config.model.vocab_size=8388608", "--config.model.d_model=512")
    done = run_module(MODULE, *SMALL, *large, "--topology=v5e:1x1")
    assert done.returncode == 3, done.stderr
    assert "does not fit, short by" in done.stdout and "try" in done.stdout


@needs_libtpu
def test_a_search_compiles_the_best_and_says_how_to_have_it(run_module: Run, tmp_path: Path):
    file = tmp_path / "plans.json"
    arguments = ("--topology=v5e:2x2", "--search", "--compiled=1", f"--json={file}")
    done = run_module(MODULE, *SMALL, *arguments)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(file.read_text())
    assert report["fits"]
    assert "the best: " + " ".join(report["flags"]) in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--config is missing",)),
        (SMALL, ("--topology is missing", "v5e:16x16")),
        ((*SMALL, "--topology=v7:2x2"), ("v4, v5e, v5p, v6e",)),
        ((*SMALL, "--topology=cpu:4", "--config.mesh.fsdp=3"), ("does not fit 4 devices",)),
        ((*SMALL, "--topology=cpu:4", "--search"), ("--search", "TPU")),
        ((*SMALL, "--topology=cpu:32"), ("16 rows", "multiple of 32")),
    ],
)
def test_mistakes_are_one_line(
    run_module: Run,
    assert_mistake: Callable[..., None],
    arguments: tuple[str, ...],
    words: tuple[str, ...],
):
    assert_mistake(run_module(MODULE, *arguments), 2, *words)
