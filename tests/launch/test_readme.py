"""launch/README.md: its commands are accepted, and what it says of numbers is so."""

import re
import shlex
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
TEXT = (LAUNCH / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
OURS = [words for line in LINES if (words := shlex.split(line, comments=True))[0][:7] == "launch/"]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_command_is_accepted(world, words):
    script, *arguments = words
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    dry = (*arguments[:cut], "--dry-run", *arguments[cut:])
    done = world.run(script.removeprefix("launch/"), *dry)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_command_for_slurm_is_accepted(world):
    (words,) = [shlex.split(line) for line in LINES if line.startswith("sbatch")]
    script = words.index("launch/slurm.sbatch")
    done = world.run("slurm.sbatch", "--dry-run", *words[script + 1 :])
    assert done.returncode == 0, done.stderr


def test_every_script_is_mentioned():
    for path in (*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch"), *LAUNCH.glob("gke/*.py")):
        if path.name not in ("environment.sh", "commands.sh", "quickstart.sh", "test.sh"):
            assert path.name in TEXT, path.name


@pytest.mark.parametrize(
    ("script", "default"),
    [
        ("tpu_pod.sh", "max_restarts=10"),
        ("slurm.sbatch", "NANOJAXLM_MAX_RESTARTS:-10"),
        ("gke/jobset.py", '"--max-restarts", type=int, default=100'),
    ],
)
def test_the_defaults_are_those_of_the_table(script, default):
    assert default in (LAUNCH / script).read_text()
