"""A process that dies, falls silent or gets stuck ends its job in time, and every line names it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanojaxlm.peers.job import ALONE

# A process of a job: argv = address, index, count, what it does, and from which step on.
CHILD = """
import sys, time
from nanojaxlm.errors import UserError, run
from nanojaxlm.peers.job import meet
from nanojaxlm.peers.ledger import Limits
address, index, count, act, when, silence, stall = sys.argv[1:]
def main(argv):
    limits = Limits(start=10, silence=float(silence), stall=float(stall), patience=60)
    peers = meet(address, int(index), int(count), limits)
    print("met", peers.gather({"from": peers.index}), flush=True)
    for step in range(1, 4 if act in ("counts", "pauses") else 2000):
        if act == "stuck" and step == int(when):
            while True:
                pass
        if act == "raises" and step == int(when):
            peers.fail("the store is missing", 2)
        if act == "pauses" and step == int(when):
            peers.at("saving")
            time.sleep(3)
        peers.step(step)
        print("step", step, flush=True)
        peers.gather(step)  # as a collective would, it waits for all
        stop = peers.stop(step, "SIGTERM" if act == "asked" and step == int(when) else None)
        if stop:
            print(stop, "after", step, flush=True)
            break
        time.sleep(0.05)
    peers.close()
    print("clock", abs(peers.clock_skew) < 0.5)
run(main)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def job():
    """job("lasts", …): one process an act, all of one job; they are killed at the end."""
    children: list[subprocess.Popen] = []

    def start(*acts, count=None, when=3, silence=2.0, stall=2.0, indices=None, address=None):
        address = address or f"127.0.0.1:{free_port()}"
        for index, act in zip(indices or range(len(acts)), acts, strict=True):
            counted = (count or [len(acts)] * len(acts))[len(children)]
            arguments = map(str, (address, index, counted, act, when, silence, stall))
            children.append(
                subprocess.Popen(
                    [sys.executable, "-c", CHILD, *arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                )
            )
        return children

    yield start
    for child in children:
        child.kill()
        child.communicate()


def reach(children, step):
    for child in children:
        while child.stdout.readline() != f"step {step}\n":
            assert child.poll() is None, child.communicate()


def ends(children, code, *words):
    """That each ends with the code and one line of error, which holds the words; in how long."""
    start = time.monotonic()
    for child in children:
        _, err = child.communicate(timeout=30)
        assert child.returncode == code, err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        for word in words:
            assert word in err
    return time.monotonic() - start


def test_alone_there_is_nobody_to_wait_for():
    ALONE.step(1)
    ALONE.at("saving")
    assert ALONE.gather("x") == ["x"]
    assert ALONE.stop(1, None) is None
    assert ALONE.stop(2, "SIGTERM") == "SIGTERM"
    assert ALONE.stop(1, None) is None  # of another run
    ALONE.close()


def test_a_job_meets_gathers_by_index_and_ends_in_peace(job):
    children = job("counts", "counts", "counts")
    for child in children:
        out, err = child.communicate(timeout=30)
        assert (child.returncode, err) == (0, "")
        assert out.splitlines()[0] == f"met {[{'from': i} for i in range(3)]}"
        assert out.splitlines()[-1] == "clock True"


@pytest.mark.parametrize("asked", [[0], [1], [2], [0, 2]])
def test_all_stop_after_the_same_step_when_some_are_asked_to(job, asked):
    ends = set()
    for child in job(*("asked" if index in asked else "lasts" for index in range(3))):
        out, err = child.communicate(timeout=30)
        assert (child.returncode, err) == (0, "")
        ends.add(out.splitlines()[-2])
    (end,) = ends
    assert end in ("SIGTERM after 3", "SIGTERM after 4")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_process_ends_all_at_once(job, victim):
    children = job("lasts", "lasts", "lasts")
    reach(children, 20)
    children[victim].kill()
    others = [child for child in children if child is not children[victim]]
    name = f"process {victim} (host {socket.gethostname()}, pid {children[victim].pid}) is dead"
    assert ends(others, 75, name, "at step", "run the same command again") < 3


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_stopped_process_ends_the_others_after_the_silence(job, victim):
    children = job("lasts", "lasts", "lasts", stall=30)
    reach(children, 3)
    children[victim].send_signal(signal.SIGSTOP)
    others = [child for child in children if child is not children[victim]]
    pid = children[victim].pid
    assert 1 < ends(others, 75, f"process {victim} (", f"pid {pid}) is silent for") < 6
    children[victim].send_signal(signal.SIGCONT)  # it finds its job gone
    _, err = children[victim].communicate(timeout=30)
    assert children[victim].returncode == 75 and err.count("\n") == 1, err


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_stuck_in_python_ends_all_and_is_named(job, victim):
    acts = ["lasts"] * 3
    acts[victim] = "stuck"
    children = job(*acts, when=4, silence=5)
    reach(children, 3)
    pid = children[victim].pid
    assert ends(children, 75, f"pid {pid}) is stuck: at step 3 for", "wait at step 4") < 8


@pytest.mark.slow
def test_a_long_pause_beside_steps_is_no_alarm(job):
    for child in job("counts", "pauses", "counts"):
        out, err = child.communicate(timeout=30)
        assert (child.returncode, err) == (0, "") and "step 3\n" in out


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])
def test_a_process_that_fails_ends_all_with_its_code(job, victim):
    acts = ["lasts"] * 3
    acts[victim] = "raises"
    children = job(*acts)
    failed = children.pop(victim)
    ends([failed], 2, "error: the store is missing")
    ends(children, 2, f"process {victim} (", f"pid {failed.pid}) failed: the store is missing")


