"""Devices that are not here, to compile for: TPU slices and hosts of GPUs by name, or this
machine's CPU cut up."""

import contextlib
import importlib.metadata
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies

from nanojaxlm.accelerators import CHIPS, Chip
from nanojaxlm.errors import UserError
from nanojaxlm.planning.gpus import DESIGNS, description

_NAME = re.compile(r"(?:(\d+)x)?([a-z][a-z0-9-]*):(\d+(?:x\d+)*)")
_HOW = "such as v5e:16x16, 2xv6e:16x16 (two slices), h100:8, h100:4x8 (four hosts of 8) or cpu:8"
# one device a chip rather than one a core, as Cloud TPU runs it
_OPTIONS = {"v4": {"chip_config_name": "megacore"}}
# libtpu reads these only: no search for the machine's own TPU, several programs at a time, no logs
_SETTINGS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


@dataclass(frozen=True)
class Topology:
    """chip: a key of accelerators.CHIPS, or "cpu". extents: chips along each dimension of a slice;
    of GPUs hosts and GPUs of each, or only these; of a CPU the number of devices."""

    chip: str
    extents: tuple[int, ...]
    num_slices: int = 1

    @classmethod
    def parse(cls, name: str) -> "Topology":
        """v5e:16x16, 2xv5e:16x16, h100:8, a100-80gb:4x8, cpu:8.

        Raises:
            UserError: it is none of these, or of a chip that is not in the table.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise UserError(f"--topology={name} is no topology; give one {_HOW}")
        slices, chip, extents = match.groups()
        if chip not in ("cpu", *CHIPS):
            raise UserError(
                f"--topology={name}: there is no chip {chip!r}; choose cpu or one of "
                f"{', '.join(CHIPS)}"
            )
        topology = cls(chip, tuple(map(int, extents.split("x"))), int(slices or 1))
        most = {"cpu": 1, "gpu": 2}.get(topology.platform)
        if topology.num_devices == 0 or (most and (slices or len(topology.extents) > most)):
            raise UserError(f"--topology={name} is no topology; give one {_HOW}")
        host = CHIPS[chip].chips_per_host if chip in CHIPS else 0
        if topology.platform == "gpu" and topology.extents[-1] > host:
            raise UserError(
                f"--topology={name}: a host has at most {host} GPUs; name hosts and GPUs of each, "
                f"such as {chip}:{-(-topology.num_devices // host)}x{host}"
            )
        return topology

    @classmethod
    def of(cls, chip: str, num_devices: int) -> "Topology":
        """A power of two of chips as the squarest slice; of v5e and v6e, more than 256 as slices of
        16 x 16; of GPUs as full hosts."""
        if chip in DESIGNS:
            host = CHIPS[chip].chips_per_host
            return cls(chip, (num_devices // host, host) if num_devices > host else (num_devices,))
        dimensions = CHIPS[chip].torus if chip in CHIPS else 1
        slices = max(1, num_devices // CHIPS[chip].ring ** 2) if dimensions == 2 else 1
        extents = [1] * dimensions
        while math.prod(extents) * slices < num_devices:
            least = min(range(dimensions), key=lambda i: extents[i])
            extents[least] *= 2
        order = sorted(extents) if dimensions < 3 or math.prod(extents) > 4 else extents
        return cls(chip, tuple(order), slices)

    def __str__(self) -> str:
        slices = f"{self.num_slices}x" if self.num_slices > 1 else ""
        return f"{slices}{self.chip}:{'x'.join(map(str, self.extents))}"

    @property
    def num_devices(self) -> int:
        return self.num_slices * math.prod(self.extents)

    @property
    def platform(self) -> str:
        """As JAX has it: tpu, gpu or cpu."""
        return "gpu" if self.chip in DESIGNS else "tpu" if self.chip in CHIPS else "cpu"

    @property
    def figures(self) -> Chip | None:
        """The chip's row in the table; None for a CPU."""
        return CHIPS.get(self.chip)


def devices_of(topology: Topology | str) -> Sequence[Any]:
    """Devices of a topology, fit for a mesh that a program is compiled for, not run on.

    Raises:
        UserError: libtpu or JAX's plugin for CUDA is not installed, libtpu knows no such slice, or
            JAX has already started with fewer CPU devices.
    """
    if isinstance(topology, str):
        topology = Topology.parse(topology)
    if topology.platform == "cpu":
        return _cpu_devices(topology.num_devices)
    if topology.platform == "gpu":
        return _gpu_devices(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology={topology} needs libtpu, which compiles for TPU on any machine: "
            "pip install 'nanojaxlm[tpu]'"
        )
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    several = {"num_slices": topology.num_slices} if topology.num_slices > 1 else {}
    described = str(Topology(topology.chip, topology.extents))
    try:
        found = topologies.get_topology_desc(
            described, "tpu", **_OPTIONS.get(topology.chip, {}), **several
        )
    except Exception as error:  # whatever PJRT says of a layout that does not exist
        said = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"--topology={topology}: libtpu has no such slice ({said}); give one {_HOW}"
        ) from None
    return found.devices


def has_cuda() -> bool:
    """Whether JAX's plugin for CUDA is installed, which compiles for GPUs on any machine."""
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return any("cuda" in plugin.name for plugin in plugins)


def _gpu_devices(topology: Topology) -> Sequence[Any]:
    if not has_cuda():
        raise UserError(
            f"--topology={topology} needs JAX's plugin for CUDA, which compiles for GPUs on any "
            "machine: pip install 'nanojaxlm[gpu]'"
        )
    assert topology.figures is not None
    hosts, gpus = topology.extents if len(topology.extents) == 2 else (1, *topology.extents)
    found = topologies.get_topology_desc(
        platform="cuda",
        topology=f"1x{hosts}x{gpus}",  # parts that NVLink joins, hosts of each, GPUs of each
        target_config=description(topology.figures),
    )
    return found.devices


def _cpu_devices(number: int) -> Sequence[Any]:
    with contextlib.suppress(RuntimeError):  # JAX has started
        if number > jax.config.values["jax_num_cpu_devices"]:
            jax.config.update("jax_num_cpu_devices", number)
    devices = jax.devices("cpu")
    if len(devices) < number:
        raise UserError(
            f"--topology=cpu:{number}: JAX has started with {len(devices)} devices in this process"
        )
    return devices[:number]
