"""The report of a curation as one HTML page: no script, nothing from the network, light and dark.

Whatever comes from documents or file names passes `shown`, which also makes visible what would
steer the page: control characters and overrides of the direction of writing.
"""

import difflib
import html
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any

from data_pipeline import histogram
from data_pipeline.page_style import STYLE
from data_pipeline.tally import EXCERPT

MOST_REASONS, MOST_VALUES, MOST_FAILURES = 12, 20, 30
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Curation: $title</title>
<style>$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")
Report = Mapping[str, Any]


def render(report: Report) -> str:
    """The page of what `curate` returns."""
    sections = [
        _header(report),
        _funnel(report),
        _distributions(report),
        _reading(report),
        *(_stage(stage) for stage in report["stages"]),
        _result(report),
        _surroundings(report),
    ]
    title = f"{_kept(report):,} of {report['read']['documents']:,} documents"
    return PAGE.substitute(title=title, style=STYLE, body="\n".join(sections))


def shown(text: Any) -> str:
    """Text escaped for HTML; what is not printable as its code, such as ⟨202E⟩."""
    return html.escape(
        "".join(
            f"⟨{ord(c):04X}⟩"
            if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"
            else c
            for c in str(text)
        )
    )


def _kept(report: Report) -> int:
    return sum(s["documents"] - s.get("repeats", 0) for s in report["kept"].values())


def _header(report: Report) -> str:
    read, kept = report["read"], report["kept"]
    size = sum(split["bytes"] for split in kept.values())
    tokens = sum(split.get("tokens", 0) for split in kept.values())
    verdict = (
        f"Kept {_kept(report):,} of {read['documents']:,} documents, {megabytes(size)} of "
        f"{megabytes(read['bytes'])}" + (f": {tokens:,} tokens." if tokens else ".")
    )
    links = [("funnel", "Funnel"), ("distributions", "Distributions"), ("read", "Reading")]
    links += [(stage["name"], stage["name"]) for stage in report["stages"]]
    links += [("result", "Result"), ("machine", "Machine")]
    nav = "".join(f'<a href="#{shown(name)}">{shown(label)}</a>' for name, label in links)
    return f"""<header><h1>Curation</h1><p class="verdict">{shown(verdict)}</p>
<p class="muted">Inputs: {shown(", ".join(report["inputs"]))}. Every document is accounted for in
<code>ledger/</code>; samples of what each stage dropped lie in <code>dropped/</code>.</p>
<nav aria-label="Sections">{nav}</nav></header>"""


def _funnel(report: Report) -> str:
    read = report["read"]
    first = ("read", read["documents"], read["documents"], read["bytes"], read["bytes"], read)
    rows = [first] + [
        (s["name"], s["documents_in"], s["documents_out"], s["bytes_in"], s["bytes_out"], s)
        for s in report["stages"]
    ]
    body = ""
    for name, before, after, bytes_in, bytes_out, step in rows:
        share = 100 * after / max(read["documents"], 1)
        pace = bytes_in / 1e6 / step["seconds"] if step["seconds"] else 0.0
        body += (
            f'<tr><th scope="row"><a href="#{shown(name)}">{shown(name)}</a></th>'
            f'<td class="bar" aria-hidden="true"><span style="width:{share:.2f}%"></span></td>'
            f'<td class="number">{after:,}</td><td class="number">{after / max(before, 1):.1%}</td>'
            f'<td class="number">{megabytes(bytes_out)}</td>'
            f'<td class="number">{step["seconds"]:.1f} s</td>'
            f'<td class="number">{pace:,.1f} MB/s</td>'
            f'<td class="number">{before / max(step["seconds"], 1e-9):,.0f}</td></tr>'
        )
    return f"""<section aria-labelledby="funnel"><h2 id="funnel">Funnel</h2>
<div class="wide"><table><thead><tr><th scope="col">Stage</th>
<th scope="col"><span class="hidden">bar</span></th>
<th scope="col" class="number">documents left</th>
<th scope="col" class="number">kept</th><th scope="col" class="number">text left</th>
<th scope="col" class="number">time</th><th scope="col" class="number">speed</th>
<th scope="col" class="number">documents/s</th>
</tr></thead><tbody>{body}</tbody></table></div>
<p class="muted">Time is of the wall, with {report["workers"]} worker processes; speed is text that
went in by that time.</p></section>"""


