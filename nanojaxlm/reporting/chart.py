"""Line charts as inline SVG: no script, no network, colours from the page's style sheet."""

import html
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 78, 28, 14, 50
MAX_POINTS = 400  # more cannot be told apart on a page


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a chart. `style` is the class of the page's style sheet: "line-1", "line-2"."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: str
    marked: bool = False  # a dot at each point, for the sparse ones

    def __post_init__(self):
        if len(self.xs) != len(self.ys):
            raise ValueError(f"{self.name}: {len(self.xs)} xs and {len(self.ys)} ys")


def ticks(low: float, high: float, num: int = 5) -> list[float]:
    """About `num` round numbers within [low, high], rising; steps are 1, 2 or 5 times 10^n.

    ticks(0, 97) = [0, 20, 40, 60, 80].
    """
    if not low < high:
        return [low]
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """The ticks as text, with as many decimals as it takes to tell neighbours apart."""
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}" for value in values]


def thin(xs: Sequence[float], ys: Sequence[float], most: int = MAX_POINTS):
    """At most `most` points: the means of equal runs of neighbours; the last point stays."""
    if len(xs) <= most:
        return list(xs), list(ys)
    width = math.ceil((len(xs) - 1) / (most - 1))
    thinned_xs, thinned_ys = [], []
    for start in range(0, len(xs) - 1, width):
        stop = min(start + width, len(xs) - 1)
        thinned_xs.append(sum(xs[start:stop]) / (stop - start))
        thinned_ys.append(sum(ys[start:stop]) / (stop - start))
    return [*thinned_xs, xs[-1]], [*thinned_ys, ys[-1]]


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, from_zero: bool = False
) -> str:
    """An <svg> with axes, grid and lines; the title and the end values are read out.

    Every x and y must be finite; series without points are left out. from_zero: the y axis starts
    at 0, for amounts; else at the lowest value.
    """
    series = [line for line in series if line.xs]
    if not series:
        return f'<p class="muted">{html.escape(title)}: no values were written.</p>'
    x_low, x_high = _range([x for line in series for x in line.xs])
    y_low, y_high = _range([y for line in series for y in line.ys])
    margin = 0.05 * (y_high - y_low)
    y_low = min(0.0, y_low) if from_zero else max(y_low - margin, min(0.0, y_low))
    y_high += margin

    def place_x(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def place_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    summary = "; ".join(
        f"{line.name}: from {line.ys[0]:.4g} at {line.xs[0]:,.0f} to {line.ys[-1]:.4g} at "
        f"{line.xs[-1]:,.0f}"
        for line in series
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(f"{title}. {summary}.")}">'
    ]
    y_ticks, x_ticks = ticks(y_low, y_high), ticks(x_low, x_high, 7)
    for y, label in zip(y_ticks, labels(y_ticks), strict=True):
        at = f"{place_y(y):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="y-tick" x="{LEFT - 8}" y="{at}">{label}</text>')
    for x, label in zip(x_ticks, labels(x_ticks), strict=True):
        at, bottom = f"{place_x(x):.1f}", HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text class="x-tick" x="{at}" y="{bottom + 20}">{label}</text>')
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" '
        f'y2="{HEIGHT - BOTTOM}"/>'
    )
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="x-label" x="{middle_x}" y="{HEIGHT - 6}">{html.escape(x_label)}</text>'
    )
    parts.append(
        f'<text class="y-label" transform="translate(15 {middle_y}) rotate(-90)">'
        f"{html.escape(y_label)}</text>"
    )
    for line in series:
        xs, ys = thin(line.xs, line.ys)
        places = [(f"{place_x(x):.1f}", f"{place_y(y):.1f}") for x, y in zip(xs, ys, strict=True)]
        points = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="{line.style}" points="{points}"/>')
        if line.marked or len(places) == 1:
            parts.extend(
                f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3.5"/>' for x, y in places
            )
    parts.append("</svg>")
    return "".join(parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
