"""A run that is killed and started again is the run that was never killed, bit for bit."""

import json
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from nanojaxlm.checkpoint import FOLDER, Checkpoints
from nanojaxlm.config import Config
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import make_mesh
from nanojaxlm.state import abstract_state, parameter_boxes, path_name
from nanojaxlm.typed_config import from_config_dict

pytestmark = pytest.mark.slow
DETERMINISTIC = (
    *("step", "loss", "learning_rate", "grad_norm", "targets", "batch_hash"),
    *("validation_loss", "validation_bits_per_byte"),
)


def lines(workdir, name="metrics.jsonl"):
    return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


def figures(workdir):
    """What a run says of each step, but for how fast it went."""
    return [{key: line[key] for key in DETERMINISTIC if key in line} for line in lines(workdir)]


def final_state(workdir):
    """The whole state of the newest checkpoint, by name."""
    checkpoints = Checkpoints(workdir, read_only=True)
    config = from_config_dict(Config, checkpoints.describe().config)
    boxes = parameter_boxes(Transformer(config.model))
    optimizer = config.optimizer.make(config.training.steps, boxes)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    state = checkpoints.restore(abstract_state(boxes, optimizer, mesh))
    checkpoints.close()
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path_name(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


def assert_same_run(workdir, reference):
    assert [line["step"] for line in lines(workdir)] == list(range(1, 41))
    assert figures(workdir) == figures(reference)
    assert lines(workdir, "samples.jsonl") == lines(reference, "samples.jsonl")
    assert final_state(workdir) == final_state(reference)


def stop_when(process, workdir, step, number, saved=None):
    """Sends the signal once this process has written a line of that step, and saved step `saved`.

    Returns (exit code, standard error, the last step written).
    """
    metrics = workdir / "metrics.jsonl"
    before = metrics.stat().st_ino if metrics.exists() else None  # replaced when it goes on
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            reached = max((line["step"] for line in lines(workdir)), default=0) >= step
        except (OSError, ValueError):  # not there yet, or a line half written
            reached = False
        committed = saved is None or (workdir / FOLDER / str(saved)).exists()
        if reached and committed and metrics.stat().st_ino != before:
            break
        time.sleep(0.005)
    assert process.poll() is None, f"it ended before step {step}: {process.communicate()}"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode(), max(line["step"] for line in lines(workdir))


@pytest.fixture
def slowed(tmp_path):
    """An environment in which each step takes some ms more, so that a signal can hit a step."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n"
        "def slow(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('metrics.jsonl'):\n"
        "        import nanojaxlm.writers as writers\n"
        "        metrics = writers.RunWriter.metrics\n"
        "        def slower(*args, **kwargs):\n"
        "            metrics(*args, **kwargs)\n"
        "            time.sleep(0.1)\n"
        "        if metrics.__name__ == 'metrics':\n"
        "            writers.RunWriter.metrics = slower\n"
        "sys.addaudithook(slow)\n"
    )
    return tmp_path


def with_slowing(slowed):
    return {"PYTHONPATH": f"{slowed}:{Path(__file__).resolve().parents[1]}"}


def test_killed_twice_and_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path, slowed, small_run, module_process, run_module, finished_run
):
    workdir = tmp_path / "run"
    command = ("nanojaxlm.main", *small_run, f"--workdir={workdir}")
    for step, saved in ((13, 10), (23, 20)):  # each time between two steps that are saved
        process = module_process(*command, **with_slowing(slowed))
        code, _, last = stop_when(process, workdir, step, signal.SIGKILL, saved)
        assert code == -signal.SIGKILL and step <= last < 40
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 39, "lo')  # as a kill during a write leaves it
    other_pace = ("--config.data.prefetch=7", "--config.data.num_threads=1")
    done = run_module(*command, *other_pace)
    assert done.returncode == 0, done.stderr
    assert "going on from the checkpoint of step" in done.stdout and done.stderr == ""
    assert_same_run(workdir, finished_run)


def test_sigterm_saves_and_asks_to_be_called_again(
    tmp_path, slowed, small_run, module_process, run_module, finished_run
):
    workdir = tmp_path / "run"
    command = ("nanojaxlm.main", *small_run, f"--workdir={workdir}")
    process = module_process(*command, **with_slowing(slowed))
    code, err, last = stop_when(process, workdir, 13, signal.SIGTERM)
    assert code == 75
    assert err.startswith("error: stopped by SIGTERM after step") and err.count("\n") == 1
    stopped = int(err.split("after step ")[1].split(",")[0])
    assert 13 <= stopped == last < 40
    assert (workdir / FOLDER / str(stopped)).is_dir()
    done = run_module("nanojaxlm.main", f"--workdir={workdir}")  # from config.json alone
    assert done.returncode == 0, done.stderr
    assert f"going on from the checkpoint of step {stopped}" in done.stdout
    assert_same_run(workdir, finished_run)


def test_a_saved_config_alone_gives_the_same_run_again(tmp_path, run_module, finished_run):
    config = f"--config=configs/saved.py:{finished_run / 'config.json'}"
    done = run_module("nanojaxlm.main", config, f"--workdir={tmp_path}/again")
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "again", finished_run)
    assert (tmp_path / "again" / "config.json").read_bytes() == (
        finished_run / "config.json"
    ).read_bytes()


def test_a_finished_run_is_left_alone_and_what_does_not_fit_it_is_refused(
    tmp_path, text_file, small_run, run_module, finished_run, assert_mistake
):
    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    command = ("nanojaxlm.main", *small_run, f"--workdir={workdir}")
    other = tmp_path / "other.txt"
    other.write_text(text_file.read_text().replace("r", "ř"))
    same_alphabet = tmp_path / "same.txt"
    same_alphabet.write_text(text_file.read_text()[::-1])

    def snapshot():
        return {
            str(path): path.read_bytes()
            for path in sorted(workdir.rglob("*"))
            if path.is_file() and "store" not in path.parts
        }

    before = snapshot()
    done = run_module(*command)
    assert (done.returncode, done.stderr) == (0, "") and "finished already" in done.stdout
    assert snapshot() == before
    for arguments, words in (
        (["--config.model.d_model=48"], ["config.model.d_model is 48", "trained with 32"]),
        (["--config.seed=1"], ["config.seed is 1", "another --workdir"]),
        (["--config.training.steps=30"], ["already at step 40"]),
        (["--config.data.batch_size=4"], ["batch_size 8", "give 4"]),
        ([f"--config.data.text={same_alphabet}"], ["checkpoint's batches have data"]),
        ([f"--config.data.text={other}"], ["another tokenizer than store"]),
    ):
        assert_mistake(run_module(*command, *arguments), 2, *words)
        assert snapshot() == before
