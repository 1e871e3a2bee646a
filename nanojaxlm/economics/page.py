"""An answer as one HTML page: the verdict first, the figures under it, the assumptions last.

No script, nothing from the network, light and dark. Whatever a user gave passes html.escape.
"""

import html
from collections.abc import Collection, Iterable, Sequence

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.economics import charts
from nanojaxlm.economics.answer import Answer
from nanojaxlm.economics.constants import Constant
from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.style import STYLE
from nanojaxlm.economics.verdict import break_even_words, quantity
from nanojaxlm.economics.wording import (
    NAMES,
    asked,
    between,
    choices_left,
    command,
    data_facts,
    measured_facts,
    memory,
    money_facts,
    ownership_words,
    percent,
    plural,
    run_facts,
    scientific,
    signed,
    spread,
    sureness,
)
from nanojaxlm.reporting import style as common
from nanojaxlm.reporting.markup import PAGE, bullets, facts, sentence, table
from nanojaxlm.reporting.wording import broken

_SECTIONS = (
    ("cost", "What each way costs"),
    ("even", "From how many queries on"),
    ("hangs", "What it hangs on"),
    ("run", "The run"),
    ("memory", "Memory"),
    ("size", "How large, on how many tokens"),
    ("data", "Data"),
    ("assumptions", "Assumptions"),
)
PARTS = {  # of memory, that need words
    "kept": "what the forward pass leaves for the backward one",
    "layer": "one layer's backward pass",
    "gathered": "a layer's parameters, whole",
    "copies": "parameters in the numbers that are computed with",
    "summed": "gradients of the micro-batches so far",
    "head": "the logits",
    "gaps": "room between arrays",
    "fetched": "the optimizer's state, from the host",
}
_TITLES = dict(_SECTIONS)


def render(answer: Answer) -> str:
    """The whole page."""
    sections = (
        _verdict(answer),
        _cost(answer),
        _break_even(answer),
        _hangs_on(answer),
        _run(answer),
        _memory(answer),
        _size(answer),
        _data(answer),
        _assumptions(answer),
    )
    title = f"nanojaxlm: {answer.verdict.headline}"
    return PAGE.substitute(
        title=html.escape(title), style=common.STYLE + STYLE, body="\n".join(sections)
    )


def _section(name: str, body: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{_TITLES[name]}</h2>{body}</section>'


def _verdict(answer: Answer) -> str:
    verdict = answer.verdict
    flips = verdict.flips or (
        "nothing that was tried: no assumption alone, from a tenth of its value to ten times it",
    )
    caveats = f"<h3>Keep in mind</h3>{bullets(verdict.caveats)}" if verdict.caveats else ""
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in _SECTIONS)
    return f"""<header>
<p class="muted">Should you build it? {html.escape(asked(answer))}</p>
<h1>{html.escape(verdict.headline)}</h1>
<p class="verdict">{html.escape(sureness(answer))}</p>
{_cards(answer)}
<h3>Why</h3>{bullets(verdict.reasons)}
<h3>What would turn it around</h3>{bullets(flips)}
{caveats}
<nav aria-label="Sections">{links}</nav>
</header>"""


def _cards(answer: Answer) -> str:
    years = plural(answer.question["years"], "year")
    items = []
    for one in answer.alternatives:
        total = one.totals[-1]
        style = "out" if one.excluded else "best" if one.name == answer.verdict.choice else ""
        note = f"out: {one.excluded}" if one.excluded else f"{_plausible(total)} over {years}"
        odds = ""
        if one.excluded is None:
            odds = f"<span>cheapest in {percent(answer.odds.get(one.name, 0.0))} of draws</span>"
        items.append(
            f'<li class="{style}"><span>{NAMES[one.name]}</span><b>{money(total.central)}</b>'
            f"<span>{html.escape(note)}</span>{odds}</li>"
        )
    return f'<ul class="cards">{"".join(items)}</ul>'


def _plausible(dollars: Range) -> str:
    return f"{money(dollars.low)} to {money(dollars.high)}"


