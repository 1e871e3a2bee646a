"""What the pages share: the frame, lists of facts, tables; all text passes html.escape."""

import html
from collections.abc import Collection, Iterable, Sequence
from string import Template

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """(name, value) each, in as many columns as the page is wide."""
    items = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in rows
    )
    return f'<dl class="facts">{items}</dl>'


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    words: Collection[int] = (),
    totals: Collection[int] = (),
) -> str:
    """A table whose first column is text and whose others are numbers, but those of `words`.
    totals: rows that sum up the others."""

    def style(column: int) -> str:
        return "" if column in words else ' class="number"'

    head = "".join(
        f'<th scope="col"{style(i) if i else ""}>{html.escape(name)}</th>'
        for i, name in enumerate(columns)
    )
    body = "".join(
        f"<tr{' class=total' if number in totals else ''}>"
        f'<th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td{style(i)}>{html.escape(row[i])}</td>" for i in range(1, len(row)))
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def bullets(sentences: Iterable[str]) -> str:
    """Each as a sentence: with a capital and a full stop."""
    return f"<ul>{''.join(f'<li>{html.escape(sentence(words))}</li>' for words in sentences)}</ul>"


def sentence(words: str) -> str:
    """Of words that were written to stand within one."""
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "!", "?", ":")) else f"{words}."
