"""Several real processes, each with its own devices, are one run: data, checkpoints, their end."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from nanojaxlm.checkpoint import FOLDER, CheckpointConfig
from nanojaxlm.config import Config, EvaluationConfig, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.distributed import DistributedConfig, Place, place_of
from nanojaxlm.errors import UserError
from nanojaxlm.losses import LossConfig
from nanojaxlm.optimizer import AdamW, WarmupStableDecay
from nanojaxlm.sharding import MeshConfig
from nanojaxlm.state import path_name
from nanojaxlm.train import train
from nanojaxlm.typed_config import dump_json

ROOT = Path(__file__).parents[1]
CONSTANT = WarmupStableDecay(warmup_steps=1, decay_rate=0.0)  # whatever the number of steps

# A process of a run: argv = address, count, index, output, workdir, config file, steps ….
# Trains to each number of steps in turn; leaves its parts of the parameters in output/STEPS-INDEX,
# and the places of the rows that it read for training in output/read-INDEX.
CHILD = """
import dataclasses, json, sys
from pathlib import Path
address, count, index, output, workdir, config, *steps = sys.argv[1:]
import jax, numpy as np
from rich.console import Console
from nanojaxlm.config import Config
from nanojaxlm.data.source import BatchSource
from nanojaxlm.distributed import Place, joined
from nanojaxlm.errors import run
from nanojaxlm.state import path_name
from nanojaxlm.train import train
from nanojaxlm.typed_config import from_config_dict

read = {}
get = BatchSource.__getitem__
def recording(self, i):
    element = get(self, i)
    if self._schedule is not None:
        read[int(i)] = element[2].tolist()
    return element
BatchSource.__getitem__ = recording

def main(argv):
    whole = from_config_dict(Config, json.loads(Path(config).read_text()))
    place = Place(coordinator=address, index=int(index), count=int(count))
    with joined(place, whole.distributed) as peers:
        assert jax.process_count() == int(count)
        for n in steps:
            training = dataclasses.replace(whole.training, steps=int(n))
            now = dataclasses.replace(whole, training=training)
            state = train(now, Path(workdir), Console(quiet=True), peers)
            parts = {}
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
                for part in leaf.addressable_shards:
                    spans = [s.indices(n)[:2] for s, n in zip(part.index, leaf.shape)]
                    parts[f"{path_name(path)}|{json.dumps(spans)}"] = np.asarray(part.data)
            np.savez(f"{output}/{n}-{index}.npz", **parts)
    Path(f"{output}/read-{index}").write_text(json.dumps(read))
