"""A fitted law beside the runs it was fitted to: a page, a table for the terminal, a sentence."""

import html
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from nanojaxlm.economics.fitting import Fit, Point
from nanojaxlm.economics.scaling import TRAINING_FLOPS
from nanojaxlm.reporting.chart import Axis, Series, line_chart
from nanojaxlm.reporting.markup import PAGE
from nanojaxlm.reporting.markup import table as html_table
from nanojaxlm.reporting.style import STYLE

_COLUMNS = ("parameters", "tokens", "FLOPs", "measured", "law", "off")
_DOTS = """
polyline.measured, polyline.larger { stroke: none; }
circle.measured { fill: var(--one); }
circle.larger { fill: var(--two); }
.key { margin-right: 1.25rem; }
.key.line-2 { margin-left: 0; }
.key.measured::before, .key.larger::before { width: .5rem; border-top-width: .5rem;
  border-radius: 50%; }
.key.measured::before { border-color: var(--one); }
.key.larger::before { border-color: var(--two); }
"""


def table(fitted: Fit) -> Table:
    """For the terminal: a row a run, the larger one last."""
    made = Table()
    for name in _COLUMNS:
        made.add_column(name, justify="right")
    for row in _rows(fitted):
        made.add_row(*row)
    return made


def verdict(fitted: Fit) -> str:
    """The law, and how it stood the test."""
    law, alpha, beta = fitted.law, fitted.alpha, fitted.beta
    text = (
        f"L = {law.E:.3f} + {law.A:.4g} / N^{law.alpha:.3f} + {law.B:.4g} / D^{law.beta:.3f}; "
        f"90% intervals: alpha {alpha.low:.3f} to {alpha.high:.3f}, beta {beta.low:.3f} to "
        f"{beta.high:.3f}."
    )
    point = fitted.held_out
    if point is None or fitted.error is None:
        return text
    predicted = fitted.predict(point.params, point.tokens)
    within = "within" if point.loss in predicted else "outside"
    times = point.flops / max(one.flops for one in fitted.points)
    return (
        f"{text} The run of {times:.1f} times the ladder's most compute: {predicted.central:.4f} "
        f"predicted ({predicted.low:.4f} to {predicted.high:.4f}), {point.loss:.4f} measured, "
        f"{within} the interval; the prediction is off by {fitted.error:+.2%}."
    )


def render(fitted: Fit) -> str:
    """The page: no script, nothing from the network."""
    keys = [("measured", "measured"), ("line-1", "the law at each size")]
    if fitted.held_out is not None:
        keys += [("larger", "the larger run"), ("line-2", "the law at its size")]
    legend = "\n".join(f'<span class="key {style}">{name}</span>' for style, name in keys)
    sources = ", ".join(fitted.text.sources) if fitted.text else ""
    title = "Loss by parameters and tokens"
    page = f"""<header><h1>{title}</h1>
<p class="verdict">{html.escape(verdict(fitted))}</p></header>
<section><figure>{_chart(fitted, title)}<figcaption>{legend}</figcaption></figure></section>
<section><h2>Runs</h2>{html_table(_COLUMNS, _rows(fitted))}
<p class="muted">Parameters include embeddings. Losses are nats a held-out token of
{html.escape(sources)}, and mean nothing beside those of another text or tokenizer. The law was not
fitted to the run that is called larger.</p></section>"""
    return PAGE.substitute(title=title, style=STYLE + _DOTS, body=page)


def _rows(fitted: Fit) -> list[tuple[str, ...]]:
    rows = []
    for point in (*fitted.points, *([fitted.held_out] if fitted.held_out else [])):
        law = fitted.law.loss(point.params, point.tokens)
        mark = "larger run: " if point is fitted.held_out else ""
        rows.append(
            (
                f"{mark}{point.params:,.0f}",
                f"{point.tokens:,.0f}",
                f"{point.flops:.3g}",
                f"{point.loss:.4f}",
                f"{law:.4f}",
                f"{law / point.loss - 1:+.2%}",
            )
        )
    return rows


def _chart(fitted: Fit, title: str) -> str:
    def dots(name: str, points: Sequence[Point]) -> Series:
        xs, ys = [p.flops for p in points], [p.loss for p in points]
        return Series(name=name, xs=xs, ys=ys, style=name, marked=True)

    def curve(params: float, most: float, style: str) -> Series:
        amounts = np.geomspace(min(p.tokens for p in fitted.points), most, 50)
        return Series(
            name=f"the law at {params:,.0f} parameters",
            xs=[TRAINING_FLOPS * params * float(tokens) for tokens in amounts],
            ys=[fitted.law.loss(params, float(tokens)) for tokens in amounts],
            style=style,
        )

    most = {point.params: 0.0 for point in fitted.points}
    for point in fitted.points:
        most[point.params] = max(most[point.params], point.tokens)
    series = [curve(params, tokens, "line-1") for params, tokens in most.items()]
    if fitted.held_out is not None:
        series.append(curve(fitted.held_out.params, fitted.held_out.tokens, "line-2"))
        series.append(dots("larger", [fitted.held_out]))
    return line_chart(
        [*series, dots("measured", fitted.points)],
        title=title,
        x_label="training FLOPs (6 N D)",
        y_label="loss (nats a held-out token)",
        x_axis=Axis(log=True, text="{:.2g}".format),
    )
