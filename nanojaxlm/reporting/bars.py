"""Lying bars: with whiskers, stacked, or to both sides of a value.

Lists whose items have a name, figures, and a strip of inline SVG, in percent of its width: text
keeps its size on a phone, and is all that is read out.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nanojaxlm.reporting.chart import ticks

HEIGHT = 24  # of a strip, pixels
NUM_COLOURS = 10
LONGEST = 4.0  # times the longest bar, that a scale reaches to for whiskers


@dataclass(frozen=True, kw_only=True)
class RangeBar:
    """From 0 to `value`, with whiskers from low to high. `figures` stand beside it; `style` is of
    the style sheet: "fill-1"."""

    name: str
    low: float
    value: float
    high: float
    figures: str
    style: str = "fill-1"
    heading: str = ""  # above it, of a group that begins here


@dataclass(frozen=True, kw_only=True)
class StackedBar:
    """Parts side by side."""

    name: str
    parts: Mapping[str, float]
    figures: str


@dataclass(frozen=True, kw_only=True)
class SwingBar:
    """What something is at the low and at the high end of one influence, in words and as values."""

    name: str
    note: str
    low_words: str
    at_low: float
    high_words: str
    at_high: float


class _Strip:
    """Places of values on a strip, in percent. low <= 0 <= high is not asked."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high if high > low else low + 1.0

    def place(self, value: float) -> float:
        return 100 * (value - self.low) / (self.high - self.low)

    def rect(self, start: float, stop: float, style: str, top: int = 4, height: int = 16) -> str:
        first, last = sorted((self.place(start), self.place(stop)))
        return (
            f'<rect class="{style}" x="{first:.3f}%" width="{last - first:.3f}%" y="{top}" '
            f'height="{height}"/>'
        )

    def upright(self, value: float, style: str, top: float = 0, bottom: float = HEIGHT) -> str:
        at = f"{self.place(value):.3f}%"
        return f'<line class="{style}" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>'

    def whisker(self, low: float, high: float) -> str:
        """Where the scale ends before it does, with an arrow in place of its end."""
        middle, ends = HEIGHT / 2, (HEIGHT / 2 - 5, HEIGHT / 2 + 5)
        end = self.upright(high, "whisker", *ends)
        if high > self.high:
            high, end = self.high, f'<text text-anchor="end" x="100%" y="{middle + 4.5}">▶</text>'
        return (
            f'<line class="whisker" x1="{self.place(low):.3f}%" x2="{self.place(high):.3f}%" '
            f'y1="{middle}" y2="{middle}"/>' + self.upright(low, "whisker", *ends) + end
        )

    @property
    def ticks(self) -> list[float]:
        return ticks(self.low, self.high)

    def grid(self) -> str:
        return "".join(self.upright(value, "grid") for value in self.ticks)

    def axis(self, text: Callable[[float], str]) -> str:
        """The labels of the ticks; those near an edge are kept from hanging over it."""
        labels = []
        for value in self.ticks:
            place = self.place(value)
            anchor = "start" if place < 3 else "end" if place > 97 else "middle"
            labels.append(
                f'<text text-anchor="{anchor}" x="{place:.3f}%" y="14">'
                f"{html.escape(text(value))}</text>"
            )
        return f'<li class="scale" aria-hidden="true">{_svg("".join(labels))}</li>'


def range_bars(bars: Sequence[RangeBar], text: Callable[[float], str]) -> str:
    """On one scale from 0 on; a whisker that would leave the bars too short to see is cut. text: of
    a value of the scale."""
    high = max(bar.high for bar in bars)
    longest = max(bar.value for bar in bars)
    if longest > 0:
        high = min(high, LONGEST * longest)
    strip = _Strip(min(0.0, *(bar.low for bar in bars)), high)
    items = []
    for bar in bars:
        drawn = strip.grid() + strip.rect(0.0, bar.value, bar.style)
        if bar.low < bar.high:
            drawn += strip.whisker(bar.low, bar.high)
        if bar.heading:
            items.append(f'<li class="heading">{html.escape(bar.heading)}</li>')
        items.append(_item(html.escape(bar.name), html.escape(bar.figures), drawn))
    return _list("bars", [*items, strip.axis(text)])


def stacked_bars(
    bars: Sequence[StackedBar], limit: float, limit_words: str, text: Callable[[float], str]
) -> str:
    """On one scale from 0 on, with a line at `limit`; below them a key of the parts that there are
    any of."""
    totals = [sum(bar.parts.values()) for bar in bars]
    strip = _Strip(0.0, 1.02 * max(limit, *totals))
    names = list(dict.fromkeys(name for bar in bars for name in bar.parts if bar.parts[name]))
    style = {name: f"fill-{i % NUM_COLOURS + 1}" for i, name in enumerate(names)}
    items = []
    for bar in bars:
        drawn, start = strip.grid(), 0.0
        for name in names:
            stop = start + bar.parts.get(name, 0.0)
            drawn, start = drawn + strip.rect(start, stop, style[name]), stop
        drawn += strip.upright(limit, "limit")
        items.append(_item(html.escape(bar.name), html.escape(bar.figures), drawn))
    keys = "".join(
        f'<span class="swatch {style[name]}">{html.escape(name)}</span> ' for name in names
    )
    keys += f'<span class="swatch limit">{html.escape(limit_words)}</span>'
    return f'{_list("bars", [*items, strip.axis(text)])}<p class="keys">{keys}</p>'


def tornado(
    bars: Sequence[SwingBar], centre: float, text: Callable[[float], str], zero: bool = True
) -> str:
    """To both sides of the value that holds now, with a line at 0. zero: the scale reaches to it
    even where no bar does."""
    values = [centre, *(value for bar in bars for value in (bar.at_low, bar.at_high))]
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    free = 0.04 * (high - low)
    strip = _Strip(low - free, high + free)
    items = []
    for bar in bars:
        drawn = strip.grid() + strip.rect(centre, bar.at_low, "fill-low")
        drawn += strip.rect(centre, bar.at_high, "fill-high") + strip.upright(centre, "centre")
        if strip.low <= 0 <= strip.high:
            drawn += strip.upright(0.0, "limit")
        name = f"{html.escape(bar.name)} <code>{html.escape(bar.note)}</code>"
        figures = "".join(
            f'<span class="swatch fill-{end}">{html.escape(words)}: '
            f"<b>{html.escape(text(value))}</b></span> "
            for end, words, value in (
                ("low", bar.low_words, bar.at_low),
                ("high", bar.high_words, bar.at_high),
            )
        )
        items.append(_item(name, figures, drawn))
    return _list("bars tornado", [*items, strip.axis(text)])


def _svg(drawn: str) -> str:
    return f'<svg class="strip" height="{HEIGHT}" aria-hidden="true">{drawn}</svg>'


def _item(name: str, figures: str, drawn: str) -> str:
    """The name and the figures are already escaped."""
    return (
        f'<li><span class="name">{name}</span><span class="figures">{figures}</span>'
        f"{_svg(drawn)}</li>"
    )


def _list(style: str, items: Sequence[str]) -> str:
    return f'<ul class="{style}">{"".join(items)}</ul>'