run(main)
"""


def free_address() -> str:
    """A loopback address whose port and the one below it are free."""
    while True:
        with socket.socket() as upper, socket.socket() as lower:
            upper.bind(("127.0.0.1", 0))
            port = upper.getsockname()[1]
            try:
                lower.bind(("127.0.0.1", port - 1))
            except OSError:
                continue
            return f"127.0.0.1:{port}"


def environment(folder, devices):
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(ROOT),
    }


def run_processes(folder, config, workdir, count, devices, *steps):
    """Trains in `count` processes of so many devices each; {steps: parameters}, and who read what:
    of each process {step: places}."""
    folder.mkdir()
    (folder / "config.json").write_text(dump_json(config))
    address = free_address()
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", CHILD, address, str(count), str(index), str(folder)),
                *(str(workdir), str(folder / "config.json"), *map(str, steps)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(folder, devices),
        )
        for index in range(count)
    ]
    try:
        for child in children:
            _, err = child.communicate(timeout=600)
            assert child.returncode == 0, err
    finally:
        for child in children:
            child.kill()
            child.wait()
    parameters = {n: assembled(folder.glob(f"{n}-*.npz")) for n in steps}
    read = [json.loads((folder / f"read-{index}").read_text()) for index in range(count)]
    return parameters, [{int(step): places for step, places in r.items()} for r in read]


def assembled(files):
    """{path: array} of the parts that the processes left; parts that overlap have to be equal."""
    parts = [(*key.split("|"), part) for file in files for key, part in np.load(file).items()]
    whole: dict[str, np.ndarray] = {}
    for path, spans, part in sorted(parts, key=lambda of: json.loads(of[1]), reverse=True):
        where = tuple(slice(*span) for span in json.loads(spans))
        if path not in whole:  # the last part comes first: where it ends, the array does
            whole[path] = np.full([span.stop for span in where], np.nan, part.dtype)
        held = whole[path][where]
        assert np.all(np.isnan(held) | (held == part)), path
        whole[path][where] = part
    assert not any(np.isnan(array).any() for array in whole.values())
    return whole


def parameters_of(state):
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


def assert_bits_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for path, array in ours.items():
        assert array.tobytes() == theirs[path].tobytes(), path


def lines(workdir, name):
    return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


def metrics(workdir):
    return {line["step"]: line for line in lines(workdir, "metrics.jsonl")}


@pytest.fixture(scope="module")
def run_config(text_file, tiny_config):
    return Config(
        model=dataclasses.replace(tiny_config(scan=True), vocab_size=None),
        data=DataConfig(text=str(text_file), sequence_length=16, batch_size=8),
        optimizer=AdamW(learning_rate=1e-2, schedule=CONSTANT),
        training=TrainingConfig(steps=4, log_every=1),
        loss=LossConfig(chunk_length=16),
        mesh=MeshConfig(fsdp=4),
        evaluation=EvaluationConfig(
            every=1000, batches=1, sample_prompts=("The ", "A"), sample_tokens=3
        ),
        checkpoint=CheckpointConfig(every=2),
    )


@pytest.fixture(scope="module")
def four_by_two(tmp_path_factory, run_config):
    """(workdir, parameters after step 4, who read what) of 4 processes with 2 devices each."""
    folder = tmp_path_factory.mktemp("four")
    parameters, read = run_processes(folder / "out", run_config, folder / "run", 4, 2, 4)
    return folder / "run", parameters[4], read


@pytest.fixture(scope="module")
def one_by_eight(tmp_path_factory, run_config, quick_compile):
    """The workdir of the same run, 6 steps of it, in this process with 8 devices."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    longer = dataclasses.replace(run_config.training, steps=6)
    train(dataclasses.replace(run_config, training=longer), workdir, Console(quiet=True))
    return workdir


@pytest.mark.slow
def test_four_processes_read_disjoint_rows_that_are_those_of_one(four_by_two, one_by_eight):
    workdir, _, read = four_by_two
    for step in range(4):
        places = [set(of_process[step]) for of_process in read]
        assert sum(map(len, places)) == len(set.union(*places)) == 8
        assert set.union(*places) == set(range(8 * step, 8 * step + 8))
    ours, alone = metrics(workdir), metrics(one_by_eight)
    assert list(ours) == [1, 2, 3, 4]
    for step, line in ours.items():
        assert line["batch_hash"] == alone[step]["batch_hash"]
        assert line["loss"] == pytest.approx(alone[step]["loss"], rel=1e-5)
        assert line["grad_norm"] == pytest.approx(alone[step]["grad_norm"], rel=1e-4)
    assert [sample["step"] for sample in lines(workdir, "samples.jsonl")] == [4, 4]


@pytest.mark.slow
def test_a_checkpoint_of_four_processes_goes_on_in_one_with_eight_devices(
    tmp_path, four_by_two, one_by_eight, run_config, quick_compile
):
    workdir, saved, _ = four_by_two
    shutil.copytree(workdir, tmp_path / "run")
    state = train(run_config, tmp_path / "run", Console(quiet=True))
    assert int(state.step) == 4
    assert_bits_equal(parameters_of(state), saved)
    longer = dataclasses.replace(run_config.training, steps=6)
    train(dataclasses.replace(run_config, training=longer), tmp_path / "run", Console(quiet=True))
    assert_goes_on(tmp_path / "run", one_by_eight)


@pytest.mark.slow
def test_a_checkpoint_of_four_processes_goes_on_in_two_with_one_device(
    tmp_path, four_by_two, one_by_eight, run_config
):
    workdir, saved, _ = four_by_two
    shutil.copytree(workdir, tmp_path / "run")
    smaller = dataclasses.replace(run_config, mesh=MeshConfig(fsdp=2))
    parameters, read = run_processes(tmp_path / "out", smaller, tmp_path / "run", 2, 1, 4, 6)
    assert_bits_equal(parameters[4], saved)
    assert_goes_on(tmp_path / "run", one_by_eight)
    for step in (4, 5):
        assert sorted(read[0][step] + read[1][step]) == list(range(8 * step, 8 * step + 8))


