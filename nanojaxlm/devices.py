"""Where devices stand in their machine, and the order in which a mesh takes them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.experimental import mesh_utils

from nanojaxlm.errors import UserError


def slice_of(device: Any) -> int:
    """Which of a TPU's slices, joined by the data-centre network, a device is in; 0 elsewhere."""
    if device.platform != "tpu":  # of GPUs jax calls hosts so, over which any axis may lie
        return 0
    return getattr(device, "slice_index", None) or 0


def arranged(sizes: Sequence[int], devices: Sequence[Any]) -> np.ndarray:
    """The devices as an array of these sizes, one for each mesh axis, replica and stage first, as
    their links suggest.

    Raises:
        UserError: slices, which the data-centre network joins, do not lie along replica and stage.
    """
    if devices[0].platform == "cpu" or len(devices) == 1:
        return np.asarray(devices).reshape(sizes)
    num_slices = len({slice_of(device) for device in devices})
    over_replica = math.gcd(num_slices, sizes[0])
    over_stage = num_slices // over_replica
    if sizes[1] % over_stage:
        raise UserError(
            f"the devices are {num_slices} slices: choose config.mesh.replica and "
            "config.mesh.stage so that the slices divide replica, or replica and then stage"
        )
    within = (sizes[0] // over_replica, sizes[1] // over_stage, *sizes[2:])
    if num_slices > 1:
        between = (over_replica, over_stage, *(1,) * len(sizes[2:]))
        return mesh_utils.create_hybrid_device_mesh(
            within, between, devices, allow_split_physical_axes=True
        )
    return mesh_utils.create_device_mesh(within, devices, allow_split_physical_axes=True)
