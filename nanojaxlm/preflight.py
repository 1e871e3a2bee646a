"""Before the first step of several processes: what would fail hours later, told now and by name."""

import contextlib
import hashlib
import platform
import secrets
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from nanojaxlm.data.input import Batches
from nanojaxlm.devices import slice_of
from nanojaxlm.distributed import DistributedConfig
from nanojaxlm.errors import UserError
from nanojaxlm.peers.job import Peers
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh

_NUM_FLOATS = 2**20  # a device: 4 MiB, enough for the links' speed rather than their latency
_REPEATS = 5
_NUM_BATCHES = 4
_SLOW = 3.0  # times the median
_SEEN_SECONDS = 10.0  # for a file to be seen by the other hosts of a network file system


class Preflight:
    """The checks of one process; each is called in all of them, in the same order.

    Raises, in all processes alike: UserError, one line with every process at fault and its fault.
    """

    def __init__(self, peers: Peers, config: DistributedConfig, console: Console):
        self._peers, self._config, self._console = peers, config, console
        self._enabled = config.preflight and peers.count > 1
        self._hosts: list[dict[str, Any]] = []

    def hosts(self, config: str, workdir: Path) -> None:
        """That all run the same program, on clocks that agree, with one workdir for all.

        config: what the run depends on, as text.
        """
        if not self._enabled:
            return
        self._peers.at("the preflight checks", self._config.start_seconds)
        mine = {
            "index": jax.process_index(),
            "count": jax.process_count(),
            "devices": jax.local_device_count(),
            "kind": jax.local_devices()[0].device_kind,
            "jax": f"{jax.__version__} on Python {platform.python_version()}",
            "config": hashlib.sha256(config.encode()).hexdigest()[:12],
            "skew": self._peers.clock_skew,
        }
        self._hosts = self._peers.gather(mine)
        self._judge([self._host_fault(i, host) for i, host in enumerate(self._hosts)])
        self._judge(self._peers.gather(self._workdir_fault(workdir)))

    def speed(self, mesh: jax.sharding.Mesh, batches: Batches) -> None:
        """Times an all-reduce over all devices and the loaders; shows a table in process 0.

        `batches` stand afterwards where they stood.
        """
        if not self._enabled:
            return
        self._peers.at("the all-reduce of the preflight checks", self._config.start_seconds)
        seconds, fault = _time_all_reduce(list(mesh.devices.flat))
        self._judge(self._peers.gather(fault))
        self._peers.at("reading the first batches", _NUM_BATCHES * self._config.loader_seconds)
        slowest, rate = _time_batches(batches)
        loaders = self._peers.gather([slowest, rate])
        self._judge(
            [
                f"a batch took {slowest:.0f} s to read, more than distributed.loader_seconds = "
                f"{self._config.loader_seconds:.0f}: is its storage slow?"
                if slowest > self._config.loader_seconds
                else None
                for slowest, _ in loaders
            ]
        )
        if self._peers.index == 0:
            self._show(seconds, mesh.devices.size, [rate for _, rate in loaders])

    def _judge(self, faults: Sequence[str | None]) -> None:
        told = [f"{self._peers.who[i]}: {fault}" for i, fault in enumerate(faults) if fault]
        if told:
            raise UserError(f"preflight: {'; '.join(told)}")

    def _host_fault(self, i: int, host: dict[str, Any]) -> str | None:
        first, skew = self._hosts[0], host["skew"]
        if host["count"] != self._peers.count or host["index"] != i:
            return (
                f"jax calls it process {host['index']} of {host['count']}, the flags {i} of "
                f"{self._peers.count}"
            )
        for name, label in (("jax", "runs jax"), ("kind", "has devices"), ("devices", "devices:")):
            if host[name] != first[name]:
                return f"{label} {host[name]}, process 0 {first[name]}: make them the same"
        if host["config"] != first["config"]:
            return "its config is not that of process 0: start all with the same flags and files"
        if abs(skew) > self._config.clock_skew_seconds:
            return (
                f"its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} that of "
                "process 0: synchronise them (NTP)"
            )
        return None

    def _workdir_fault(self, workdir: Path) -> str | None:
        """What keeps this process from sharing the workdir with the others."""
        peers = self._peers
        nonce = peers.gather(secrets.token_hex(8))[0]
        files = [workdir / f".preflight-{i}" for i in range(peers.count)]
        mine, fault = files[peers.index], None
        try:
            mine.write_text(nonce, encoding="utf-8")
        except OSError as error:
            fault = f"cannot write to --workdir={workdir} ({error.strerror})"
        faults = peers.gather(fault)
        # process 0 looks for what all wrote, the others for what process 0 wrote
        wanted = () if faults[0] else range(peers.count) if peers.index == 0 else (0,)
        unseen = _without(nonce, {i: files[i] for i in wanted if not faults[i]})
        everywhere = peers.gather(unseen)
        if fault is None:
            mine.unlink(missing_ok=True)
            if (unseen and peers.index) or peers.index in everywhere[0]:
                fault = (
                    f"its --workdir={workdir} is not the folder that process 0 has under that "
                    "name: name one that all hosts share"
                )
        return fault

    def _show(self, seconds: float, num_devices: int, rates: list[float]) -> None:
        table = Table(title="preflight", title_justify="left")
        for name in ("process", "host", "pid", "devices", "clock", "loader"):
            table.add_column(name, justify="left" if name == "host" else "right")
        for i, (host, rate) in enumerate(zip(self._hosts, rates, strict=True)):
            who = self._peers.who[i]
            table.add_row(
                str(i), who.host, str(who.pid), f"{host['devices']} x {host['kind']}",
                f"{1e3 * host['skew']:+.1f} ms", f"{rate:,.0f} rows/s",
            )  # fmt: skip
        self._console.print(table)
        sent = 2 * (num_devices - 1) / num_devices * _NUM_FLOATS * 4
        self._console.print(
            f"all-reduce of {_NUM_FLOATS * 4 / 2**20:.0f} MiB over {num_devices} devices: "
            f"{1e3 * seconds:.2f} ms, {sent / seconds / 1e9:.2f} GB/s a device",
            highlight=False,
        )
        median = statistics.median(rates)
        for i, rate in enumerate(rates):
            if rate * _SLOW < median:
                self._console.print(
                    f"warning: {self._peers.who[i]} reads {median / rate:.0f} times slower than "
                    "the median process",
                    highlight=False,
                )


