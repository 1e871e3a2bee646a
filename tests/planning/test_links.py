"""Bandwidths read off where devices stand: rings, lines, strides, slices and hosts."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.planning.links import Reach, reach, seconds

V5E, V5P, H100 = CHIPS["v5e"], CHIPS["v5p"], CHIPS["h100"]
LINK = V5E.link_bytes_per_second


def torus(*extents: int, slices: int = 1) -> np.ndarray:
    """Devices of a TPU, an axis a dimension, after one of slices."""
    devices = np.empty((slices, *extents), object)
    for at in np.ndindex(devices.shape):
        coords = (*at[1:], *(0,) * (3 - len(extents)))
        devices[at] = SimpleNamespace(coords=coords, slice_index=at[0], platform="tpu")
    return devices


def mesh(devices: np.ndarray, *names: str) -> Any:
    return SimpleNamespace(devices=devices, axis_names=names)


@pytest.mark.parametrize(
    ("extents", "axes", "links"),
    [
        ((16, 16), ("x",), 2),  # a ring: both ways
        ((16, 16), ("x", "y"), 4),
        ((8, 16), ("x",), 1),  # a line: its ends have one link
        ((4, 4), ("x", "y"), 2),
    ],
)
def test_links_of_a_group_follow_its_dimensions(extents, axes, links):
    found = reach(mesh(torus(*extents)[0], "x", "y"), axes, V5E)
    assert found.bytes_per_second == links * LINK
    assert found.parts == 1


def test_part_of_a_dimension_is_a_line_and_distant_neighbours_share_links():
    """x of 16 cut into outer 4 (four apart) and inner 4 (side by side)."""
    on = mesh(torus(16, 16)[0].reshape(4, 4, 16), "outer", "inner", "y")
    assert reach(on, ("inner",), V5E).bytes_per_second == LINK
    assert reach(on, ("outer",), V5E).bytes_per_second == LINK / 4
    assert reach(on, ("outer", "inner"), V5E).bytes_per_second == 2 * LINK


def test_training_chips_close_short_rings():
    on = mesh(torus(4, 4, 8)[0], "x", "y", "z")
    assert reach(on, ("x",), V5P).bytes_per_second == 2 * V5P.link_bytes_per_second
    assert reach(on, ("x", "y", "z"), V5P).bytes_per_second == 6 * V5P.link_bytes_per_second


def test_slices_and_hosts_of_gpus_meet_on_the_network():
    over = reach(mesh(torus(16, 16, slices=2), "slice", "x", "y"), ("slice", "x"), V5E)
    assert (over.parts, over.extent) == (2, 16)
    gpus = np.array([SimpleNamespace(process_index=i // 8, platform="gpu") for i in range(16)])
    assert reach(mesh(gpus, "data"), ("data",), H100).parts == 2


def test_seconds_are_what_the_ring_formulas_say():
    ring = Reach(1e11, 16, 1, 1e9)
    assert seconds("all-gather", 16e9, 16, ring) == (pytest.approx(0.15), 0.0)
    assert seconds("reduce-scatter", 16e9, 16, ring) == seconds("all-gather", 16e9, 16, ring)
    assert seconds("all-reduce", 16e9, 16, ring)[0] == pytest.approx(0.30)
    # an all-to-all takes a quarter of the all-gather of the same global array
    assert seconds("all-to-all", 1e9, 16, ring)[0] == pytest.approx(0.04)
    assert seconds("collective-permute", 1e9, 16, ring)[0] == pytest.approx(0.01)


def test_over_two_slices_only_a_share_of_the_result_crosses_the_network():
    links, network = seconds("all-reduce", 16e9, 32, Reach(1e11, 16, 2, 1e9))
    assert links == pytest.approx(0.30)
    assert network == pytest.approx(2 * 1.0 / 2)  # 1 GB of each device, (p-1)/p of it twice