def _cost(answer: Answer) -> str:
    found, years = answer.alternatives, plural(answer.question["years"], "year")
    names = list(dict.fromkeys(name for one in found for name in one.parts))
    rows = [
        (name, *(money(one.parts[name]) if name in one.parts else "-" for one in found))
        for name in names
    ]
    rows += [
        (f"all, over {years}", *(money(one.totals[-1].central) for one in found)),
        ("plausible", *(_plausible(one.totals[-1]) for one in found)),
        ("of it before the first day of use", *(money(one.once) for one in found)),
    ]
    if any(one.dollars_per_query is not None for one in found):
        each = [one.dollars_per_query for one in found]
        rows.append(
            ("for 1,000 queries", *("-" if one is None else money(1000 * one) for one in each))
        )
    columns = ("", *(NAMES[one.name] + (" (out)" if one.excluded else "") for one in found))
    totals = ""
    if answer.question["years"] > 1:
        totals = "<h3>Year by year</h3>" + table(
            columns,
            (
                (
                    f"after {plural(year + 1, 'year')}",
                    *(spread(o.totals[year], money) for o in found),
                )
                for year in range(answer.question["years"])
            ),
        )
    out = [f"{NAMES[one.name]} is out: {one.excluded}" for one in found if one.excluded]
    owned = "bought" if answer.question["buy"] else "rented"
    return _section(
        "cost",
        f"""{bullets(out) if out else ""}
{charts.cost_bars(answer)}
<p class="muted">Bars are the central values; the lines on them span what is plausible: each
assumption alone is taken to its low and its high end, and what that changes is added as independent
errors are. An arrow goes beyond the scale. Draws, above, take all assumptions at random within
their ranges. Machines count as {owned}.</p>
<h3>Of what that consists, over {years}</h3>{table(columns, rows, totals=(len(names),))}
<p class="muted">Experiments: all compute before the final run. Serving: chips that answer queries.
Upkeep: people after launch. Training again: to keep the model from ageing.</p>{totals}""",
    )


def _break_even(answer: Answer) -> str:
    words = [
        text for even in answer.break_evens if (text := break_even_words(even, answer.alternatives))
    ]
    if not words:
        words = ["only one way is left, so that there is nothing to break even with"]
    keys = "\n".join(
        f'<span class="key line-{charts.NUMBER[one.name]}">{NAMES[one.name]}</span>'
        for one in choices_left(answer)
    )
    queries = answer.question["queries_per_month"]
    yours = f"You expect {amount(queries)} a month." if queries else "You expect no queries."
    return _section(
        "even",
        f"""<p>{yours} What is paid once weighs less the more a model is used; what is paid a query
weighs more.</p>{bullets(words)}
<figure>{charts.volume_chart(answer)}<figcaption>{keys}</figcaption></figure>
<p class="muted">Both scales rise by factors, not by steps. A model of one's own needs people and
machines in reserve however little it is asked: its line starts flat.</p>""",
    )


def _hangs_on(answer: Answer) -> str:
    bars = "<p>No assumption has a range that changes the cost of building.</p>"
    if answer.tornado:
        bars = f"""<p>{html.escape(sentence(answer.tornado_of))} {html.escape(_now(answer))}
Each bar shows it with one assumption at its low and at its high end.</p>
{charts.tornado_chart(answer)}"""
    rows = [
        (
            (flip.what, flip.name),
            quantity(flip.value, flip.unit),
            f"{quantity(flip.at, flip.unit)} or {'less' if flip.at < flip.value else 'more'}",
            NAMES[flip.to],
            "yes" if flip.plausible else "no",
        )
        for flip in answer.flips
    ]
    columns = ("Assumption", "now", "turns at", "to", "plausible")
    flips = (
        f"<h3>What turns the verdict around, each alone</h3>{_named(columns, rows)}"
        if rows
        else "<p>No assumption alone, from a tenth of its value to ten times it, makes another way "
        "the cheapest.</p>"
    )
    return _section("hangs", bars + flips)


def _now(answer: Answer) -> str:
    """What the tornado's lines mean."""
    central = answer.saved_by_building
    now = f"Now it is {signed(central)}, the dotted line"
    if len(choices_left(answer)) < 2:
        return f"{now}."
    side = "building costs that much more" if central < 0 else "building saves that much"
    if charts.zero_is_near(answer):
        zero = (
            "The thick line is at 0: where a bar crosses it, building and the other change places"
        )
    else:
        zero = "No bar comes near 0, where building and the other would change places"
    return f"{now}: {side}. {zero}."


def _run(answer: Answer) -> str:
    own, model = answer.ownership, answer.model
    parts = ""
    if own is not None:
        rows = [(name, money(dollars)) for name, dollars in own.parts.items()]
        rows.append(("all, a year", money(own.dollars_per_year)))
        rows.append(("to buy them, at once", money(own.capital)))
        parts = table(
            (f"{plural(own.chips, 'chip')} of one's own", "dollars a year"),
            rows,
            totals=(len(own.parts),),
        )
    return _section(
        "run",
        f"""<p>{html.escape(sentence(model.how))} {html.escape(sentence(model.shape))} Rows of
{model.sequence_length:,} tokens.</p>
{facts(run_facts(answer))}
<p class="muted">A FLOP is one multiplication or addition; 6 · N · D of them train N parameters on D
tokens. MFU is the part of a chip's peak speed that goes into those. Goodput is the part of the time
in which steps are done that count; the rest goes to saving, failures and what they undo.</p>
<h3>Money and energy of the final run</h3>{facts(money_facts(answer))}
<h3>Buy or rent</h3><p>{html.escape(ownership_words(answer))}</p>{parts}""",
    )


