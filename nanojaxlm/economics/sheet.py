"""A table of words, for a terminal and for a document that has a place for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from nanojaxlm.errors import UserError


@dataclass(frozen=True)
class Sheet:
    """name: of its place in a document; see `rewritten`."""

    name: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, name: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> "Sheet":
        return cls(name, tuple(headers), tuple(tuple(row) for row in rows))

    def rich(self) -> Table:
        table = Table(title=self.name, box=box.SIMPLE)
        for i, header in enumerate(self.headers):
            table.add_column(header, no_wrap=i == 0)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = (self.headers, ("---",) * len(self.headers), *self.rows)
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rewritten(text: str, sheets: Iterable[Sheet]) -> str:
    """The document with each sheet between `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        UserError: a sheet has no place, or more than one.
    """
    for sheet in sheets:
        begin, end = f"<!-- {sheet.name} -->", f"<!-- end of {sheet.name} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise UserError(f"the document needs one place for {sheet.name!r}: {begin} {end}")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{sheet.markdown()}\n{end}{after}"
    return text
