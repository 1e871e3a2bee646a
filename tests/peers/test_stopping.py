"""All stop after one step, which none had passed, whoever is asked and whenever."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nanojaxlm.peers.stopping import Agreement, Stopping

# A process of two whose steps are but a collective: argv = address, index.
HURRIED = """
import itertools, sys
from jax.experimental.multihost_utils import process_allgather
from nanojaxlm.distributed import DistributedConfig, Place, joined, stop_signals
place = Place(coordinator=sys.argv[1], index=int(sys.argv[2]), count=2)
with joined(place, DistributedConfig(silence_seconds=10.0)) as peers, stop_signals(peers) as stop:
    for step in itertools.count(1):
        assert process_allgather(step).tolist() == [step, step]
        if step == 100:
            print("at step 100", flush=True)
        if stop(step):
            print("stopped after", step, flush=True)
            break
"""


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [2, 5])
def test_every_process_stops_after_the_same_step(seed, count):
    """Threads for processes, at most `behind` steps ahead of the slowest, as devices let them."""
    rng = random.Random(seed)
    behind = rng.randrange(4)
    parts, agreement = [Stopping() for _ in range(count)], Agreement(count)
    done, stopped = [100] * count, {}
    pauses = [[rng.random() * 1e-3 for _ in range(50)] for _ in range(count)]

    def train(index):
        for step in range(101, 150):
            while min(done) < step - 1 - behind:
                time.sleep(1e-5)
            time.sleep(pauses[index][step - 101])
            if parts[index].reached(step):
                stopped[index] = step
                return
            done[index] = step

    threads = [threading.Thread(target=train, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(rng.random() * 0.01)
    for index in rng.sample(range(count), count):  # the order in which they hear of it
        time.sleep(rng.random() * 1e-3)
        last = agreement.last(index, parts[index].hold("SIGTERM"))
    for part in rng.sample(parts, count):
        part.settle(last)
    for thread in threads:
        thread.join()
    assert stopped == dict.fromkeys(range(count), last)


def test_one_asked_before_its_first_step_stops_after_it():
    alone, agreement = Stopping(), Agreement(1)
    alone.settle(agreement.last(0, alone.hold("SIGTERM")))
    assert alone.reached(1001) == "SIGTERM"


def test_a_job_agrees_once():
    agreement = Agreement(2)
    assert agreement.begin()
    assert not agreement.begin()
    assert agreement.last(0, 7) is None
    assert agreement.last(1, 9) == 10


@pytest.mark.slow
def test_sigterm_between_the_shortest_steps_keeps_no_process_waiting():
    """As a call does that holds Python's global lock until it hears from the others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HURRIED, address, str(index)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
            | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for index in range(2)
    ]
    try:
        for process in processes:
            while process.stdout.readline() != "at step 100\n":  # what Gloo says
                assert process.poll() is None
        processes[1].send_signal(signal.SIGTERM)
        first, second = (process.communicate(timeout=60)[0] for process in processes)
        assert first == second and first.startswith("stopped after "), (first, second)
        assert [process.returncode for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
