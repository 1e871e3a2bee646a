"""Accelerators: a table of their figures with sources; a CPU's speed is measured."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

GiB = 2**30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One device as JAX counts devices; rates are what the maker states, not what is measured.

    flops_per_second: dense bfloat16 products. link_bytes_per_second: one way, of one link to a
    neighbour. torus: how many dimensions of neighbours; 0: all chips of a host meet in one switch,
    and the link is a chip's to it. ring: a dimension of a torus closes to a ring where its extent
    is a multiple of this. network_bytes_per_second: one way, a chip's share of its host's network
    cards. usable_bytes: what XLA lets a program have of memory_bytes.
    """

    name: str
    device_kinds: tuple[str, ...]
    flops_per_second: float
    memory_bytes: int
    usable_bytes: int
    memory_bytes_per_second: float
    link_bytes_per_second: float
    torus: int
    ring: int
    network_bytes_per_second: float
    chips_per_host: int
    source: str


_TPU = "cloud.google.com/tpu/docs/{}, read 2026-11; a link: jax-ml.github.io/scaling-book/tpus"
_XLA = "; usable: what XLA's out-of-memory message of libtpu 0.0.52 states"
_NVIDIA = "NVIDIA's {} data sheet (no sparsity); network: DGX {} user guide; usable: JAX's 75%"

CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4",
            device_kinds=("TPU v4",),
            flops_per_second=275e12,
            memory_bytes=32 * GiB,
            usable_bytes=int(30.75 * GiB),
            memory_bytes_per_second=1.2e12,
            link_bytes_per_second=4.5e10,
            torus=3,
            ring=4,
            network_bytes_per_second=6.25e9,  # not published: as v5p's
            chips_per_host=4,
            source=_TPU.format("v4") + _XLA,
        ),
        Chip(
            name="v5e",
            device_kinds=("TPU v5 lite", "TPU v5e"),
            flops_per_second=197e12,
            memory_bytes=16 * GiB,
            usable_bytes=int(15.75 * GiB),
            memory_bytes_per_second=8.19e11,
            link_bytes_per_second=5e10,
            torus=2,
            ring=16,
            network_bytes_per_second=3.125e9,  # 2 cards of 100 Gb/s for 8 chips
            chips_per_host=8,
            source=_TPU.format("v5e") + _XLA,
        ),
        Chip(
            name="v5p",
            device_kinds=("TPU v5", "TPU v5p"),
            flops_per_second=459e12,
            memory_bytes=95 * GiB,
            usable_bytes=int(95.73 * GiB),
            memory_bytes_per_second=2.765e12,
            link_bytes_per_second=1e11,
            torus=3,
            ring=4,
            network_bytes_per_second=6.25e9,
            chips_per_host=4,
            source=_TPU.format("v5p") + _XLA,
        ),
        Chip(
            name="v6e",
            device_kinds=("TPU v6 lite", "TPU v6e"),
            flops_per_second=918e12,
            memory_bytes=32 * GiB,
            usable_bytes=int(31.24 * GiB),
            memory_bytes_per_second=1.638e12,
            link_bytes_per_second=1e11,
            torus=2,
            ring=16,
            network_bytes_per_second=1.25e10,  # 4 cards of 200 Gb/s for 8 chips
            chips_per_host=8,
            source=_TPU.format("v6e") + _XLA,
        ),
        Chip(
            name="a100-40gb",
            device_kinds=("NVIDIA A100-SXM4-40GB",),
            flops_per_second=312e12,
            memory_bytes=40 * GiB,
            usable_bytes=30 * GiB,
            memory_bytes_per_second=1.555e12,
            link_bytes_per_second=3e11,
            torus=0,
            ring=1,
            network_bytes_per_second=2.5e10,
            chips_per_host=8,
            source=_NVIDIA.format("A100", "A100"),
        ),
        Chip(
            name="a100-80gb",
            device_kinds=("NVIDIA A100-SXM4-80GB",),
            flops_per_second=312e12,
            memory_bytes=80 * GiB,
            usable_bytes=60 * GiB,
            memory_bytes_per_second=2.039e12,
            link_bytes_per_second=3e11,
            torus=0,
            ring=1,
            network_bytes_per_second=2.5e10,
            chips_per_host=8,
            source=_NVIDIA.format("A100", "A100"),
        ),
        Chip(
            name="h100",
            device_kinds=("NVIDIA H100 80GB HBM3",),
            flops_per_second=989e12,
            memory_bytes=80 * GiB,
            usable_bytes=60 * GiB,
            memory_bytes_per_second=3.35e12,
            link_bytes_per_second=4.5e11,
            torus=0,
            ring=1,
            network_bytes_per_second=5e10,
            chips_per_host=8,
            source=_NVIDIA.format("H100", "H100"),
        ),
        Chip(
            name="h200",
            device_kinds=("NVIDIA H200",),
            flops_per_second=989e12,
            memory_bytes=141 * 10**9,
            usable_bytes=141 * 10**9 * 3 // 4,
            memory_bytes_per_second=4.8e12,
            link_bytes_per_second=4.5e11,
            torus=0,
            ring=1,
            network_bytes_per_second=5e10,
            chips_per_host=8,
            source=_NVIDIA.format("H200", "H200"),
        ),
        Chip(
            name="h800",
            device_kinds=("NVIDIA H800",),
            flops_per_second=989e12,
            memory_bytes=80 * GiB,
            usable_bytes=60 * GiB,
            memory_bytes_per_second=3.35e12,
            link_bytes_per_second=2e11,
            torus=0,
            ring=1,
            network_bytes_per_second=5e10,
            chips_per_host=8,
            source="as h100's data sheet, but for its links: NVLink of 400 GB/s both ways together",
        ),
        Chip(
            name="b200",
            device_kinds=("NVIDIA B200",),
            flops_per_second=2250e12,
            memory_bytes=180 * 10**9,
            usable_bytes=180 * 10**9 * 3 // 4,
            memory_bytes_per_second=8e12,
            link_bytes_per_second=9e11,
            torus=0,
            ring=1,
            network_bytes_per_second=5e10,
            chips_per_host=8,
            source=_NVIDIA.format("HGX B200", "B200"),
        ),
    )
}

