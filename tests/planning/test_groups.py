"""Every way that XLA writes groups of devices gives the mesh axes that they lie along."""

import itertools
import math

import numpy as np
import pytest

from nanojaxlm.planning.groups import axes_of, replica_groups, source_target_pairs

MESH = {"data": 2, "fsdp": 2, "tensor": 2}
ALL_AXES = [
    axes for n in range(1, len(MESH) + 1) for axes in itertools.combinations(MESH, n)
]  # fmt: skip


def groups_along(axes: tuple[str, ...]) -> list[list[int]]:
    ids = np.arange(math.prod(MESH.values())).reshape(*MESH.values())
    names = list(MESH)
    order = [i for i, name in enumerate(names) if name not in axes]
    order += [names.index(name) for name in axes]
    return ids.transpose(order).reshape(-1, math.prod(MESH[name] for name in axes)).tolist()


@pytest.mark.parametrize("axes", ALL_AXES, ids="+".join)
def test_listed_groups_name_their_axes(axes: tuple[str, ...]):
    listed = ",".join("{" + ",".join(map(str, group)) + "}" for group in groups_along(axes))
    attributes = f", channel_id=1, replica_groups={{{listed}}}, use_global_device_ids=true"
    groups = replica_groups(attributes, 8)
    assert groups == groups_along(axes)
    assert axes_of(groups, MESH) == axes


@pytest.mark.parametrize("axes", ALL_AXES, ids="+".join)
def test_groups_of_a_mesh_name_their_axes(axes: tuple[str, ...]):
    over = ",".join(f"'{name}'" for name in axes)
    attributes = f", replica_groups=mesh['data'=2,'fsdp'=2,'tensor'=2] {{{over}}}, dimensions={{0}}"
    groups = replica_groups(attributes, 8)
    assert groups is not None
    assert sorted(groups) == sorted(groups_along(axes))
    assert axes_of(groups, MESH) == axes


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[2,4]<=[8]", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("[4,2]<=[2,4]T(1,0)", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("[4,2]<=[2,2,2]T(0,2,1)", [[0, 2], [1, 3], [4, 6], [5, 7]]),
        ("mesh['a'=8] {'a':(1)2}", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("mesh['a'=8] {'a':(2)2}", [[0, 2], [1, 3], [4, 6], [5, 7]]),
        ("mesh['a'=8] {'a':(4)2}", [[0, 1], [2, 3], [4, 5], [6, 7]]),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]<=[8]) {'b'}", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (
            "mesh['a'=2,'b'=4], device_ids=([8]<=[4,2]T(1,0)) {'b'}",
            [[0, 2, 4, 6], [1, 3, 5, 7]],
        ),
        (
            "mesh['a'=1,'b'=2,'c'=4], device_ids=([4,2]T(1,0)) {'b'}",
            [[0, 1], [2, 3], [4, 5], [6, 7]],
        ),
        (
            "mesh['a'=2,'b'=4], device_ids=([0,4,1,5,2,6,3,7]) {'a'}",
            [[0, 2], [4, 6], [1, 3], [5, 7]],
        ),
        ("{}", [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ],
)
def test_groups_are_those_that_the_notation_stands_for(written: str, expected: list[list[int]]):
    assert replica_groups(f", replica_groups={written}, dimensions={{1}}", 8) == expected


def test_no_groups_are_no_groups():
    assert replica_groups(", dimensions={1}", 8) is None
    assert source_target_pairs(", dimensions={1}") is None


def test_pairs_name_the_axes_along_which_they_step():
    pairs = source_target_pairs(", source_target_pairs={{0,2},{2,0},{1,3},{3,1}}, metadata={}")
    assert pairs == [[0, 2], [2, 0], [1, 3], [3, 1]]
    assert axes_of(pairs, MESH) == ("fsdp",)
    assert axes_of([[0, 5]], MESH) == ("data", "tensor")


def test_an_unknown_notation_is_refused():
    with pytest.raises(ValueError, match="not known"):
        replica_groups(", replica_groups=?", 8)
