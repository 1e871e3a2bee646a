"""Histograms as pictures: counts by value, regrouped into bars, as inline SVG."""

import html
import math
from collections.abc import Mapping

WIDTH, HEIGHT, MARGIN, FOOT, MAX_BARS = 320, 130, 4, 18, 32
WIDE = 50  # largest through smallest value, from which bars are of equal ratio, not difference


def bars(counts: Mapping[str, int]) -> tuple[list[tuple[float, float, int]], bool]:
    """(from, to, how many) of at most MAX_BARS bars, and whether they are of equal ratio."""
    values = sorted((float(value), count) for value, count in counts.items())
    low, high = values[0][0], values[-1][0]
    ratio = low > 0 and high / low > WIDE
    if ratio:
        place, value_at = math.log, math.exp
    else:
        place = value_at = float
    start, stop = place(low), place(high)
    num = min(MAX_BARS, max(1, len(values)))
    width = (stop - start) / num or 1.0
    totals = [0] * num
    for value, count in values:
        totals[min(int((place(value) - start) / width), num - 1)] += count
    edges = [value_at(start + i * width) for i in range(num + 1)]
    return [(edges[i], edges[i + 1], totals[i]) for i in range(num)], ratio


def quantile(counts: Mapping[str, int], share: float) -> float:
    """The least value below or at which at least `share` of the counts lie."""
    wanted, seen = share * sum(counts.values()), 0
    for value, count in sorted((float(value), count) for value, count in counts.items()):
        seen += count
        if seen >= wanted:
            return value
    raise ValueError("a histogram of nothing has no quantile")


def svg(counts: Mapping[str, int], title: str) -> str:
    """A bar chart with its ends and its median; "" of nothing."""
    if not counts:
        return ""
    found, ratio = bars(counts)
    most = max(count for _, _, count in found)
    base, step = HEIGHT - FOOT, (WIDTH - 2 * MARGIN) / len(found)
    drawn = []
    for i, (low, high, count) in enumerate(found):
        # A bar that holds one document among a million must still be seen.
        height = max(1.0, (base - MARGIN) * count / most) if count else 0
        drawn.append(
            f'<rect x="{MARGIN + i * step:.1f}" y="{base - height:.1f}" '
            f'width="{max(step - 1, 1):.1f}" height="{height:.1f}">'
            f"<title>{number(low)} to {number(high)}: {count:,}</title></rect>"
        )
    median = quantile(counts, 0.5)
    labels = (
        f'<text x="{MARGIN}" y="{HEIGHT - 4}">{number(found[0][0])}</text>'
        f'<text class="middle" x="{WIDTH / 2}" y="{HEIGHT - 4}">median {number(median)}'
        f"{', log scale' if ratio else ''}</text>"
        f'<text class="end" x="{WIDTH - MARGIN}" y="{HEIGHT - 4}">{number(found[-1][1])}</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f'{"".join(drawn)}<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{base}" '
        f'y2="{base}"/>{labels}</svg>'
    )


def number(value: float) -> str:
    """A number of three digits as people write it."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
