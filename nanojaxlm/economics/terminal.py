"""An answer's essence for the terminal, the verdict first; and the table of constants."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nanojaxlm.economics.answer import Answer
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.verdict import quantity
from nanojaxlm.economics.wording import (
    NAMES,
    asked,
    between,
    buying_pays,
    memory,
    money_facts,
    plural,
    run_facts,
    shown_years,
    signed,
    spread,
    sureness,
)
from nanojaxlm.reporting.markup import sentence

SAVED = "A checkpoint every"
# Facts that the first lines or other rows state, or that matter less.
LEFT_OUT = {
    SAVED, "Model", "Tokens", "Failures", "Rent of a chip-hour", "its price, in the rent", "CO2e",
    "Mean power",
}  # fmt: skip
MOST_FLIPS, MOST_SWINGS, MOST_YEARS = 2, 5, 3  # the page has all of them


def show(answer: Answer, console: Console) -> None:
    """Verdict, costs, what they hang on, the run, sizes; how to have the rest."""
    verdict = answer.verdict
    console.print(Text(f"{verdict.headline}.", style="bold"))
    console.print(Text(f"{sureness(answer)} Asked: {asked(answer)}.", style="dim"))
    _list(console, verdict.reasons)
    if verdict.flips:
        console.print(Text("What would turn it around:", style="bold"))
        _list(console, verdict.flips[:MOST_FLIPS])
    if verdict.caveats:
        console.print(Text("Keep in mind:", style="bold"))
        _list(console, verdict.caveats)
    tables = [_costs(answer), _run(answer), _sizes(answer)]
    if answer.tornado:
        tables.insert(1, _swings(answer))
    for made in tables:
        console.print()
        console.print(made)
    console.print()
    console.print(Text("All figures: --json. A page with charts and sources: --html=FILE."))


def show_constants(assumptions: Assumptions, console: Console) -> None:
    """Every constant, in the table's order: value and range; what it is; where it is from."""
    console.print(Text("Constants: --set=NAME=VALUE, or --set=NAME=LOW:VALUE:HIGH", style="bold"))
    for row in assumptions.rows:
        values = f"{quantity(row.value, row.unit)} ({between(row.low, row.high, row.unit)})"
        line = Text.assemble((row.name, "bold"), f"  {values}  {row.what}")
        console.print(line, soft_wrap=True)
        source = ", ".join(part for part in (row.source, row.date) if part)
        console.print(Text(f"    {source}", style="dim"), soft_wrap=True)


def _list(console: Console, sentences: Iterable[str]) -> None:
    """Points, whose further lines are set in."""
    points = Table.grid(padding=(0, 1))
    for words in sentences:
        points.add_row("-", Text(sentence(words)))
    console.print(points)


def _table(title: str, columns: Sequence[str]) -> Table:
    """The first column is text, the others numbers, which are never cut."""
    made = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False
    )
    for i, name in enumerate(columns):
        if i:
            made.add_column(name, justify="right", no_wrap=True)
        else:
            made.add_column(name, overflow="fold")
    return made


def _costs(answer: Answer) -> Table:
    shown = shown_years(answer.question["years"])
    shown = shown if len(shown) <= MOST_YEARS else [shown[0], shown[len(shown) // 2], shown[-1]]
    years = [plural(year, "year") for year in shown]
    made = _table("What each way costs", ("", "at launch", *years, "plausible, in all"))
    for one in answer.alternatives:
        total = one.totals[-1]
        made.add_row(
            NAMES[one.name] + (" (out)" if one.excluded else ""),
            money(one.once),
            *(money(one.totals[year - 1].central) for year in shown),
            f"{money(total.low)} to {money(total.high)}",
            style="bold" if one.name == answer.verdict.choice else "",
        )
    return made


def _swings(answer: Answer) -> Table:
    now = signed(answer.saved_by_building)
    made = _table(
        sentence(f"{answer.tornado_of}: {now}"), ("which hangs on", "from low to high", "dollars")
    )
    for swing in answer.tornado[:MOST_SWINGS]:
        made.add_row(
            swing.name,
            between(swing.low, swing.high, swing.unit),
            f"{signed(swing.at_low)} to {signed(swing.at_high)}",
        )
    return made


def _run(answer: Answer) -> Table:
    held, own = answer.memory, answer.ownership
    made = Table(
        title="The run", title_justify="left", title_style="bold", box=None, show_header=False
    )
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    smallest = f"{plural(held.smallest_chips, 'chip')} ({held.smallest_mesh})"
    rows = dict((*run_facts(answer), *money_facts(answer)))
    rows["Memory a chip"] = f"{memory(held.peak_bytes)} of {memory(held.usable_bytes)}"
    rows["It fits from"] = f"{smallest}: {memory(held.smallest_peak_bytes)}"
    rows["Electricity"] += f", {rows['CO2e']} CO2e"
    rows["Goodput"] += f"; failures: {rows['Failures']}; saved every {rows[SAVED]}"
    if own is not None:
        rows["To buy them"] = f"pays {buying_pays(own)}"
    if answer.needs.words not in answer.verdict.caveats:
        rows["Data"] = answer.needs.words
    for name, value in rows.items():
        if name not in LEFT_OUT:
            made.add_row(name, Text(value))
    return made


def _sizes(answer: Answer) -> Table:
    expected = spread(answer.loss, "{:.3f}".format)
    made = _table(
        f"Loss {expected} nats a token; other sizes",
        ("", "parameters", "tokens", "loss", "chip-hours"),
    )
    for one in answer.choices:
        made.add_row(
            one.name,
            amount(one.params),
            amount(one.tokens),
            f"{one.loss:.3f}",
            amount(one.accelerator_hours),
        )
    return made
