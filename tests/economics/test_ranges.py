"""Ranges keep their order under every operation."""

import pytest

from nanojaxlm.economics.ranges import Range


def test_a_range_that_does_not_rise_is_refused():
    with pytest.raises(ValueError, match="does not hold"):
        Range(2.0, 1.0, 3.0)


def test_operations_hold_every_combination_of_what_they_are_made_of():
    one, other = Range(1.0, 2.0, 5.0), Range(2.0, 4.0, 8.0)
    for x in (1.0, 2.0, 5.0):
        for y in (2.0, 4.0, 8.0):
            assert x + y in one + other
            assert x * y in one * other
            assert x / y in one / other
    assert (one / other).central == 0.5
    assert one * 2 == 2 * one == Range(2.0, 4.0, 10.0)
    assert one + 1 == Range(2.0, 3.0, 6.0)
