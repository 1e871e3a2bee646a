"""launch/local_multiprocess.sh with a stand-in for Python: what it starts, and how it ends it."""

import shlex
import signal
import sys
import time

import pytest

PYTHON = """
[[ $1 != -c ]] || { exec /usr/bin/env -i "$REAL_PYTHON" "$@"; }
index=${!#} index=${index#*=}
echo "$JAX_PLATFORMS $JAX_NUM_CPU_DEVICES"
echo "to stderr" >&2
trap 'exit 75' TERM
[[ ! -e $WORLD/deaf-$index ]] || trap '' TERM
code=0
[[ ! -e $WORLD/code-$index ]] || code=$(<"$WORLD/code-$index")
tenths=0
[[ ! -e $WORLD/sleep-$index ]] || tenths=$(<"$WORLD/sleep-$index")0
for ((; tenths > 0; tenths--)); do sleep 0.1; done # one at a time: none outlives a kill by long
exit "$code"
"""


@pytest.fixture
def machine(world):
    world.stand_in("python", PYTHON)
    return world


def launch(machine, *arguments: str):
    return machine.run(
        "local_multiprocess.sh", *arguments, NANOJAXLM_PYTHON="python", REAL_PYTHON=sys.executable
    )


def processes(machine) -> list[list[str]]:
    return [shlex.split(call) for call in machine.calls("python") if " -m " in call]


def test_every_process_gets_its_number_and_the_same_address(machine):
    done = launch(machine, "3", "--devices=2", "--", "--config=a b", "--config.seed=$HOME")
    assert done.returncode == 0, done.stderr
    started = sorted(processes(machine), key=lambda words: words[-1])
    assert [words[-1] for words in started] == [f"--process_id={i}" for i in range(3)]
    (address,) = {words[-3] for words in started}
    assert address.startswith("--coordinator=127.0.0.1:")
    assert {tuple(words[1:-3]) for words in started} == {
        ("-m", "nanojaxlm.main", "--config=a b", "--config.seed=$HOME")
    }
    assert sorted(done.stdout.splitlines()) == [f"[{i}] cpu 2" for i in range(3)]
    assert sorted(done.stderr.splitlines()) == [f"[{i}] to stderr" for i in range(3)]


def test_a_dry_run_prints_exactly_what_would_run(machine):
    arguments = ("2", "--devices=4", "--port=4567", "--", "--config=a b")
    dry = launch(machine, *arguments[:3], "--dry-run", *arguments[3:])
    assert (dry.returncode, machine.calls()) == (0, [])
    machine.stand_in("env", 'exec /usr/bin/env "$@"')
    launch(machine, *arguments)
    assert sorted(dry.stdout.splitlines()) == sorted(machine.calls("env"))


def test_the_exit_code_is_that_of_the_first_failure(machine):
    machine.write("code-1", 2)
    machine.write("code-0", 75)
    machine.write("sleep-0", 1)
    assert launch(machine, "2", "--", "x").returncode == 2


def test_what_outlives_a_failure_is_ended(machine):
    machine.write("code-1", 1)
    machine.write("sleep-0", 100)
    done = launch(machine, "2", "--grace-seconds=1", "--", "x")
    assert done.returncode == 1
    assert "1 processes still run 1 s after one failed; ending them with SIGTERM" in done.stderr


@pytest.mark.slow
def test_what_does_not_hear_is_killed(machine):
    machine.write("code-1", 1)
    machine.write("sleep-0", 100)
    machine.write("deaf-0")
    done = launch(machine, "2", "--grace-seconds=1", "--", "x")
    assert done.returncode == 1
    assert "ending them with SIGKILL" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_process(machine, number):
    machine.write("sleep-0", 100)
    machine.write("sleep-1", 100)
    process = machine.start(
        "local_multiprocess.sh", "2", "--port=4567", "--", "x", NANOJAXLM_PYTHON="python"
    )
    deadline = time.monotonic() + 30
    while len(processes(machine)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 75


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the number of processes is missing"),
        (("0",), "the number of processes is 0"),
        (("2", "--devices=x"), "--devices=x must be 1 or more"),
        (("2", "--config=x"), "unknown option --config=x"),
        (("2", "3"), "3: arguments of nanojaxlm.main come after --"),
    ],
)
def test_mistakes_are_told_at_once(machine, arguments, words):
    done = launch(machine, *arguments)
    assert done.returncode == 2
    assert f"error: {words}" in done.stderr
    assert machine.calls() == []
