"""mesh="auto": a mesh for a config on the devices that are there, by formula, with the reason."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from nanojaxlm.accelerators import CPU, Chip, chip_of
from nanojaxlm.config import Config
from nanojaxlm.planning.inventory import Inventory
from nanojaxlm.planning.search import MARGIN, Machine, Plan, divides, judge, meshes, ranked
from nanojaxlm.sharding import MESH_AXES, MeshConfig

GiB = 2**30


def choose_mesh(config: Config, devices: Sequence[Any]) -> tuple[MeshConfig, str]:
    """The mesh on which the config's own batch and remat policy run fastest of those that they fit,
    and why, in one line. Nothing is compiled; it takes a second or two.

    Where none fits, the one that needs least memory; the formulas err, and the compiler decides.
    Where the batch divides over none, all devices get to data, for the check of the batch to say.
    """
    chip = chip_of(devices[0].device_kind) or _like(devices[0])
    machine, inventory = Machine.of(devices, chip), Inventory.of(config)
    num_devices = len(devices)
    possible = [
        mesh for mesh in meshes(config, inventory, machine) if divides(config, machine.layout(mesh))
    ]
    if not possible:
        return MeshConfig(replica=machine.num_slices), (
            f"data over all {num_devices} devices: no mesh divides {config.data.batch_size} rows "
            "and the model evenly"
        )
    judged = [plan for mesh in possible if (plan := judge(config, mesh, inventory, machine))]
    if judged:
        order = ranked(judged)
        return order[0].mesh, _reason(order, len(possible))
    tight = [judge(config, mesh, inventory, machine, fitting=False) for mesh in possible]
    least = min((plan for plan in tight if plan), key=lambda plan: plan.memory.peak)
    return least.mesh, (
        f"{words(least.mesh)}, which needs least memory: an estimated "
        f"{_gib(least.memory.peak)} of {_gib(chip.usable_bytes)} GiB a device, so none of "
        f"{len(possible)} meshes is likely to fit; try a smaller config.data.batch_size, remat, "
        "training.accumulation or smaller optimizer moments"
    )


def words(mesh: MeshConfig) -> str:
    """fsdp=8 tensor=2; one device: data=1."""
    used = [f"{axis}={size}" for axis, size in zip(MESH_AXES, mesh.sizes, strict=True) if size != 1]
    return " ".join(used) or "data=1"


def _reason(order: Sequence[Plan], num_possible: int) -> str:
    best = order[0]
    chip = best.chip
    share = f"{_gib(best.memory.peak)} of {_gib(chip.usable_bytes)} GiB a device"
    text = (
        f"{words(best.mesh)}: the fastest by estimate of {len(order)} meshes that fit "
        f"{_gib(MARGIN * chip.usable_bytes)} GiB, of {num_possible} that divide the model and "
        f"{best.config.data.batch_size} rows; it needs about {share}, bound by "
        f"{best.roofline.bound_by}"
    )
    other = next((plan for plan in order[1:] if words(plan.mesh) != words(best.mesh)), None)
    if other is not None:
        slower = best.tokens_per_second / other.tokens_per_second
        much = "as fast" if slower < 1.005 else f"{slower:.2f} times slower"
        text += f" ({words(other.mesh)} would be {much})"
    plain = _all_data(order)
    if plain is None and best.mesh.data != best.num_devices:
        text += "; copies of the whole state on each device would not fit or not divide the batch"
    return text


def _all_data(order: Sequence[Plan]) -> Plan | None:
    """The plan with nothing but data parallelism, if it is among these."""
    return next((plan for plan in order if plan.mesh.data == plan.num_devices), None)


def _like(device: Any) -> Chip:
    """A chip for a device that the table does not know: a CPU's figures, with its own memory where
    it says how much."""
    stats = getattr(device, "memory_stats", lambda: None)() or {}
    limit = stats.get("bytes_limit")
    if device.platform == "cpu" or limit is None:
        return CPU
    return dataclasses.replace(CPU, memory_bytes=limit, usable_bytes=limit)


def _gib(size: float) -> str:
    return f"{size / GiB:.1f}"