def _distributions(report: Report) -> str:
    charts = [
        (report["read"]["tally"]["lengths_in"], "Bytes a document, as read"),
        (report["lengths"], "Bytes a document, as kept"),
    ]
    languages = next(
        (s["notes"]["language"] for s in report["stages"] if "language" in s["notes"]), None
    )
    table = ""
    if languages:
        table = "<h3>Languages</h3>" + _counts(languages, "language")
    return f"""<section aria-labelledby="distributions"><h2 id="distributions">Distributions</h2>
{_charts(charts)}{table}</section>"""


def _reading(report: Report) -> str:
    read = report["read"]
    failed, kinds = read["failed_by_reason"], read["tally"]["notes"].get("kind", {})
    text = f"<p>{read['documents']:,} documents, {megabytes(read['bytes'])}.</p>"
    text += _counts(kinds, "kind")
    if failed:
        rows = [(f["source"], f["error"]) for f in read["failed"][:MOST_FAILURES]]
        text += f"<h3>Not read</h3>{_counts(failed, 'reason')}"
        text += f"<details><summary>which</summary>{_table(('Source', 'Why'), rows)}</details>"
    if report["skipped"]:
        text += f"<h3>Passed over</h3>{_counts(report['skipped'], 'what')}"
    return f'<section aria-labelledby="read"><h2 id="read">Reading</h2>{text}</section>'


def _stage(stage: Mapping[str, Any]) -> str:
    name, dropped = stage["name"], stage["dropped"]
    num_in, num_dropped = stage["documents_in"], sum(dropped.values())
    parts = [
        f"<p>{num_in:,} documents came in, {num_dropped:,} were dropped, "
        f"{stage['documents_out']:,} went on.</p>"
    ]
    for reason, count in list(dropped.items())[:MOST_REASONS]:
        scores = stage["scores"].get(reason, {})
        chart = _charts([(scores, "score")]) if len(scores) > 1 else ""
        parts.append(
            f"<h3>{shown(reason)}: {count:,} ({count / max(num_in, 1):.2%})</h3>"
            f"{_examples(stage['examples'].get(reason, ()))}"
            + (f"<details><summary>scores</summary>{chart}</details>" if chart else "")
        )
    if len(dropped) > MOST_REASONS:
        parts.append(
            "<h3>Other reasons</h3>" + _counts(dict(list(dropped.items())[MOST_REASONS:]), "reason")
        )
    for what, changes in stage["changes"].items():
        parts.append(f"<h3>{shown(what)}: before and after</h3>{_changes(changes)}")
    for what, counts in stage["notes"].items():
        parts.append(f"<h3>{shown(what)}</h3>{_counts(counts, what)}")
    parts.append(_charts([(c, what) for what, c in stage["measures"].items()]))
    parts.append(_details(stage.get("details", {})))
    return (
        f'<section aria-labelledby="{shown(name)}"><h2 id="{shown(name)}">{shown(name)}</h2>'
        f"{''.join(parts)}</section>"
    )


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
    """Dropped documents side by side."""
    figures = "".join(
        f"<figure><figcaption><code>{shown(one['source'])}</code>"
        + (f", score {one['score']:.4g}" if one.get("score") is not None else "")
        + f"</figcaption><pre>{shown(one['excerpt'])}</pre></figure>"
        for one in examples
    )
    return f'<div class="side">{figures}</div>'


def _changes(changes: Sequence[Mapping[str, str]]) -> str:
    rows = ""
    for change in changes:
        before, after = marked(change["before"], change["after"])
        rows += (
            f"<figure><figcaption><code>{shown(change['source'])}</code></figcaption>"
            f'<div class="side"><pre>{before}</pre><pre>{after}</pre></div></figure>'
        )
    return rows


def marked(before: str, after: str) -> tuple[str, str]:
    """Both as HTML, what is gone as <del>, what is new as <ins>.

    Where excerpts end differently it is because they were cut, not because a stage changed it.
    """
    old, new = "", ""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    cut = max(len(before), len(after)) >= EXCERPT
    for kind, i, j, k, m in matcher.get_opcodes():
        if cut and (j, m) == (len(before), len(after)):
            kind = "equal"
        left, right = shown(before[i:j]), shown(after[k:m])
        old += left if kind == "equal" or not left else f"<del>{left}</del>"
        new += right if kind == "equal" or not right else f"<ins>{right}</ins>"
    return old, new


