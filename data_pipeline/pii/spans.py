"""What was found, without overlaps."""

import bisect
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
    spans.sort()
    kept: list[Span] = []
    first = 0
    reach = spans[0].end if spans else 0
    for i in range(1, len(spans) + 1):
        if i < len(spans) and spans[i].start < reach:
            reach = max(reach, spans[i].end)
            continue
        kept += _longest(spans[first:i], rank) if i - first > 1 else spans[first:i]
        first = i
        reach = spans[i].end if i < len(spans) else 0
    return kept


def _longest(spans: list[Span], rank: Mapping[str, int]) -> list[Span]:
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, rank[s.kind], s.start)):
        place = bisect.bisect(kept, span)
        if (not place or kept[place - 1].end <= span.start) and (
            place == len(kept) or span.end <= kept[place].start
        ):
            kept.insert(place, span)
    return kept
