"""Configs of pods: they load everywhere; where libtpu is, each compiles for its pod and fits."""

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import pytest

from nanojaxlm.config import Config
from nanojaxlm.planning.compilation import compile_step
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.memory import estimate
from nanojaxlm.planning.options import xla_options
from nanojaxlm.planning.report import report_on
from nanojaxlm.planning.topology import Topology
from nanojaxlm.sharding import MeshConfig
from nanojaxlm.typed_config import from_config_dict

PODS = Path(__file__).resolve().parents[2] / "configs" / "pods"
FILES = {path.stem: runpy.run_path(str(path)) for path in sorted(PODS.glob("v*.py"))}
RUNS = [(stem, name) for stem, of in FILES.items() for name in of["RUNS"]]


def load(stem: str, name: str) -> tuple[Config, Topology]:
    file: Any = FILES[stem]
    tree = file["get_config"](name)
    tree.data.text = "input.txt"
    return from_config_dict(Config, tree), Topology.parse(file["TOPOLOGY"])


@pytest.mark.parametrize(("stem", "name"), RUNS)
def test_it_fits_by_formula(stem: str, name: str):
    config, topology = load(stem, name)
    assert isinstance(config.mesh, MeshConfig) and topology.figures is not None
    memory = estimate(config, Layout.of(config.mesh, topology.num_devices), Inventory.of(config))
    assert memory.peak < topology.figures.usable_bytes


@pytest.mark.slow
@pytest.mark.pods
@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs libtpu, the extra tpu")
@pytest.mark.parametrize(("stem", "name"), RUNS)
def test_it_compiles_for_its_pod_and_fits(stem: str, name: str):
    config, topology = load(stem, name)
    report = report_on(compile_step(config, topology, xla_options(topology)))
    assert report.fits, report.verdict
    # the formula is what ranks the search
    assert report.analytic["peak"] == pytest.approx(report.needed_bytes, rel=0.10)
