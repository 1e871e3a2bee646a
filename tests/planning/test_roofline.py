"""The bound on a step's time, on numbers that can be checked by hand."""

import numpy as np
import pytest

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.planning.formulas import Sent, Work
from nanojaxlm.planning.links import Reach
from nanojaxlm.planning.roofline import roofline

CHIP = CHIPS["v5p"]
SECOND = CHIP.flops_per_second  # of FLOPs
MEMORY_SECOND = CHIP.memory_bytes_per_second
AXES = ("fsdp",)
REACHES = {AXES: Reach(1e11, 2, 1, 1e9)}


def gather(gigabytes: float, overlapped: bool) -> Sent:
    """Over two devices: half of it is sent."""
    return Sent("all-gather", AXES, gigabytes * 1e9, 1, 2, overlapped)


def test_each_operation_is_bound_by_one_or_the_other():
    work = [Work(SECOND, MEMORY_SECOND / 2, 1), Work(0.0, MEMORY_SECOND, 2)]
    bound = roofline(work, [], {}, CHIP)
    assert (bound.compute, bound.memory) == (pytest.approx(1.0), pytest.approx(2.5))
    assert bound.work == bound.step == pytest.approx(1 + 2)
    assert bound.bound_by == "memory"


def test_what_overlaps_hides_until_it_takes_longer():
    work = [Work(SECOND, 0.0, 1)]
    hidden = roofline(work, [gather(100, True)], REACHES, CHIP)
    assert (hidden.step, hidden.bound_by) == (pytest.approx(1.0), "compute")
    longer = roofline(work, [gather(400, True)], REACHES, CHIP)
    assert (longer.step, longer.bound_by) == (pytest.approx(2.0), "links")
    exposed = roofline(work, [gather(100, False)], REACHES, CHIP)
    assert exposed.step == pytest.approx(1.5)


def test_mfu_counts_the_models_own_flops():
    bound = roofline([Work(SECOND, 0.0, 2)], [], {}, CHIP)
    assert bound.mfu(SECOND * 1.5, CHIP) == pytest.approx(0.75)
    assert np.isfinite(bound.mfu(0.0, CHIP))
