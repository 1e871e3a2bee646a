"""What a constant of the planner is (value, range, unit, source, date) and how one overrides it."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nanojaxlm.economics.ranges import Range
from nanojaxlm.errors import UserError

FRACTION = "fraction"  # how the unit of what lies within 0 and 1 begins


@dataclass(frozen=True, kw_only=True)
class Constant:
    """value: the central one; low, high: what is plausible. Money is US dollars of the date.

    overridden: the user gave it; its source is then the command line.
    """

    name: str  # dotted: h100.price_per_hour, electricity.price_per_kwh
    value: float
    low: float
    high: float
    unit: str
    what: str  # in words, for tables
    source: str
    date: str  # of the source, or when it was read: 2026-11
    overridden: bool = False

    @property
    def range(self) -> Range:
        return Range(self.low, self.value, self.high)


class Assumptions(Mapping[str, float]):
    """The table as one question uses it: name -> central value.

    `range(name)`: the plausible values; `constant(name)`: the row. `given` are what the user set.
    """

    def __init__(self, rows: Mapping[str, Constant]):
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> float:
        return self.constant(name).value

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def constant(self, name: str) -> Constant:
        """Raises:
        UserError: there is no such constant; with the nearest names.
        """
        if name not in self._rows:
            near = difflib.get_close_matches(name, self._rows, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "--constants lists them all"
            raise UserError(f"there is no constant {name!r}; {hint}")
        return self._rows[name]

    def range(self, name: str) -> Range:
        return self.constant(name).range

    def at(self, name: str, value: float) -> "Assumptions":
        """With another central value, for a sensitivity; its range stays where it holds it."""
        row = self.constant(name)
        low, high = min(row.low, value), max(row.high, value)
        changed = dataclasses.replace(row, value=value, low=low, high=high)
        return Assumptions(self._rows | {name: changed})

    def overriding(self, name: str, given: Range, source: str = "given") -> "Assumptions":
        """With what the user knows in place of the table's row.

        Raises:
            UserError: there is no such constant, or it cannot be so.
        """
        row = self.constant(name)
        if given.low < 0 or (given.low == 0 and row.low > 0):
            raise UserError(f"{name}={given.low:g} ({source}) must be more than 0 {row.unit}")
        if row.unit.startswith(FRACTION) and given.high > 1:
            raise UserError(f"{name}={given.high:g} ({source}) is a fraction: at most 1")
        row = dataclasses.replace(
            row,
            value=given.central,
            low=given.low,
            high=given.high,
            source=source,
            date="",
            overridden=True,
        )
        return Assumptions(self._rows | {name: row})

    @property
    def rows(self) -> tuple[Constant, ...]:
        return tuple(self._rows.values())