def _without(text: str, files: dict[int, Path]) -> list[int]:
    """The files that do not come to hold the text within the time that a file system may take."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while True:
        for i, file in list(files.items()):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if file.read_text(encoding="utf-8") == text:
                    del files[i]
        if not files or time.monotonic() > deadline:
            return list(files)
        time.sleep(0.1)


def _time_all_reduce(devices: Sequence[Any]) -> tuple[float, str | None]:
    """(seconds of the quickest sum of float32 [num_devices, n] over the devices, what is wrong)."""
    num_slices = len({slice_of(device) for device in devices})
    mesh = make_mesh(MeshConfig(replica=num_slices), devices)
    number = {device: i for i, device in enumerate(mesh.devices.flat)}
    shape = (len(devices), _NUM_FLOATS)
    where = batch_sharding(mesh)
    rows = [
        jax.device_put(np.full((1, _NUM_FLOATS), 1.0 + number[device], np.float32), device)
        for device in where.addressable_devices
    ]
    x = jax.make_array_from_single_device_arrays(shape, where, rows)
    best = float("inf")
    total: Any = None
    for _ in range(1 + _REPEATS):  # the first compiles
        start = time.perf_counter()
        total = jax.block_until_ready(jnp.sum(x, axis=0))
        best = min(best, time.perf_counter() - start)
    want = len(devices) * (len(devices) + 1) / 2
    for shard in total.addressable_shards:
        if not np.all(np.asarray(shard.data) == want):
            return best, f"an all-reduce gives a wrong sum on {shard.device}: take it out of use"
    return best, None


def _time_batches(batches: Batches) -> tuple[float, float]:
    """(seconds of the slowest batch, rows a second that this process reads)."""
    step = batches.next_step
    seconds: list[float] = []
    num_rows = 0
    for _ in range(_NUM_BATCHES):
        start = time.perf_counter()
        tokens_BT: Any = next(batches).targets.tokens_BT
        seconds.append(time.perf_counter() - start)
        parts = tokens_BT.addressable_shards  # of which several may be copies of the same rows
        num_rows += sum({str(part.index[0]): part.data.shape[0] for part in parts}.values())
    batches.seek(step)
    return max(seconds), num_rows / sum(seconds)
