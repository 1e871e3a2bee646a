"""What was found, without overlaps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """data[start:end] is of this kind."""

    start: int
    end: int
    kind: str


def without_overlaps(found: Mapping[str, Sequence[tuple[int, int]]]) -> list[Span]:
    """In order of place. Of two that overlap the longer stays; of equal ones the earlier kind.

    found: kind -> spans, the most specific kind first.
    """
    spans = [Span(start, end, kind) for kind, places in found.items() for start, end in places]
    rank = {kind: i for i, kind in enumerate(found)}
    spans.sort(key=lambda span: (span.start, span.end))
    kept: list[Span] = []
    together: list[Span] = []
    reach = -1
    for span in spans:
        if span.start >= reach:
            kept += _longest(together, rank)
            together = []
        together.append(span)
        reach = max(reach, span.end)
    return kept + _longest(together, rank)


def _longest(spans: list[Span], rank: Mapping[str, int]) -> list[Span]:
    if len(spans) < 2:
        return spans
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, rank[s.kind], s.start)):
        if all(span.end <= other.start or span.start >= other.end for other in kept):
            kept.append(span)
    return sorted(kept)
