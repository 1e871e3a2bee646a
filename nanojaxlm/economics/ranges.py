"""A figure that is not known exactly: its least, central and greatest value."""

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Range:
    """low <= central <= high, of one unit; where nothing is uncertain all three are equal."""

    low: float
    central: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.central <= self.high:
            raise ValueError(f"{self.low} <= {self.central} <= {self.high} does not hold")

    @classmethod
    def exact(cls, value: float) -> "Range":
        return cls(value, value, value)

    def __add__(self, other: Union["Range", float]) -> "Range":
        other = _range(other)
        return Range(self.low + other.low, self.central + other.central, self.high + other.high)

    __radd__ = __add__

    def __mul__(self, other: Union["Range", float]) -> "Range":
        """Of figures that are not negative."""
        other = _range(other)
        return Range(self.low * other.low, self.central * other.central, self.high * other.high)

    __rmul__ = __mul__

    def __truediv__(self, other: Union["Range", float]) -> "Range":
        """Of figures that are not negative; the greatest quotient has the least divisor."""
        other = _range(other)
        return Range(self.low / other.high, self.central / other.central, self.high / other.low)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def _range(value: Range | float) -> Range:
    return value if isinstance(value, Range) else Range.exact(float(value))
