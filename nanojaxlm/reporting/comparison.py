"""Several models beside each other: a page, a plot that stands alone, a table for the terminal."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table

from nanojaxlm.reporting.chart import HEIGHT, WIDTH, Series, line_chart
from nanojaxlm.reporting.markup import PAGE
from nanojaxlm.reporting.style import STYLE

_EXTRA = """
td:nth-last-child(-n+2) { white-space: nowrap; }
.key { margin-left: 1.25rem; }
"""
_LEGEND = 34  # pixels above a panel of the plot


class Rate(NamedTuple):
    """A part of `number` trials."""

    part: float
    number: int

    @property
    def error(self) -> float:
        """The standard error of the part."""
        return math.sqrt(self.part * (1 - self.part) / self.number)

    def __str__(self) -> str:
        return f"{self.part:.1%} ± {self.error:.1%}"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values by tokens of text read."""

    tokens: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is known of one of the models. Figures that it has not are None."""

    name: str
    objective: str
    parameters: int
    tokens: int  # of text read in training
    tokens_per_second: float
    loss: float  # of its own objective, nats a target, on held-out text
    bits_per_byte: float | None  # of the whole held-out text
    second_halves: float | None  # bits per byte, given the first halves
    hidden: Rate  # hidden tokens guessed right
    pairs: Rate | None  # minimal pairs right
    training_loss: Curve
    hidden_accuracy: Curve


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """facts: (name, value) of what was the same for all."""

    subjects: tuple[Subject, ...]
    most_frequent: float  # the part of hidden tokens that the commonest token would guess
    facts: tuple[tuple[str, str], ...]


class _Column(NamedTuple):
    title: str
    text: Callable[[Subject], str]


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


_COLUMNS = (
    _Column("trained to", lambda s: s.objective),
    _Column("parameters", lambda s: f"{s.parameters:,}"),
    _Column("tokens read", lambda s: f"{s.tokens:,}"),
    _Column("tokens a second", lambda s: f"{s.tokens_per_second:,.0f}"),
    _Column("own loss", lambda s: f"{s.loss:.3f}"),
    _Column("bits per byte", lambda s: _figure(s.bits_per_byte)),
    _Column("of second halves", lambda s: _figure(s.second_halves)),
    _Column("hidden tokens", lambda s: str(s.hidden)),
    _Column("minimal pairs", lambda s: str(s.pairs or "none")),
)
NOTES = (
    "tokens read: tokens of text, however an objective lays them out.",
    "own loss: nats a target of the model's own objective on held-out text; not to be compared "
    "with another objective's.",
    "bits per byte: of all held-out text. An encoder gives a text no probability, and neither does "
    "a model that is trained to restore hidden parts.",
    "of second halves: bits per byte of the second half of held-out pieces, given the first half.",
    "hidden tokens: the same held-out tokens, hidden one at a time. A model with an encoder sees "
    "what is on both sides, a decoder alone only what is to the left.",
    "minimal pairs: sentences of which the good one has the higher probability; of a model with an "
    "encoder, the sum over its tokens of their probabilities when hidden one at a time (Salazar et "
    "al. 2020). Guessing gives 50%.",
    "±: one standard error.",
)


def render(comparison: Comparison) -> str:
    """The page: no script, nothing from the network."""
    head = "".join(f'<th scope="col">{html.escape(column.title)}</th>' for column in _COLUMNS)
    body = "".join(
        f'<tr><th scope="row">{html.escape(subject.name)}</th>'
        + "".join(f"<td>{html.escape(column.text(subject))}</td>" for column in _COLUMNS)
        + "</tr>"
        for subject in comparison.subjects
    )
    charts = "".join(
        f"<h3>{html.escape(title)}</h3><figure>{chart}<figcaption>{_keys(comparison)}"
        "</figcaption></figure>"
        for title, chart in _charts(comparison)
    )
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in comparison.facts
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in NOTES)
    title = "Encoder, decoder, or both"
    page = f"""<header><h1>{title}</h1>
