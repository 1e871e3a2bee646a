"""Numbers as people write them: 6.74e9, 7B, 2T, 180k; and as they read them."""

import math
import re

from nanojaxlm.economics.ranges import Range
from nanojaxlm.errors import UserError

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z]?)")


def parse_number(name: str, text: str) -> float:
    """`7B`, `6.74e9`, `1,000,000`, `180k` as a number.

    Raises:
        UserError: it is none; the message starts with `name`.
    """
    match = _NUMBER.fullmatch(text.strip().lower().removeprefix("$"))
    if match is None or match[2] not in _SUFFIXES:
        raise UserError(f"{name}={text} is no number; write it as 6.74e9, 7B, 2T or 180k")
    value = float(match[1].replace(",", "").replace("_", "")) * _SUFFIXES[match[2]]
    if not math.isfinite(value):
        raise UserError(f"{name}={text} is too large")
    return value


def parse_range(name: str, text: str) -> Range:
    """`2.5`, known exactly, or `1.5:2.5:4`, low to high.

    Raises:
        UserError: it is neither, or the three do not rise.
    """
    values = [parse_number(name, part) for part in text.split(":")]
    if len(values) == 1:
        return Range.exact(values[0])
    if len(values) != 3 or sorted(values) != values:
        raise UserError(f"{name}={text} is no range; write VALUE, or LOW:VALUE:HIGH, rising")
    return Range(*values)


def amount(value: float) -> str:
    """6.74B, 2T, 184k, 950: three digits that count."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{_three(value / size)}{suffix}"
    return _three(value)


def money(value: float) -> str:
    """$1.72M, $850, -$3.1k, $0.25."""
    sign = "-" if value < 0 else ""
    value = abs(value)
    return f"{sign}${value:.2f}" if value < 10 else f"{sign}${amount(value)}"


def days(value: float) -> str:
    """In the unit that a person would use."""
    if value < 1 / 24:
        return f"{value * 1440:.3g} minutes"
    if value < 2:
        return f"{value * 24:.3g} hours"
    return f"{value:,.0f} days" if value >= 10 else f"{value:.1f} days"


def _three(value: float) -> str:
    """Three significant digits, without trailing zeros of a fraction."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.2e}"
