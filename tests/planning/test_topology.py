"""Names of topologies become the devices that they stand for, or a line that says why not."""

import importlib.util

import pytest

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.devices import slice_of
from nanojaxlm.errors import UserError
from nanojaxlm.planning import topology as topology_module
from nanojaxlm.planning.topology import Topology, devices_of, has_cuda

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: the extra tpu"
)


@pytest.mark.parametrize(
    "name",
    [
        "v5e:16x16", "v5p:4x4x8", "2xv6e:16x16", "v4:2x2x1", "h100:8", "a100-80gb:4x8", "cpu:8",
    ],
)  # fmt: skip
def test_a_name_is_read_and_written_alike(name: str):
    assert str(Topology.parse(name)) == name


def test_devices_are_those_of_all_slices():
    assert Topology.parse("2xv5e:16x16").num_devices == 512
    assert Topology.parse("cpu:8").num_devices == 8
    assert Topology.parse("cpu:8").figures is None
    assert Topology.parse("v5p:2x2x1").figures == CHIPS["v5p"]
    assert Topology.parse("a100-80gb:4x8").num_devices == 32
    assert Topology.parse("h100:8").figures == CHIPS["h100"]
    platforms = [Topology.parse(name).platform for name in ("v5e:2x2", "b200:8", "cpu:2")]
    assert platforms == ["tpu", "gpu", "cpu"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v5e", "v5e:16x16"),
        ("v5e-256", "v5e:16x16"),
        ("v9:2x2", "v4, v5e, v5p, v6e, a100-40gb"),
        ("cpu:2x4", "cpu:8"),
        ("v5e:0x4", "v5e:16x16"),
        ("h100:2x2x2", "h100:4x8"),
        ("2xh100:8", "h100:4x8"),
        ("h100:32", "h100:4x8"),
        ("h100:12", "h100:2x8"),
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


def test_without_the_plugin_for_cuda_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(topology_module, "has_cuda", lambda: False)
    with pytest.raises(UserError, match=r"nanojaxlm\[gpu\]"):
        devices_of("h100:8")


@pytest.mark.skipif(not has_cuda(), reason="JAX's plugin for CUDA is not installed: the extra gpu")
@pytest.mark.parametrize("name", ["a100-40gb:1", "h100:8", "h200:2x8", "h800:4x8", "b200:2x4"])
def test_hosts_have_their_gpus_of_the_kind_in_the_table(name: str):
    topology = Topology.parse(name)
    devices = devices_of(topology)
    assert len(devices) == topology.num_devices
    assert topology.figures is not None
    assert {device.device_kind for device in devices} == set(topology.figures.device_kinds)
    hosts = topology.extents[0] if len(topology.extents) == 2 else 1
    assert len({device.process_index for device in devices}) == hosts
    assert {slice_of(device) for device in devices} == {0}


@needs_libtpu
def test_a_slice_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="no such slice"):
        devices_of("v5e:3x3")


@pytest.mark.parametrize(
    ("chip", "number", "name"),
    [
        ("v5e", 1, "v5e:1x1"), ("v5e", 8, "v5e:2x4"), ("v6e", 256, "v6e:16x16"),
        ("v6e", 1024, "4xv6e:16x16"), ("v5p", 4, "v5p:2x2x1"), ("v5p", 64, "v5p:4x4x4"),
        ("v4", 32, "v4:2x4x4"), ("cpu", 8, "cpu:8"), ("h100", 4, "h100:4"),
        ("a100-80gb", 8, "a100-80gb:8"), ("b200", 64, "b200:8x8"),
    ],
)  # fmt: skip
def test_a_number_of_chips_is_the_squarest_slice(chip, number, name):
    topology = Topology.of(chip, number)
    assert str(topology) == name and topology.num_devices == number
    assert Topology.parse(name) == topology