def assert_goes_on(workdir, alone):
    """Steps 5 and 6 are those of the run that was never stopped."""
    ours, theirs = metrics(workdir), metrics(alone)
    assert list(ours) == list(range(1, 7))
    for step in (5, 6):
        assert ours[step]["batch_hash"] == theirs[step]["batch_hash"]
        assert ours[step]["loss"] == pytest.approx(theirs[step]["loss"], rel=1e-5)


@pytest.fixture
def two_processes(tmp_path, small_run):
    """Two processes of nanojaxlm.main in one long run; (processes, workdir)."""
    workdir, address = tmp_path / "run", free_address()
    flags = ("--config.training.steps=100000", "--config.evaluation.every=100000")
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "nanojaxlm.main", *small_run, *flags),
                *(f"--workdir={workdir}", f"--coordinator={address}"),
                *("--num_processes=2", f"--process_id={index}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tmp_path, 2),
            cwd=ROOT,
        )
        for index in range(2)
    ]
    yield processes, workdir
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(processes, there):
    deadline = time.monotonic() + 300
    while not there():
        assert time.monotonic() < deadline
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_which_names_it(two_processes, victim):
    """Process 0 too, though it holds the coordinator, without which jax would abort the others."""
    processes, workdir = two_processes
    wait_for(processes, lambda: (workdir / FOLDER / "10").is_dir())
    processes[victim].kill()
    start = time.monotonic()
    other = processes[1 - victim]
    _, err = other.communicate(timeout=60)
    assert time.monotonic() - start < 15
    name = f"error: process {victim} (host {socket.gethostname()}, pid {processes[victim].pid})"
    assert other.returncode == 75, err
    assert err.startswith(f"{name} is dead") and err.count("\n") == 1, err


@pytest.mark.slow
def test_a_process_killed_before_the_first_step_ends_the_other(two_processes):
    """While the other compiles, or waits in the middle of the checks."""
    processes, workdir = two_processes
    wait_for(processes, lambda: (workdir / "store" / "manifest.json").exists())
    processes[1].kill()
    _, err = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 75, err
    assert f"process 1 (host {socket.gethostname()}, pid {processes[1].pid}) is dead" in err


@pytest.mark.slow
def test_sigterm_to_one_process_makes_all_save_after_the_same_step(two_processes):
    processes, workdir = two_processes
    wait_for(processes, lambda: (workdir / FOLDER / "10").is_dir())
    processes[1].send_signal(signal.SIGTERM)
    told = set()
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 75, err
        last = err.splitlines()[-1]  # jax notes the signal first, in the process that gets it
        assert last.startswith("error: stopped by SIGTERM after step"), err
        told.add(last.split("after step ")[1].split(",")[0])
    (step,) = told
    assert (workdir / FOLDER / step).is_dir()
    assert list(metrics(workdir))[-1] == int(step)


def test_the_flags_of_a_place_belong_together():
    assert place_of(None, None, None, False) is None
    want = Place(coordinator="host:1234", index=1, count=2)
    assert place_of("host:1234", 2, 1, False) == want
    for flags, words in (
        (("host:1234", None, 1, False), "belong together"),
        (("host:1234", 2, 1, True), "leave out --coordinator"),
        (("host", 2, 1, False), "must be HOST:PORT"),
        (("host:port", 2, 1, False), "must be HOST:PORT"),
        (("host:1234", 2, 2, False), "--process_id must be 0 to 1"),
        (("host:1234", 0, 0, False), "--num_processes must be >= 1"),
    ):
        with pytest.raises(UserError, match=words):
            place_of(*flags)


def test_a_place_is_found_in_what_slurm_sets(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "JAX_", "OMPI_", "KUBERNETES")):
            monkeypatch.delenv(name)
    with pytest.raises(UserError, match="jax finds no cluster here"):
        place_of(None, None, None, True)
    for name, value in {
        "SLURM_JOB_ID": "4095",  # jax takes port 65535 for it: the watch has to be below
        "SLURM_JOBID": "4095",
        "SLURM_STEP_NODELIST": "node[3-4]",
        "SLURM_NTASKS": "8",
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
    }.items():
        monkeypatch.setenv(name, value)
    found = place_of(None, None, None, True)
    assert found == Place(coordinator="node3:65535", index=5, count=8, local_devices=[1])


def test_limits_are_positive():
    with pytest.raises(ValueError, match="stall_seconds must be above 0, got 0"):
        DistributedConfig(stall_seconds=0)