# Of a machine without an accelerator, for a plan of it: rough figures of a server's core and its
# share of the memory. Only their order of magnitude is used.
CPU = Chip(
    name="cpu",
    device_kinds=("cpu",),
    flops_per_second=5e10,
    memory_bytes=4 * GiB,
    usable_bytes=4 * GiB,
    memory_bytes_per_second=1e10,
    link_bytes_per_second=5e9,
    torus=0,
    ring=1,
    network_bytes_per_second=1e9,
    chips_per_host=8,
    source="rough figures of a server's core",
)

_BY_KIND = {kind: chip for chip in (*CHIPS.values(), CPU) for kind in chip.device_kinds}


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls so (`jax.Device.device_kind`); None where the table has none."""
    return _BY_KIND.get(device_kind)


def peak_flops_per_second(devices: Sequence[Any]) -> float | None:
    """Of all `jax.Device`s together; None for an accelerator that the table does not know.

    CPU: measured, the best of several 1024³ float32 products on all of them at once.
    """
    if devices[0].platform == "cpu":
        return _measured(devices)
    chip = chip_of(devices[0].device_kind)
    return None if chip is None else chip.flops_per_second * len(devices)


def _measured(devices: Sequence[Any], size: int = 1024, repeats: int = 10) -> float:
    """Of all devices at work at once: virtual ones share the machine's cores."""
    ones = jnp.ones((size, size), jnp.float32)
    arrays = [jax.device_put(ones, device) for device in devices]
    product = jax.jit(lambda x: x @ x)
    best_seconds = float("inf")
    for _ in range(1 + repeats):  # the first compiles
        start = time.perf_counter()
        jax.block_until_ready([product(array) for array in arrays])
        best_seconds = min(best_seconds, time.perf_counter() - start)
    return 2 * size**3 * len(devices) / best_seconds
