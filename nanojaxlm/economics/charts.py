"""The charts of an answer's page."""

from nanojaxlm.economics.alternatives import API, BUILD, TUNE
from nanojaxlm.economics.answer import Answer
from nanojaxlm.economics.break_even import BreakEven
from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.verdict import quantity
from nanojaxlm.economics.wording import (
    NAMES,
    choices_left,
    memory,
    plural,
    round_dollars,
    shown_years,
    signed,
    spread,
)
from nanojaxlm.reporting.bars import (
    RangeBar,
    StackedBar,
    SwingBar,
    range_bars,
    stacked_bars,
    tornado,
)
from nanojaxlm.reporting.chart import Axis, Mark, Series, line_chart

NUMBER = {BUILD: 1, TUNE: 2, API: 3}  # of the colour
VISIBLE = 0.01  # of the longest bar of a tornado
FAR = 1.0  # times the span of all bars, that 0 may lie off and still be drawn


def cost_bars(answer: Answer) -> str:
    """Totals after so many years; what is excluded is pale."""
    bars = []
    for year in shown_years(answer.question["years"]):
        for i, one in enumerate(answer.alternatives):
            total = one.totals[year - 1]
            bars.append(
                RangeBar(
                    name=NAMES[one.name] + (" (out)" if one.excluded else ""),
                    low=total.low,
                    value=total.central,
                    high=total.high,
                    figures=spread(total, money),
                    style="fill-out" if one.excluded else f"fill-{NUMBER[one.name]}",
                    heading="" if i else f"After {plural(year, 'year')} of use",
                )
            )
    return range_bars(bars, round_dollars)


def possible_break_evens(answer: Answer) -> list[BreakEven]:
    """Between ways that are a choice."""
    left = {one.name for one in choices_left(answer)}
    return [one for one in answer.break_evens if {one.dearer_below, one.other} <= left]


def volume_chart(answer: Answer) -> str:
    """Dollars by queries a month, of the ways that are a choice."""
    curve, queries = answer.volume, answer.question["queries_per_month"]
    series = [
        Series(
            name=NAMES[one.name],
            xs=curve.queries_per_month,
            ys=curve.totals[one.name],
            style=f"line-{NUMBER[one.name]}",
        )
        for one in choices_left(answer)
    ]
    marks = [Mark(x=queries, words=f"yours: {amount(queries)}")] if queries else []
    marks += [
        Mark(
            x=even.queries_per_month,
            words=f"{NAMES[even.dearer_below]} = {NAMES[even.other]}: "
            f"{amount(even.queries_per_month)}",
        )
        for even in possible_break_evens(answer)
        if even.queries_per_month
    ]
    return line_chart(
        series,
        title="Cost by queries a month",
        x_label="queries a month",
        y_label=f"dollars over {plural(answer.question['years'], 'year')}",
        x_axis=Axis(log=True, text=amount),
        y_axis=Axis(log=True, text=money),
        marks=marks,
    )


def zero_is_near(answer: Answer) -> bool:
    """Whether the tornado's scale can reach to 0, where the verdict turns, with bars that can still
    be seen; without another way nothing turns there."""
    if len(choices_left(answer)) < 2:
        return False
    ends = [end for swing in answer.tornado for end in (swing.at_low, swing.at_high)]
    ends.append(answer.saved_by_building)
    return min(abs(end) for end in ends) <= FAR * (max(ends) - min(ends))


def tornado_chart(answer: Answer) -> str:
    """Without the assumptions whose bars could not be seen."""
    least = VISIBLE * max((swing.size for swing in answer.tornado), default=0.0)
    bars = [
        SwingBar(
            name=swing.what,
            note=swing.name,
            low_words=quantity(swing.low, swing.unit),
            at_low=swing.at_low,
            high_words=quantity(swing.high, swing.unit),
            at_high=swing.at_high,
        )
        for swing in answer.tornado
        if swing.size >= least
    ]
    return tornado(bars, answer.saved_by_building, signed, zero=zero_is_near(answer))


def memory_bars(answer: Answer) -> str:
    """A chip of the smallest mesh, and of the run's where that is another."""
    held = answer.memory
    meshes = {
        held.smallest_chips: (held.smallest_parts, held.smallest_peak_bytes),
        held.chips: (held.parts, held.peak_bytes),
    }
    gib = 2**30
    bars = [
        StackedBar(
            name=plural(chips, "chip"),
            parts={name: size / gib for name, size in parts.items()},
            figures=f"{memory(peak)} of {memory(held.usable_bytes)}",
        )
        for chips, (parts, peak) in meshes.items()
    ]
    usable = held.usable_bytes
    return stacked_bars(bars, usable / gib, f"usable, {memory(usable)}", "{:g} GiB".format)


def loss_chart(answer: Answer) -> str:
    """Loss by size at this compute, with the asked size and the best one."""
    curve, first, best = answer.loss_curve, answer.choices[0], answer.choices[1]
    return line_chart(
        (
            Series(name="loss at this compute", xs=curve.params, ys=curve.losses, style="line-1"),
            Series(name="as asked", xs=[first.params], ys=[first.loss], style="line-2"),
        ),
        title="Loss by size, all for the same compute",
        x_label="parameters (active), tokens in turn",
        y_label="loss (nats a token)",
        x_axis=Axis(log=True, text=amount),
        marks=(Mark(x=best.params, words=f"compute-optimal: {amount(best.params)}"),),
    )