def _details(details: Mapping[str, Any]) -> str:
    """What a comparison says of itself: numbers as facts, counts as tables, the rest as it is."""
    facts = [(k, v) for k, v in details.items() if isinstance(v, (int, float, str))]
    text = _facts((k, f"{v:,}" if isinstance(v, int) else str(v)) for k, v in facts)
    for name, value in details.items():
        if isinstance(value, Mapping) and all(isinstance(v, int) for v in value.values()):
            text += f"<h3>{shown(name)}</h3>{_counts(value, name)}"
        elif isinstance(value, Mapping):
            text += f"<h3>{shown(name)}</h3>{_details(value)}"
        elif isinstance(value, Sequence) and not isinstance(value, str) and value:
            items = "".join(f"<li><code>{shown(_phrase(item))}</code></li>" for item in value[:10])
            text += f"<h3>{shown(name)}</h3><ul>{items}</ul>"
    return text


def _phrase(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_phrase(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_phrase(item) for item in value[:12]) + (" …" if len(value) > 12 else "")
    return str(value)


def _result(report: Report) -> str:
    rows = [
        (split, f"{kept['documents']:,}", megabytes(kept["bytes"]), f"{kept.get('tokens', 0):,}")
        for split, kept in report["kept"].items()
    ]
    text = _table(("Split", "documents", "text", "tokens"), rows)
    tokenizer = report.get("tokenizer")
    if tokenizer:
        facts = [(k, v) for k, v in tokenizer.items() if isinstance(v, (int, float, str))]
        text += "<h3>Tokenizer</h3>" + _facts(
            (k.replace("_", " "), f"{v:,.4g}" if isinstance(v, float) else str(v)) for k, v in facts
        )
        languages = tokenizer.get("languages", {})
        if languages:
            columns = ("Language", *next(iter(languages.values())))
            rows = [(k, *(f"{x:,.4g}" for x in v.values())) for k, v in languages.items()]
            text += _table(columns, rows)
    return f'<section aria-labelledby="result"><h2 id="result">Result</h2>{text}</section>'


def _surroundings(report: Report) -> str:
    facts = [("Cores", str(report["cores"])), ("Workers", str(report["workers"]))]
    facts += [("Seconds", f"{report['seconds']:.1f}"), *report["versions"].items()]
    return (
        '<section aria-labelledby="machine"><h2 id="machine">Machine and versions</h2>'
        f"{_facts(facts)}</section>"
    )


def _charts(charts: Iterable[tuple[Mapping[str, int], str]]) -> str:
    figures = "".join(
        f"<figure>{histogram.svg(counts, title)}<figcaption>{shown(title)}</figcaption></figure>"
        for counts, title in charts
        if counts
    )
    return f'<div class="charts">{figures}</div>' if figures else ""


def _counts(counts: Mapping[str, int], name: str) -> str:
    """A table of the commonest values with bars."""
    if not counts:
        return ""
    items = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    most, total = items[0][1], sum(counts.values())
    rest = items[MOST_VALUES:]
    rows = "".join(
        f'<tr><th scope="row">{shown(value)}</th><td class="number">{count:,}</td>'
        f'<td class="number">{count / total:.1%}</td><td class="bar" aria-hidden="true">'
        f'<span style="width:{100 * count / most:.2f}%"></span></td></tr>'
        for value, count in items[:MOST_VALUES]
    )
    more = f"<p class=muted>and {len(rest):,} more</p>" if rest else ""
    return (
        f'<div class="wide"><table><thead><tr><th scope="col">{shown(name)}</th>'
        '<th scope="col" class="number">documents</th><th scope="col" class="number">share</th>'
        f'<th scope="col"><span class="hidden">bar</span></th></tr></thead><tbody>{rows}</tbody>'
        f"</table></div>{more}"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{shown(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{shown(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    head, body = f"<thead><tr>{head}</tr></thead>", f"<tbody>{body}</tbody>"
    return f'<div class="wide"><table>{head}{body}</table></div>'


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{shown(n)}</dt><dd>{shown(v)}</dd></div>" for n, v in rows)
    return f'<dl class="facts">{items}</dl>' if items else ""


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.2f} MB"
