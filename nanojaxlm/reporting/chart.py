"""Line charts as inline SVG: no script, no network, colours from the page's style sheet."""

import dataclasses
import html
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 78, 28, 14, 50
CHARACTER = 7.5  # of a mark's words, about
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


@dataclass(frozen=True, kw_only=True)
class Axis:
    """log: equal steps are equal ratios, and only values above 0 have a place. text: of a value;
    None: with as many decimals as it takes."""

    log: bool = False
    text: Callable[[float], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An upright line at an x, with words at its upper end."""

    x: float
    words: str


LINEAR = Axis()


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


def log_ticks(low: float, high: float, num: int = 5) -> list[float]:
    """About `num` values within [low, high], low > 0: powers of ten, or where few fit 1, 2 and 5
    times those.

    log_ticks(3, 4e6) = [10, 100, 1e3, 1e4, 1e5, 1e6].
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 2:
        step = math.ceil((last - first + 1) / (num + 1))
        return [10.0**power for power in range(first, last + 1) if power % step == 0]
    steps = [factor * 10.0**power for power in range(first - 1, last + 1) for factor in (1, 2, 5)]
    found = [value for value in steps if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return found if len(found) > 1 else ticks(low, high, num)


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
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_axis: Axis = LINEAR,
    y_axis: Axis = LINEAR,
    from_zero: bool = False,
    marks: Sequence[Mark] = (),
) -> str:
    """An <svg> with axes, grid and lines; the title, the end values and the marks are read out.

    Every x and y must be finite; series without points are left out, and so is what has no place
    on an axis. from_zero: a linear y axis starts at 0, for amounts; else at the lowest value.
    """
    series = [line for line in (_placeable(line, x_axis, y_axis) for line in series) if line.xs]
    marks = [mark for mark in marks if mark.x > 0 or not x_axis.log]
    if not series:
        return f'<p class="muted">{html.escape(title)}: no values were written.</p>'
    xs = [x for line in series for x in line.xs] + [mark.x for mark in marks]
    x_scale = _Scale(x_axis, xs, LEFT, WIDTH - RIGHT, margin=0.0)
    y_values = [y for line in series for y in line.ys]
    y_scale = _Scale(y_axis, y_values, HEIGHT - BOTTOM, TOP, margin=0.05, from_zero=from_zero)

    x_words, y_words = x_axis.text or "{:,.0f}".format, y_axis.text or "{:.4g}".format
    summary = "; ".join(
        [
            f"{line.name}: from {y_words(line.ys[0])} at {x_words(line.xs[0])} to "
            f"{y_words(line.ys[-1])} at {x_words(line.xs[-1])}"
            for line in series
        ]
        + [f"marked: {mark.words}" for mark in marks]
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(f"{title}. {summary}.")}">'
    ]
    for y, label in y_scale.ticks(5):
        at = f"{y_scale.place(y):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="y-tick" x="{LEFT - 8}" y="{at}">{html.escape(label)}</text>')
    for x, label in x_scale.ticks(7):
        at, bottom = f"{x_scale.place(x):.1f}", HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text class="x-tick" x="{at}" y="{bottom + 20}">{html.escape(label)}</text>')
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
        places = [
            (f"{x_scale.place(x):.1f}", f"{y_scale.place(y):.1f}")
            for x, y in zip(xs, ys, strict=True)
        ]
        points = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="{line.style}" points="{points}"/>')
        if line.marked or len(places) == 1:
            parts.extend(
                f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3.5"/>' for x, y in places
            )
    parts.extend(_drawn([(x_scale.place(mark.x), mark.words) for mark in marks]))
    parts.append("</svg>")
    return "".join(parts)


def _placeable(line: Series, x_axis: Axis, y_axis: Axis) -> Series:
    """Without the points that an axis has no place for."""
    if not (x_axis.log or y_axis.log):
        return line
    points = [
        (x, y)
        for x, y in zip(line.xs, line.ys, strict=True)
        if (x > 0 or not x_axis.log) and (y > 0 or not y_axis.log)
    ]
    return dataclasses.replace(line, xs=[x for x, _ in points], ys=[y for _, y in points])


def _drawn(marks: Sequence[tuple[float, str]]) -> list[str]:
    """Marks at places on the page. Words stand to the right of their line, or to the left where
    they would be cut off or run into a line; each in a row where no line that they pass has begun.
    """
    free, left = WIDTH - RIGHT, []
    for x, text in sorted(marks, reverse=True):
        if x + 6 + CHARACTER * len(text) > free:
            left.append((x, text))
            free = x
    order = left + sorted(one for one in marks if one not in left)
    lines, words = [], []
    for row, (x, text) in enumerate(order):
        y = TOP + 12 + 17 * row
        beside, anchor = (x - 6, "end") if row < len(left) else (x + 6, "start")
        lines.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{HEIGHT - BOTTOM}"/>'
        )
        words.append(
            f'<text class="mark-words" text-anchor="{anchor}" x="{beside:.1f}" y="{y}">'
            f"{html.escape(text)}</text>"
        )
    return lines + words


class _Scale:
    """From the values of an axis to places between start and stop on the page. margin: the part of
    the span that is left free at its ends."""

    def __init__(
        self,
        axis: Axis,
        values: Sequence[float],
        start: float,
        stop: float,
        margin: float,
        from_zero: bool = False,
    ):
        self._axis, self._start, self._stop = axis, start, stop
        low, high = _range([self._of(value) for value in values])
        free = margin * (high - low)
        if axis.log:
            low -= free
        elif from_zero:
            low = min(0.0, low)
        else:
            low = max(low - free, min(0.0, low))
        self._low, self._high = low, high + free

    def _of(self, value: float) -> float:
        return math.log10(value) if self._axis.log else value

    def place(self, value: float) -> float:
        part = (self._of(value) - self._low) / (self._high - self._low)
        return self._start + part * (self._stop - self._start)

    def ticks(self, num: int) -> list[tuple[float, str]]:
        """(value, label) each."""
        if self._axis.log:
            values = log_ticks(10**self._low, 10**self._high, num)
        else:
            values = ticks(self._low, self._high, num)
        if self._axis.text:
            return [(value, self._axis.text(value)) for value in values]
        texts = [f"{value:g}" for value in values] if self._axis.log else labels(values)
        return list(zip(values, texts, strict=True))


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
