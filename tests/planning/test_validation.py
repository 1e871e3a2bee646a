"""The cases that figures are compared over, and the table made of them."""

import jax
import pytest

from nanojaxlm.assembly import mesh_for
from nanojaxlm.planning import validation
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.memory import estimate
from nanojaxlm.planning.validation import MiB, cases, resident, row, table
from nanojaxlm.sharding import MeshConfig


def test_there_are_twenty_cases_of_many_kinds():
    found = cases()
    assert len(found) >= 20
    assert {config.model.encoder is None for config in found.values()} == {True, False}
    assert len({config.model.last.remat for config in found.values()}) >= 5
    assert len({str(config.optimizer) for config in found.values()}) >= 4


@pytest.mark.parametrize("name", cases())
def test_a_case_divides_over_its_mesh_and_is_small(name: str):
    config = cases()[name]
    assert isinstance(config.mesh, MeshConfig)
    assert mesh_for(config, config.mesh, jax.devices())
    layout = Layout.of(config.mesh, validation.NUM_DEVICES, tiled=False)
    assert estimate(config, layout, Inventory.of(config)).peak < 200 * MiB  # of one of 8 devices


def test_the_table_has_every_case_and_the_mean_error():
    figures = {"formula": 90 * MiB, "compiled": 100 * MiB, "measured": 80 * MiB}
    assert row("one", figures) == "| one | 90 | 100 | 80 | -10% | +25% |"
    text = table({"one": figures, "two": {**figures, "formula": 120 * MiB}})
    assert "| two | 120 | 100 | 80 | +20% | +25% |" in text
    assert text.endswith("Mean error of the formula: 15%.")


def test_resident_memory_is_the_process_own():
    before = resident(reset=True)
    block = bytearray(64 * MiB)
    block[::4096] = b"x" * len(block[::4096])
    del block
    assert resident(peak=True) - before > 50 * MiB
