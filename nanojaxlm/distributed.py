"""One job of several processes: how each finds the others, watches them, and ends with them."""

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
from jax._src.clusters import ClusterEnv  # what initialize() finds is told nowhere else

from nanojaxlm.errors import UserError, explain
from nanojaxlm.peers.job import ALONE, Peers, meet
from nanojaxlm.peers.ledger import Limits
from nanojaxlm.peers.relay import open_relay

_JAX_HEARTBEAT_SECONDS = 100  # jax's own watch, which names nobody: ours has to be quicker
_CAUSE_SECONDS = 2.0  # for the watch to see that an error is but a consequence of another's end
_SHUTDOWN_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """How long the processes of a job wait for each other before they end it, in seconds.

    A process whose connection closes ends the job at once, whatever these are.
    """

    start_seconds: float = 300.0  # until all have come
    silence_seconds: float = 30.0  # without a word, though connected: the host hangs or is cut off
    stall_seconds: float = 600.0  # in one step, behind the others: stuck
    patience_seconds: float = 3600.0  # the same in the first step, evaluations, checkpoints
    preflight: bool = True  # checks before the first step
    clock_skew_seconds: float = 5.0  # between two hosts' clocks at most
    loader_seconds: float = 120.0  # for one batch, before the first step

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0 and name != "preflight":
                raise ValueError(f"{name} must be above 0, got {value}")

    @property
    def limits(self) -> Limits:
        return Limits(
            start=self.start_seconds,
            silence=self.silence_seconds,
            stall=self.stall_seconds,
            patience=self.patience_seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """A process's place in its job."""

    coordinator: str  # HOST:PORT of process 0; the port below it has to be free too
    index: int
    count: int
    local_devices: Sequence[int] | None = None  # the devices of the host that it takes; None = all

    def __post_init__(self) -> None:
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 1 < int(port) < 65536:
            raise UserError(
                f"--coordinator={self.coordinator} must be HOST:PORT of process 0, such as "
                "--coordinator=10.0.0.1:8482"
            )
        if self.count < 1:
            raise UserError(f"--num_processes must be >= 1, got {self.count}")
        if not 0 <= self.index < self.count:
            raise UserError(
                f"--process_id must be 0 to {self.count - 1}, one less than --num_processes, got "
                f"{self.index}"
            )


def place_of(
    coordinator: str | None, num_processes: int | None, process_id: int | None, find: bool
) -> Place | None:
    """The place that the flags tell, or, with `find`, the cluster's own variables; None: alone.

    Raises:
        UserError: the flags are incomplete, or jax knows no cluster here.
    """
    given = (coordinator, num_processes, process_id)
    if find:
        if given != (None, None, None):
            raise UserError(
                "--distributed finds the place of this process itself: leave out --coordinator, "
                "--num_processes and --process_id, or --distributed"
            )
        return _found()
    if given == (None, None, None):
        return None
    if coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            "--coordinator=HOST:PORT, --num_processes=N and --process_id=I belong together: give "
            "all three"
        )
    return Place(coordinator=coordinator, index=process_id, count=num_processes)


def _found() -> Place:
    try:
        address, count, index, local = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, 60
        )
    except Exception as error:  # of whatever the cluster's own client raises
        raise UserError(f"--distributed: jax could not read the cluster here: {error}") from error
    if address is None or count is None or index is None:
        raise UserError(
            "--distributed: jax finds no cluster here (a Cloud TPU pod, Slurm, Open MPI or "
            "Kubernetes): give --coordinator=HOST:PORT, --num_processes=N and --process_id=I"
        )
    return Place(coordinator=address, index=index, count=count, local_devices=local)


@contextmanager
def joined(place: Place | None, config: DistributedConfig) -> Iterator[Peers]:
    """Within it, this process is one of its job's; before jax is asked for a device.

    An error that leaves it ends all processes, with the exit code of nanojaxlm/errors.py; this one
    too, here, since jax would wait for the others on its way out.

    Raises:
        UserError, RetryableError: the processes did not come together.
    """
    if place is None or place.count == 1:
        yield ALONE
        return
    host, _, port = place.coordinator.rpartition(":")
    peers = meet(f"{host}:{int(port) - 1}", place.index, place.count, config.limits)
    jax.config.update("jax_enable_preemption_service", False)  # why: nanojaxlm/peers/stopping.py
    try:
        jax.distributed.initialize(
            place.coordinator if place.index == 0 else open_relay(host.strip("[]"), int(port)),
            place.count,
            place.index,
            place.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=int(config.start_seconds),
            heartbeat_timeout_seconds=int(max(_JAX_HEARTBEAT_SECONDS, 3 * config.silence_seconds)),
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            coordinator_bind_address=_bind_address(host, port) if place.index == 0 else None,
        )
        yield peers
        peers.close()
    except (Exception, KeyboardInterrupt) as error:
        explained = explain(error)
        if explained is None:
            time.sleep(_CAUSE_SECONDS)
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            explained = 1, f"{type(error).__name__}: {lines[0][:300]}"
        code, message = explained
        peers.fail(message, code)
    jax.distributed.shutdown()


def _bind_address(host: str, port: str) -> str | None:
    """On loopback where all processes are on one machine; None is jax's choice, all addresses."""
    return f"127.0.0.1:{port}" if host == "localhost" or host.startswith("127.") else None


@contextmanager
def stop_signals(peers: Peers) -> Iterator[Callable[[int], str | None]]:
    """stop(step), called once a step: the name of the signal by which the machine asked a process
    to end, after which step all processes save and end; None while there is none.

    One process may get the signal alone, or all in different steps.
    """
    received: list[str] = []

    def note(number: int, _: Any) -> None:
        received.append(signal.Signals(number).name)

    def stop(step: int) -> str | None:
        return peers.stop(step, received[0] if received else None)

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread (a notebook's worker): nothing to catch there
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
