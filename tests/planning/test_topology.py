"""Names of topologies become the devices that they stand for, or a line that says why not."""

import importlib.util

import pytest

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.errors import UserError
from nanojaxlm.planning.topology import Topology, devices_of

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: the extra tpu"
)


@pytest.mark.parametrize("name", ["v5e:16x16", "v5p:4x4x8", "2xv6e:16x16", "v4:2x2x1", "cpu:8"])
def test_a_name_is_read_and_written_alike(name: str):
    assert str(Topology.parse(name)) == name


def test_devices_are_those_of_all_slices():
    assert Topology.parse("2xv5e:16x16").num_devices == 512
    assert Topology.parse("cpu:8").num_devices == 8
    assert Topology.parse("cpu:8").figures is None
    assert Topology.parse("v5p:2x2x1").figures == CHIPS["v5p"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v5e", "v5e:16x16"),
        ("v5e-256", "v5e:16x16"),
        ("v9:2x2", "v4, v5e, v5p, v6e"),
        ("cpu:2x4", "cpu:8"),
        ("v5e:0x4", "v5e:16x16"),
    ],
)
def test_a_name_that_is_none_says_what_would_be(name: str, said: str):
    with pytest.raises(UserError, match=r"--topology=") as raised:
        devices_of(name)
    assert said in str(raised.value)


def test_more_cpu_devices_than_jax_started_with_are_refused():
    assert len(devices_of("cpu:4")) == 4  # the tests' conftest gives 8
    with pytest.raises(UserError, match="has started with 8"):
        devices_of("cpu:9")


def test_without_libtpu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"nanojaxlm\[tpu\]"):
        devices_of("v5e:2x2")


@needs_libtpu
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:2x4", "v5p:2x2x2", "v6e:2x4", "2xv5e:2x4"])
def test_a_slice_has_one_device_a_chip_of_the_kind_in_the_table(name: str):
    topology = Topology.parse(name)
    devices = devices_of(topology)
    assert len(devices) == topology.num_devices
    assert topology.figures is not None
    assert {device.device_kind for device in devices} <= set(topology.figures.device_kinds)
    slices = {getattr(device, "slice_index", None) or 0 for device in devices}
    assert len(slices) == topology.num_slices


@needs_libtpu
def test_a_slice_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="no such slice"):
        devices_of("v5e:3x3")


@pytest.mark.parametrize(
    ("chip", "number", "name"),
    [
        ("v5e", 1, "v5e:1x1"), ("v5e", 8, "v5e:2x4"), ("v6e", 256, "v6e:16x16"),
        ("v6e", 1024, "4xv6e:16x16"), ("v5p", 4, "v5p:2x2x1"), ("v5p", 64, "v5p:4x4x4"),
        ("v4", 32, "v4:2x4x4"), ("cpu", 8, "cpu:8"),
    ],
)  # fmt: skip
def test_a_number_of_chips_is_the_squarest_slice(chip, number, name):
    topology = Topology.of(chip, number)
    assert str(topology) == name and topology.num_devices == number
    assert Topology.parse(name) == topology
