"""launch/tpu_pod.sh and launch/worker.sh against a stand-in for gcloud, whose workers are this
machine: what is sent to them runs here."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

GCLOUD = """
verb=$4
case $verb in
  describe)
    [[ -e $WORLD/pod ]] || { echo "ERROR: (gcloud) NOT_FOUND: no such resource" >&2; exit 1; }
    head -1 "$WORLD/states"
    (($(wc -l <"$WORLD/states") == 1)) || sed -i 1d "$WORLD/states" ;;
  create)
    [[ ! -e $WORLD/refused ]] || { echo "ERROR: (gcloud) no quota" >&2; exit 1; }
    touch "$WORLD/pod" ;;
  delete) rm -- "$WORLD/pod" ;;
  scp) cp -- "$5" "$HOME/${6#*:}" ;;
  ssh)
    command=${!#} command=${command#--command=} lost=
    if [[ $command == *"worker.sh wait" && -s $WORLD/connections ]]; then
      lost=$(head -1 "$WORLD/connections"); sed -i 1d "$WORLD/connections"
    fi
    [[ $lost != lost ]] || exit 255
    cd && exec bash -c "$command" ;;
esac
"""
POD = ("--name=llama", "--zone=us-west4-a", "--accelerator=v5litepod-16", "--poll-seconds=0")
TRAINING = ("--", "--config=configs/a b.py", "--workdir=/mnt/it's", "--config.seed=$HOME")
VERBS = ("describe", "create", "describe", "scp", "ssh", "ssh", "ssh", "delete")


@pytest.fixture
def pod(with_python: Callable) -> Callable:
    """pod(*codes, states=("ACTIVE",), connections=()): a world whose training ends with these
    codes, whose pod is seen in these states, one after another, and whose connections are "lost" or
    "kept"."""

    def make(*codes: int, states=("ACTIVE",), connections=()):
        world = with_python(*codes)
        world.stand_in("gcloud", GCLOUD)
        world.write("states", *states)
        world.write("connections", *connections)
        return world

    return make


def train(world, *options: str) -> subprocess.CompletedProcess:
    return world.run("tpu_pod.sh", "train", *POD, *options, *TRAINING, NANOJAXLM_PYTHON="python")


def verbs(world) -> tuple[str, ...]:
    return tuple(shlex.split(call)[4] for call in world.calls("gcloud"))


def trainings(world) -> list[list[str]]:
    return [shlex.split(call)[1:] for call in world.calls("python")]


def test_a_pod_is_made_installed_trained_on_and_deleted(pod):
    world = pod()
    done = train(world, "--spot", "--slices=2", "--create-flag=--network=a b", "--project=mine")
    assert done.returncode == 0, done.stderr
    assert verbs(world) == VERBS
    create = shlex.split(world.calls("gcloud")[1])
    assert create[4:] == [
        "create", "llama", "--zone=us-west4-a", "--project=mine", "--accelerator-type=v5litepod-16",
        "--runtime-version=v2-alpha-tpuv5-lite", "--node-count=2", "--node-prefix=llama",
        "--spot", "--network=a b",
    ]  # fmt: skip
    assert not (world.folder / "pod").exists()


def test_arguments_reach_training_as_they_were_given(pod):
    world = pod()
    done = train(world)
    assert done.returncode == 0, done.stderr
    assert trainings(world) == [["-m", "nanojaxlm.main", *TRAINING[1:], "--distributed"]]
    assert "trained with -m nanojaxlm.main --config=configs/a b.py" in done.stdout


def test_training_gets_the_flags_of_the_accelerator(pod):
    world = pod()
    train(world)
    flags = world.run("xla_flags.sh", "v5e").stdout
    assert (world.folder / "environments").read_text() == f"LIBTPU_INIT_ARGS={flags}"


def test_a_dry_run_prints_exactly_what_would_run(pod):
    world = pod()
    options = ("--spot", "--setup=mount 'a b' && true")
    dry = train(world, *options, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert world.calls() == []
    world.stand_in("tar", 'exec /usr/bin/env -i PATH=/usr/bin:/bin tar "$@"')
    world.stand_in("mkdir", 'exec /usr/bin/env -i PATH=/usr/bin:/bin mkdir "$@"')
    world.stand_in("mount", "")
    wet = train(world, *options)
    assert wet.returncode == 0, wet.stderr
    checkout = str(world.checkout)
    ours = world.calls("gcloud", "tar", "mkdir")
    ran = [call for call in ours if call.startswith("gcloud") or checkout in call]
    assert dry.stdout.splitlines() == ran


def test_the_setup_runs_on_the_workers_after_the_installation(pod):
    world = pod()
    train(world, "--setup=touch ~/'set up' && ls nanojaxlm/launch/worker.sh")
    assert (world.folder / "home" / "set up").exists()


def test_after_a_preemption_another_pod_is_asked_for_and_training_goes_on(pod):
    states = ("WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDED", "SUSPENDED", "PROVISIONING", "ACTIVE")
    world = pod(states=states, connections=("lost", "kept"))
    done = train(world, "--max-restarts=0")
    assert done.returncode == 0, done.stderr
    assert verbs(world).count("create") == 2
    assert verbs(world).count("delete") == 2
    assert verbs(world).count("scp") == 2  # a new pod is empty
    assert "llama was taken back: asking for another" in done.stderr
    assert not (world.folder / "pod").exists()


def test_a_pod_that_vanishes_while_it_is_awaited_is_asked_for_again(pod):
    world = pod(states=("PROVISIONING", "FAILED", "FAILED", "ACTIVE"))
    done = train(world)
    assert done.returncode == 0, done.stderr
    assert verbs(world).count("create") == 2
    assert len(trainings(world)) == 1


def test_a_failure_is_tried_again_on_the_same_pod(pod):
    world = pod(75, 1)
    done = train(world)
    assert done.returncode == 0, done.stderr
    assert verbs(world).count("create") == verbs(world).count("scp") == 1
    assert len(trainings(world)) == 3
    assert verbs(world)[-1] == "delete"


def test_a_mistake_is_not_tried_again(pod):
    world = pod(2)
    done = train(world)
    assert done.returncode == 2
    assert len(trainings(world)) == 1
    assert verbs(world)[-1] == "delete"


def test_failures_in_a_row_come_to_an_end(pod):
    world = pod(*[1] * 9)
    done = train(world, "--max-restarts=2")
    assert done.returncode == 1
    assert len(trainings(world)) == 3
    assert "giving up after 3 failures in a row" in done.stderr
    assert verbs(world)[-1] == "delete"


def test_a_lost_connection_does_not_start_training_again(pod):
    world = pod(connections=("lost", "lost", "kept"))
    done = train(world)
    assert done.returncode == 0, done.stderr
    assert len(trainings(world)) == 1
    assert verbs(world).count("create") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_training_and_deletes_the_pod(pod, number, code):
    world = pod()
    world.write("sleeps", 60)
    process = world.start("tpu_pod.sh", "train", *POD, *TRAINING, NANOJAXLM_PYTHON="python")
    exit_code = world.folder / "home/nanojaxlm/out/worker/exit_code"
    deadline = time.monotonic() + 60
    while not trainings(world) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert verbs(world)[-2:] == ("ssh", "delete")
    assert "worker.sh\\ stop" in world.calls("gcloud")[-2]
    assert exit_code.read_text() == "143\n"  # the stand-in for Python does not catch SIGTERM


def test_what_is_to_be_kept_is_kept_and_named(pod):
    world = pod()
    done = train(world, "--keep")
    assert "delete" not in verbs(world)
    assert "llama is kept" in done.stderr
    assert "delete --name=llama --zone=us-west4-a" in done.stderr


def test_a_pod_that_was_there_before_is_used_and_kept(pod):
    world = pod()
    world.write("pod")
    done = train(world)
    assert done.returncode == 0, done.stderr
    assert "create" not in verbs(world) and "delete" not in verbs(world)
    assert len(trainings(world)) == 1


def test_a_pod_that_cannot_be_deleted_is_reported_with_the_command(pod):
    world = pod()
    world.stand_in("gcloud", GCLOUD.replace('delete) rm -- "$WORLD/pod"', "delete) exit 1"))
    done = train(world)
    assert done.returncode == 75
    assert "could not be deleted and may cost money; run:" in done.stderr


def test_where_gcloud_refuses_nothing_is_left(pod):
    world = pod()
    world.write("refused")
    done = train(world)
    assert done.returncode == 2
    assert "no quota" in done.stderr
    assert "could not be deleted" not in done.stderr


def test_the_parts_can_be_called_alone(pod):
    world = pod()
    for action, expected in (
        ("create", ["create", "describe"]), ("install", ["scp", "ssh"]), ("run", ["ssh", "ssh"]),
        ("wait", ["ssh"]), ("stop", ["ssh"]), ("delete", ["delete"]),
    ):  # fmt: skip
        before = len(verbs(world))
        rest = TRAINING if action == "run" else ()
        done = world.run("tpu_pod.sh", action, *POD, *rest, NANOJAXLM_PYTHON="python")
        assert done.returncode == 0, (action, done.stderr)
        assert list(verbs(world)[before:]) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fly", *POD), "the action is 'fly'"),
        (("train", *POD[1:], *TRAINING), "--name is missing"),
        (("train", *POD, "--slices=none", *TRAINING), "--slices=none must be 1 or more"),
        (("train", *POD[:2], "--accelerator=h100", *TRAINING), "--accelerator='h100' must be"),
        (("train", *POD), "what to train is missing"),
        (("train", *POD, "--config=x"), "unknown option --config=x"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked_for(pod, arguments, words):
    world = pod()
    done = world.run("tpu_pod.sh", *arguments)
    assert done.returncode == 2
    assert f"error: {words}" in done.stderr
    assert world.calls() == []


@pytest.mark.parametrize(("extra", "platform"), [("tpu", "v5p"), ("gpu", "gpu")])
def test_a_worker_installs_once_and_trains_with_what_it_installed(world, extra, platform):
    real = f'[[ $1 == -m || $1 == *.py ]] || exec {sys.executable} "$@"\n'
    world.stand_in("trainer", real + '[[ "$*" != *nanojaxlm.main* ]] || echo trained\n')
    make = 'mkdir -p "${!#}/bin" && cp "$WORLD/bin/trainer" "${!#}/bin/python"'
    world.stand_in("uv", f"[[ $1 != venv ]] || {{ {make}; }}")
    installed = world.run("worker.sh", "install", extra)
    assert installed.returncode == 0, installed.stderr
    install = [call for call in world.calls("uv") if call.startswith("uv pip install")]
    assert len(install) == 1 and install[0].endswith(f"-e .\\[{extra}\\]")
    calls = len(world.calls("uv"))
    started = world.run("worker.sh", "start", platform, "--", "--config=x")
    assert started.returncode == 0, started.stderr
    ended = world.run("worker.sh", "wait")
    assert (ended.returncode, ended.stdout) == (0, "trained\n")
    assert len(world.calls("uv")) == calls


def test_a_worker_ends_what_runs_there_before_it_starts(with_python):
    world = with_python()
    world.write("sleeps", 60)
    for _ in range(2):
        started = world.run(
            "worker.sh", "start", "v6e", "--", "--config=x", NANOJAXLM_PYTHON="python"
        )
        assert started.returncode == 0, started.stderr
        time.sleep(0.5)
    assert "ending what still runs" in started.stdout
    world.write("sleeps")
    assert world.run("worker.sh", "stop").returncode == 0
    assert world.run("worker.sh", "wait").returncode == 143


def test_a_worker_tells_that_training_was_killed(with_python):
    world = with_python()
    world.write("sleeps", 60)
    world.run("worker.sh", "start", "v6e", "--", "--config=x", NANOJAXLM_PYTHON="python")
    group = (world.checkout / "out/worker/group").read_text().strip()
    subprocess.run(["kill", "-KILL", "--", f"-{group}"], check=True)
    done = world.run("worker.sh", "wait")
    assert done.returncode == 75
    assert "was killed" in done.stderr


def gcloud_flags() -> dict[str, set[str]] | None:
    """verb of queued-resources -> flags, as an installed Google Cloud CLI completes them."""
    path = Path("/usr/lib/google-cloud-sdk/data/cli/gcloud_completions.py")
    if not path.is_file():
        return None
    names: dict = {}
    exec(path.read_text(), names)
    tree = names["STATIC_COMPLETION_CLI_TREE"]
    for part in ("compute", "tpus", "queued-resources"):
        tree = tree["commands"][part]
    wide = set(names["STATIC_COMPLETION_CLI_TREE"]["flags"])
    return {verb: set(node["flags"]) | wide for verb, node in tree["commands"].items()}


@pytest.mark.slow
def test_gcloud_knows_every_flag_that_is_used(pod):
    known = gcloud_flags()
    if known is None:
        pytest.skip("the Google Cloud CLI is not installed")
    for options in (("--spot",), ("--slices=2", "--project=mine")):
        lines = train(pod(), *options, "--dry-run").stdout.splitlines()
        for line in lines:
            command = shlex.split(line)
            if command[:4] == ["gcloud", "compute", "tpus", "queued-resources"]:
                used = {word.split("=")[0] for word in command[5:] if word.startswith("--")}
                assert used <= known[command[4]], json.dumps(sorted(used - known[command[4]]))