@pytest.mark.slow
def test_processes_that_do_not_come_are_named(job):
    children = job("lasts", "lasts", count=[4, 4])
    assert ends(children, 75, "processes 2, 3 of 4 did not come", "within 10 s") < 14


def test_processes_that_disagree_on_their_number_are_named(job):
    children = job("lasts", "lasts", count=[3, 2])
    ends(children, 2, f"pid {children[1].pid}) was started as one of 2", "as one of 3")


def test_two_of_one_number_are_named(job):
    children = job("lasts", "lasts", "lasts", indices=[0, 1, 1])
    pids = [f"pid {child.pid})" for child in children[1:]]
    ends(children, 2, "the same process by number", *pids)


def test_a_port_that_is_taken_is_told(job):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        children = job("lasts", count=[2], address=f"127.0.0.1:{port}")
        ends(children, 2, f"process 0 cannot listen on port {port}")


@pytest.mark.slow
def test_a_coordinator_out_of_reach_is_told_by_who_looks_for_it(job):
    children = job("lasts", count=[2], indices=[1])
    ends(children, 75, "process 1 (", "127.0.0.1", "out of reach for 10 s", "Connection refused")


@pytest.mark.slow
def test_a_coordinator_without_an_address_is_told(job):
    children = job("lasts", count=[2], indices=[1], address="no-such-host.invalid:1234")
    ends(children, 2, "process 1 (", "'no-such-host.invalid' did not resolve")


@pytest.mark.slow
def test_a_process_that_comes_when_the_job_has_begun_is_sent_away(job):
    address = f"127.0.0.1:{free_port()}"
    children = list(job("counts", "pauses", address=address))
    reach(children[:1], 1)
    late = job("lasts", count=[0, 0, 2], indices=[1], address=address)[-1]
    ends([late], 75, f"process 1 (host {socket.gethostname()}, pid {late.pid}) comes too late")
    for child in children:
        _, err = child.communicate(timeout=30)
        assert (child.returncode, err) == (0, "")


@pytest.mark.slow
def test_a_stranger_at_the_door_is_ignored(job):
    address = free_port()
    children = job("counts", "counts", address=f"127.0.0.1:{address}")
    for greeting in (b"GET / HTTP/1.1\r\n\r\n", b'{"hello": 1}\n', b"[1]\n", b"7\n"):
        for _ in range(50):
            try:
                with socket.create_connection(("127.0.0.1", address), timeout=1) as stranger:
                    stranger.sendall(greeting)
                break
            except OSError:
                time.sleep(0.02)
    for child in children:
        _, err = child.communicate(timeout=30)
        assert (child.returncode, err) == (0, "")
