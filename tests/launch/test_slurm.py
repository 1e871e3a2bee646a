"""launch/slurm.sbatch against stand-ins for srun and scontrol."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

TRAINING = ("--config=configs/a b.py", "--workdir=/mnt/it's", "--config.seed=$HOME")


@pytest.fixture
def cluster(with_python: Callable) -> Callable:
    """cluster(*codes): a world whose srun runs the command as one task."""

    def make(*codes: int):
        world = with_python(*codes)
        world.stand_in(
            "srun",
            'while [[ $1 == --* ]]; do shift; done\necho "$XLA_FLAGS" >"$WORLD/flags"\nexec "$@"\n',
        )
        world.stand_in("scontrol", "")
        return world

    return make


def submit(world, *arguments: str, **environment: str):
    job = {"SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "6"}
    return world.run(
        "slurm.sbatch",
        *(arguments or TRAINING),
        **({"NANOJAXLM_PYTHON": "python"} | job | environment),
    )


def test_a_job_runs_one_process_a_task_and_ends(cluster):
    world = cluster()
    done = submit(world, XLA_FLAGS="--mine=1")
    assert done.returncode == 0, done.stderr
    (srun,) = map(shlex.split, world.calls("srun"))
    assert "--cpus-per-task=6" in srun and "--kill-on-bad-exit=0" in srun and "--wait=120" in srun
    (python,) = map(shlex.split, world.calls("python"))
    assert python == ["python", "-m", "nanojaxlm.main", *TRAINING, "--distributed"]
    assert world.calls("scontrol") == []
    flags = world.run("xla_flags.sh", "gpu").stdout.strip()
    assert (world.folder / "flags").read_text() == f"{flags} --mine=1\n"


def test_a_dry_run_prints_exactly_what_would_run(cluster):
    world = cluster()
    dry = submit(world, "--dry-run", *TRAINING)
    assert (dry.returncode, world.calls()) == (0, [])
    world.stand_in("env", 'exec /usr/bin/env "$@"')
    submit(world)
    assert dry.stdout.splitlines() == world.calls("env")


@pytest.mark.parametrize("code", [75, 137, 1])
def test_what_is_worth_retrying_is_requeued(cluster, code):
    world = cluster(code)
    done = submit(world)
    assert done.returncode == 0, done.stderr
    assert world.calls("scontrol") == ["scontrol requeue 17"]


def test_a_mistake_is_not_requeued(cluster):
    world = cluster(2)
    assert submit(world).returncode == 2
    assert world.calls("scontrol") == []


def test_short_failures_in_a_row_come_to_an_end(cluster):
    world = cluster(75, 1, 75)
    for _ in range(2):
        assert submit(world, NANOJAXLM_MAX_RESTARTS="2").returncode == 0
    done = submit(world, NANOJAXLM_MAX_RESTARTS="2")
    assert done.returncode == 75
    assert "giving up after 3 short runs in a row" in done.stderr
    assert len(world.calls("scontrol")) == 2


def test_a_copy_in_the_spool_folder_finds_the_checkout(cluster):
    world = cluster()
    spool = world.folder / "spool"
    spool.mkdir()
    shutil.copy(world.checkout / "launch/slurm.sbatch", spool / "slurm_script")
    found = world.run(
        spool / "slurm_script", "--dry-run", "x", SLURM_SUBMIT_DIR=str(world.checkout)
    )
    assert found.returncode == 0, found.stderr
    lost = world.run(spool / "slurm_script", "--dry-run", "x", SLURM_SUBMIT_DIR=str(world.folder))
    assert lost.returncode == 2
    assert "NANOJAXLM_REPOSITORY=FOLDER" in lost.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (("--dry-run",), {}, "what to train is missing"),
        (("x",), {"NANOJAXLM_PYTHON": "/no/python"}, "NANOJAXLM_PYTHON=/no/python cannot be run"),
        (("x",), {"NANOJAXLM_PYTHON": ""}, "make it with launch/worker.sh install gpu"),
    ],
)
def test_mistakes_are_told_at_once(cluster, arguments, environment, words):
    world = cluster()
    done = submit(world, *arguments, **environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert world.calls() == []


def test_the_options_for_sbatch_come_before_the_first_command():
    """sbatch stops reading them there."""
    text = (Path(__file__).resolve().parents[2] / "launch" / "slurm.sbatch").read_text()
    head, _, body = text.partition("set -euo pipefail")
    assert "#SBATCH" not in body
    assert all(line.startswith("#") for line in head.splitlines())
    options = [
        line.split(maxsplit=1)[1] for line in head.splitlines() if line.startswith("#SBATCH")
    ]
    assert "--signal=TERM@300" in options and "--requeue" in options
