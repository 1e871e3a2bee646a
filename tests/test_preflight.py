"""What is wrong with a host is found before the first step, and told with the process's name."""

import dataclasses
import threading
import time

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from nanojaxlm import preflight
from nanojaxlm.data.input import DataConfig, make_batches
from nanojaxlm.data.stores import open_stores
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.distributed import DistributedConfig
from nanojaxlm.errors import UserError
from nanojaxlm.peers.job import ALONE, Peers
from nanojaxlm.peers.ledger import Limits, Who
from nanojaxlm.preflight import Preflight
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh, use_mesh

CONFIG = DistributedConfig()


class Told(Peers):
    """Process 0 of 3; the others say in each round what it says, changed as `changes` tell."""

    def __init__(self, changes=None):
        super().__init__(0, 3, Limits())
        self.who = {i: Who(i, f"host{i}", 100 + i) for i in range(3)}
        self._changes = changes or {}

    def gather(self, value):
        others = (self._changes.get(i, lambda value: value) for i in (1, 2))
        return [value, *(change(value) for change in others)]


class Round:
    """The rounds of processes that are threads here."""

    def __init__(self, count):
        self.values, self.barrier = [None] * count, threading.Barrier(count)

    def gather(self, index, value):
        self.barrier.wait(10)
        self.values[index] = value
        self.barrier.wait(10)
        return list(self.values)


class Threaded(Peers):
    """One of several threads that stand for processes."""

    def __init__(self, index, rounds):
        super().__init__(index, len(rounds.values), Limits())
        self._rounds = rounds

    def gather(self, value):
        return self._rounds.gather(self.index, value)


@pytest.fixture
def as_three_processes(monkeypatch):
    """jax says that there are 3 processes; of the others' answers the index is their own."""
    monkeypatch.setattr(jax, "process_count", lambda: 3)

    def answers(one=None, two=None):
        def of(index, change):
            def answer(value):
                if isinstance(value, dict):
                    value = value | {"index": index}
                    return value | (change or {})
                return value

            return answer

        return Told({1: of(1, one), 2: of(2, two)})

    return answers


def fault_of(told, tmp_path):
    with pytest.raises(UserError) as raised:
        Preflight(told, CONFIG, Console(quiet=True)).hosts("config", tmp_path)
    return str(raised.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"skew": 7.25}, "its clock is 7.2 s ahead of that of process 0"),
        ({"skew": -60.0}, "its clock is 60.0 s behind that of process 0"),
        ({"devices": 3}, "devices: 3, process 0 8"),
        ({"jax": "0.9 on Python 3.11.2"}, "runs jax 0.9 on Python 3.11.2, process 0 0."),
        ({"config": "0" * 12}, "its config is not that of process 0"),
        ({"index": 0}, "jax calls it process 0 of 3, the flags 2 of 3"),
        ({"count": 2}, "jax calls it process 2 of 2, the flags 2 of 3"),
    ],
)
def test_a_host_unlike_the_first_is_named(tmp_path, as_three_processes, change, words):
    message = fault_of(as_three_processes(two=change), tmp_path)
    assert message.startswith("preflight: process 2 (host host2, pid 102): ")
    assert words in message and "process 1 (" not in message


def test_every_host_at_fault_is_named(tmp_path, as_three_processes):
    message = fault_of(as_three_processes(one={"skew": 9.0}, two={"config": ""}), tmp_path)
    assert "process 1 (host host1, pid 101): its clock" in message
    assert "; process 2 (host host2, pid 102): its config" in message