<p class="verdict">{html.escape(verdict(comparison))}</p></header>
<section><h2>What each can do</h2>
<div class="wide"><table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>
<div class="muted">{notes}</div></section>
<section><h2>How they learned</h2>{charts}</section>
<section><h2>The same for all</h2><dl class="facts">{facts}</dl></section>"""
    return PAGE.substitute(title=title, style=STYLE + _EXTRA, body=page)


def plot(comparison: Comparison) -> str:
    """The charts as one SVG file, with its own style."""
    panels, top = [], 0
    for title, chart in _charts(comparison):
        panels.append(f'<text x="78" y="{top + 20}" class="title">{html.escape(title)}</text>')
        across = 90 + 8 * len(title)
        for i, subject in enumerate(comparison.subjects, start=1):
            y = top + 16
            panels.append(
                f'<polyline class="line-{i}" points="{across},{y} {across + 26},{y}"/>'
                f'<text x="{across + 32}" y="{top + 20}">{html.escape(subject.name)}</text>'
            )
            across += 60 + 8 * len(subject.name)
        placed = f'<svg x="0" y="{top + _LEGEND}" width="{WIDTH}" height="{HEIGHT}" '
        panels.append(chart.replace("<svg ", placed, 1))
        top += _LEGEND + HEIGHT + 16
    style = STYLE + _EXTRA + "svg { min-width: 0; font-family: system-ui, sans-serif; }"
    style += " .title { fill: var(--ink); font-weight: 600; } .paper { fill: var(--paper); }"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
        f'height="{top}"><style>{style}</style><rect class="paper" width="100%" height="100%"/>'
        f"{''.join(panels)}</svg>\n"
    )


def table(comparison: Comparison) -> Table:
    """For the terminal: a column a model."""
    made = Table(title="Encoder, decoder, or both", title_justify="left")
    made.add_column("")
    for subject in comparison.subjects:
        made.add_column(subject.name, justify="right", overflow="fold")
    for column in _COLUMNS:
        made.add_row(column.title, *(column.text(subject) for subject in comparison.subjects))
    return made


def verdict(comparison: Comparison) -> str:
    """The figures that the models share, each from the best on."""
    subjects = comparison.subjects

    def ranked(figures: dict[str, float], form: str, reverse: bool) -> str:
        order = sorted(figures, key=lambda name: figures[name], reverse=reverse)
        return ", ".join(f"{name} {figures[name]:{form}}" for name in order)

    hidden = {s.name: s.hidden.part for s in subjects}
    pairs = {s.name: s.pairs.part for s in subjects if s.pairs is not None}
    halves = {s.name: s.second_halves for s in subjects if s.second_halves is not None}
    sentences = [
        f"Hidden tokens guessed right: {ranked(hidden, '.1%', True)}; always the commonest token: "
        f"{comparison.most_frequent:.1%}."
    ]
    if pairs:
        sentences.append(f"Minimal pairs right: {ranked(pairs, '.1%', True)}; by chance 50%.")
    if halves:
        sentences.append(
            f"Bits per byte of second halves, fewer is better: {ranked(halves, '.3f', False)}."
        )
    return " ".join(sentences)


def _charts(comparison: Comparison) -> list[tuple[str, str]]:
    def lines(curve: Callable[[Subject], Curve], marked: bool) -> list[Series]:
        return [
            Series(
                name=subject.name,
                xs=curve(subject).tokens,
                ys=curve(subject).values,
                style=f"line-{i}",
                marked=marked,
            )
            for i, subject in enumerate(comparison.subjects, start=1)
        ]

    parts = (
        ("Hidden tokens guessed right", "part of the tokens", lambda s: s.hidden_accuracy, True),
        ("Training loss of each objective", "nats a target", lambda s: s.training_loss, False),
    )
    return [
        (
            title,
            line_chart(
                lines(curve, marked),
                title=title,
                x_label="tokens of text read",
                y_label=y_label,
                from_zero=marked,
            ),
        )
        for title, y_label, curve, marked in parts
    ]


def _keys(comparison: Comparison) -> str:
    return "\n".join(
        f'<span class="key line-{i}">{html.escape(subject.name)}</span>'
        for i, subject in enumerate(comparison.subjects, start=1)
    )