def _memory(answer: Answer) -> str:
    held = answer.memory
    names = list(dict.fromkeys([*held.smallest_parts, *held.parts]))
    columns = ["A chip's", f"of {held.smallest_chips:,} ({held.smallest_mesh})"]
    sides = [held.smallest_parts]
    peaks = [held.smallest_peak_bytes]
    if held.chips != held.smallest_chips:
        columns.append(f"of {held.chips:,} ({held.mesh})")
        sides.append(held.parts)
        peaks.append(held.peak_bytes)
    rows = [(name, *(memory(side.get(name, 0.0)) for side in sides)) for name in names]
    rows.append(("at the peak", *(memory(peak) for peak in peaks)))
    rows.append(("usable", *(memory(held.usable_bytes) for _ in peaks)))
    meanings = " ".join(f"{name.capitalize()}: {PARTS[name]}." for name in names if name in PARTS)
    confirm = (
        "<p>The compiler confirms the smallest, without a chip:</p>"
        f"<pre>{html.escape(broken(held.command))}</pre>"
    )
    fits = (
        f"The smallest number of chips that it trains on is {held.smallest_chips:,} "
        f"({held.smallest_mesh}); the run takes {held.chips:,} ({held.mesh})."
    )
    return _section(
        "memory",
        f"""<p>{html.escape(fits)}</p>
{charts.memory_bars(answer)}{table(columns, rows, totals=(len(names),))}
<p class="muted">Of one chip, at the moment of a step that needs most. {html.escape(meanings)}
</p>{confirm}""",
    )


def _size(answer: Answer) -> str:
    used = answer.question["queries_per_month"] > 0
    columns = ["", "parameters", "tokens", "a parameter", "loss", "chip-hours", "FLOPs to train"]
    rows = []
    for one in answer.choices:
        row = [
            one.name,
            amount(one.params),
            amount(one.tokens),
            amount(one.tokens / one.params),
            f"{one.loss:.3f}",
            amount(one.accelerator_hours),
            scientific(one.flops),
        ]
        rows.append([*row, scientific(one.lifetime_flops)] if used else row)
    if used:
        columns.append("with use")
    return _section(
        "size",
        f"""<p>Expected loss: <b>{spread(answer.loss, "{:.3f}".format)}</b> nats a token. The same
compute can go into a larger model that reads less or a smaller one that reads more; smaller ones
are cheaper to use.</p>
<figure>{charts.loss_chart(answer)}<figcaption><span class="key line-1">loss at this compute</span>
<span class="swatch fill-2 point">as asked</span></figcaption></figure>
{table(columns, rows)}
<p class="muted">Loss is how badly the next token is guessed, in nats: 0 is never wrong. By the law
{html.escape(answer.law.source)}: E = {answer.law.E:g}, A = {answer.law.A:g},
alpha = {answer.law.alpha:g}, B = {answer.law.B:g}, beta = {answer.law.beta:g}.</p>""",
    )


def _data(answer: Answer) -> str:
    return _section(
        "data",
        f"""<p>{html.escape(sentence(answer.needs.words))}</p>{facts(data_facts(answer))}
<p class="muted">A token is a piece of text, about three quarters of an English word. An epoch is
one pass over the whole corpus.</p>""",
    )


def _assumptions(answer: Answer) -> str:
    given = [row for row in answer.constants if row.overridden]
    rows = sorted(answer.constants, key=lambda row: _of_another_chip(row, answer.accelerator))
    yours = f"<h3>Yours</h3>{_constants(given)}" if given else ""
    measured = ""
    if answer.measured is not None:
        measured = f"<h3>Measured here</h3>{facts(measured_facts(answer.measured))}"
    return _section(
        "assumptions",
        f"""<p>Money is US dollars. What is yours replaces the table's; all else can be replaced
with <code class="option">--set=NAME=LOW:VALUE:HIGH</code>.</p>{measured}{yours}
<details><summary>All {len(answer.constants)} of them, with range, source and date</summary>
{_constants(rows, mark=True)}</details>
<h3>Ask the same again</h3><pre>{html.escape(broken(command(answer)))}</pre>""",
    )


def _of_another_chip(row: Constant, accelerator: str) -> bool:
    chip = row.name.partition(".")[0]
    return chip in CHIPS and chip != accelerator


def _constants(rows: Sequence[Constant], mark: bool = False) -> str:
    """mark: those that the user gave."""
    return _named(
        ("Assumption", "value", "plausible", "source"),
        [
            (
                (row.what, row.name),
                quantity(row.value, row.unit),
                between(row.low, row.high, row.unit),
                ", ".join(part for part in (row.source, row.date) if part),
            )
            for row in rows
        ],
        {row.name for row in rows if row.overridden and mark},
    )


def _named(columns: Sequence[str], rows: Iterable[tuple], given: Collection[str] = ()) -> str:
    """A table of assumptions: (what, name), and words."""
    body = "".join(
        f"<tr{' class=given' if name in given else ''}>"
        f'<th scope="row">{html.escape(what)}<code>{html.escape(name)}</code></th>'
        f"{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
        for (what, name), *cells in rows
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return (
        f'<div class="wide"><table class="named"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