def workdir_faults(monkeypatch, *workdirs):
    monkeypatch.setattr(preflight, "_SEEN_SECONDS", 0.2)
    rounds, faults = Round(len(workdirs)), [None] * len(workdirs)

    def check(index):
        peers = Threaded(index, rounds)
        faults[index] = Preflight(peers, CONFIG, Console(quiet=True))._workdir_fault(
            workdirs[index]
        )

    threads = [threading.Thread(target=check, args=(i,)) for i in range(len(workdirs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


def test_a_workdir_that_all_share_is_fine_and_left_clean(tmp_path, monkeypatch):
    assert workdir_faults(monkeypatch, tmp_path, tmp_path, tmp_path) == [None] * 3
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_of_its_own_is_told_of_its_process(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    faults = workdir_faults(monkeypatch, tmp_path, tmp_path, own)
    assert faults[:2] == [None, None]
    assert faults[2] is not None and "is not the folder that process 0 has" in faults[2]
    assert list(own.iterdir()) == [] and list(tmp_path.iterdir()) == [own]


@pytest.mark.parametrize("at_fault", [0, 2])
def test_a_workdir_that_cannot_be_written_is_told_of_its_process(tmp_path, monkeypatch, at_fault):
    workdirs = [tmp_path] * 3
    workdirs[at_fault] = tmp_path / "missing"
    faults = workdir_faults(monkeypatch, *workdirs)
    assert [fault is not None for fault in faults] == [i == at_fault for i in range(3)]
    assert "cannot write to --workdir" in faults[at_fault]
    assert "No such file or directory" in faults[at_fault]


def test_the_all_reduce_is_timed_and_its_sum_is_checked(monkeypatch):
    seconds, fault = preflight._time_all_reduce(jax.devices())
    assert fault is None and 0 < seconds < 60
    total = jnp.sum
    monkeypatch.setattr(preflight, "_REPEATS", 1)
    monkeypatch.setattr(jnp, "sum", lambda x, axis: total(x, axis=axis).at[77].add(1.0))
    _, fault = preflight._time_all_reduce(jax.devices())
    assert fault is not None and "wrong sum" in fault


@pytest.fixture
def batches(tmp_path, text_file):
    config = DataConfig(text=str(text_file), sequence_length=16, batch_size=8)
    stores = open_stores(config, tmp_path)
    vocabulary = Vocabulary.of(load_tokenizer(stores[0].tokenizer))
    mesh = make_mesh(MeshConfig(data=4, fsdp=2))
    with use_mesh(mesh):
        made = make_batches(config, stores, batch_sharding(mesh), seed=0, vocabulary=vocabulary)
        made.seek(3)
        yield mesh, made
    made.close()


def test_speeds_are_shown_and_the_batches_stand_where_they_stood(batches, capsys):
    mesh, made = batches
    peers = Told({2: lambda value: value if value is None else [value[0], value[1] / 40]})
    checks = Preflight(peers, CONFIG, Console(width=120))
    checks._hosts = [{"devices": 8, "kind": "cpu", "skew": 0.0012 * i} for i in range(3)]
    checks.speed(mesh, made)
    shown = capsys.readouterr().out
    assert made.next_step == 3
    for words in ("host1", "8 x cpu", "+1.2 ms", "rows/s", "all-reduce of 4 MiB over 8 devices"):
        assert words in shown
    assert "warning: process 2 (host host2, pid 102) reads 40 times slower" in shown


def test_a_loader_slower_than_the_limit_is_a_fault_of_its_process(batches):
    mesh, made = batches
    peers = Told({1: lambda value: value if value is None else [500.0, 1.0]})
    with pytest.raises(UserError, match=r"process 1 \(.*a batch took 500 s to read"):
        Preflight(peers, CONFIG, Console(quiet=True)).speed(mesh, made)


def test_a_process_alone_and_one_told_so_check_nothing(tmp_path):
    start = time.monotonic()
    off = dataclasses.replace(CONFIG, preflight=False)
    for peers, config in ((ALONE, CONFIG), (Told(), off)):
        checks = Preflight(peers, config, Console(quiet=True))
        checks.hosts("config", tmp_path / "missing")
        checks.speed(None, None)
    assert time.monotonic() - start < 1
