"""Overrides are checked, marked, and leave the table as it was."""

import pytest

from nanojaxlm.economics.constants import Assumptions, Constant
from nanojaxlm.economics.ranges import Range
from nanojaxlm.errors import UserError


def row(name, low, value, high, unit="$"):
    return Constant(
        name=name, low=low, value=value, high=high, unit=unit, what="a test", source="s", date="d"
    )


TABLE = Assumptions(
    {r.name: r for r in (row("a.price", 1, 2, 3), row("b.part", 0, 0.5, 1, "fraction"))}
)


def test_an_override_replaces_value_range_and_source_and_leaves_the_rest():
    changed = TABLE.overriding("a.price", Range(4.0, 5.0, 6.0), "--set")
    assert changed["a.price"] == 5 and changed.range("a.price") == Range(4.0, 5.0, 6.0)
    assert changed.constant("a.price").overridden and changed.constant("a.price").source == "--set"
    assert TABLE["a.price"] == 2 and not TABLE.constant("a.price").overridden
    assert changed.constant("b.part") == TABLE.constant("b.part")


def test_what_cannot_be_is_refused():
    for name, value, words in (
        ("a.price", -1.0, "must be more than 0"),
        ("a.price", 0.0, "must be more than 0"),
        ("b.part", 1.5, "fraction: at most 1"),
        ("a.prize", 1.0, "did you mean a.price"),
    ):
        with pytest.raises(UserError, match=words):
            TABLE.overriding(name, Range.exact(value))
    assert TABLE.overriding("b.part", Range.exact(0.0))["b.part"] == 0


def test_a_value_tried_out_widens_its_range_to_hold_it():
    assert TABLE.at("a.price", 10.0).range("a.price") == Range(1, 10.0, 10.0)


def test_it_is_a_mapping_of_central_values():
    assert dict(TABLE) == {"a.price": 2, "b.part": 0.5}
    assert "a.price" in TABLE and "a.nothing" not in TABLE
