"""Daft tells nobody that it runs; functions run in processes that stay and end with the parent."""

import operator
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pyarrow as pa
import pytest

from data_pipeline import engine
from data_pipeline.engine import Tasks, col, evaluate
from nanojaxlm.errors import RetryableError, UserError


def test_importing_daft_by_way_of_the_engine_sends_nothing():
    program = (
        "import sys\n"
        "sends = ('socket.connect', 'socket.getaddrinfo', 'socket.sendto', 'urllib')\n"
        "sys.addaudithook(lambda e, a: print(e) if e.startswith(sends) else None)\n"
        "from data_pipeline.engine import daft\n"
        "import threading\n"
        "daft.from_pydict({'x': [1]}).collect()\n"
        "[t.join(5) for t in threading.enumerate() if t is not threading.main_thread()]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_switch_is_one_that_daft_knows():
    from daft import scarf_telemetry

    assert scarf_telemetry._track_on_scarf("daft-import")[0] is None
    assert engine.daft.__name__ == "daft"


def test_expressions_run_on_arrow_data():
    table = pa.table({"text": ["Hello,  World", "été"]})
    for data in (table, table.to_batches()[0]):
        found = evaluate(data, col("text").normalize(lowercase=True, white_space=True).alias("x"))
        assert found["x"].to_pylist() == ["hello, world", "été"]


def process_id(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def refuse(number: int) -> int:
    if number >= 2:
        raise UserError(f"{number} is too many")
    return number


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_results_come_in_order_and_errors_as_they_were(workers):
    with Tasks(workers) as tasks:
        assert tasks.map(partial(operator.add, 1), list(range(50))) == list(range(1, 51))
        assert tasks.map(process_id, []) == []
        with pytest.raises(UserError, match="2 is too many"):
            tasks.map(refuse, list(range(5)))
        assert tasks.map(operator.neg, [1, 2]) == [-1, -2]  # and the pool still works


@pytest.mark.slow
def test_worker_processes_stay_from_one_map_to_the_next():
    with Tasks(2) as tasks:
        first, second = (set(tasks.map(process_id, list(range(8)))) for _ in range(2))
    assert os.getpid() not in first and len(first | second) == 2


@pytest.mark.slow
def test_a_killed_worker_is_told_and_the_command_can_be_repeated():
    with Tasks(2) as tasks, pytest.raises(RetryableError, match="fewer --workers"):
        tasks.map(die, [1, 2])


@pytest.mark.slow
def test_workers_end_with_their_parent():
    program = (
        "from tests.data_pipeline.test_engine import Tasks, process_id\n"
        "import os, signal\n"
        "if __name__ == '__main__':\n"
        "    print(*Tasks(2).map(process_id, [1, 2, 3, 4]), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    workers = {int(word) for word in done.stdout.split()}
    assert workers, done.stderr
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_cluster_that_does_not_answer_is_told_at_once():
    pytest.importorskip("ray", reason="the extra `distributed` is not installed")
    with pytest.raises(RetryableError, match=r"127\.0\.0\.1:9: no Ray cluster answers"):
        Tasks(2, ray="127.0.0.1:9")
