"""The rows of a split, and the batches that a schedule makes of them, as Grain sources.

A split's tokens are cut into rows of S = R + ahead tokens, of which the next row has the last
`ahead` too: row i is tokens i R … i R + R + ahead - 1. With ahead = 1, each token but the first of
the split is the next of another exactly once in an epoch. The last row is padded, never dropped.
"""

from collections.abc import Mapping, Sequence

import grain
import numpy as np

from nanojaxlm.data.objectives.fragments import PADDING
from nanojaxlm.data.schedule import BatchSizes, Schedule
from nanojaxlm.token_store import Split


class RowSource(grain.sources.RandomAccessDataSource):
    """The packed rows of one split: element i is (tokens, segments) of row i, int32 [S] each."""

    def __init__(self, split: Split, length: int, ahead: int = 1):
        """length: R, tokens from one row to the next. ahead: how many more a row has."""
        self._split, self._length = split, length
        self._ahead = ahead
        self.row_length = length + ahead

    def __len__(self) -> int:
        shared = min(self._ahead, 1)  # a row of nothing but the last token would have no target
        return max(0, -(-(self._split.num_tokens - shared) // self._length))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        tokens, segments = self.read(np.array([index]))
        return tokens[0], segments[0]

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n] row numbers -> (tokens, segments), int32 [n, S] each; reads all at once.

        Segments count the documents of a row from 1; 0 is padding.
        """
        num_tokens, width = self._split.num_tokens, self.row_length
        starts = rows.astype(np.int64) * self._length
        stops = np.minimum(starts + width, num_tokens)
        parts = self._split.read_many(zip(starts.tolist(), stops.tolist(), strict=True))
        tokens = np.full((len(rows), width), PADDING, np.int32)
        for row, part in zip(tokens, parts, strict=True):
            row[: len(part)] = part
        places = starts[:, None] + np.arange(width)
        documents = np.searchsorted(self._split.offsets, places, side="right")
        segments = np.where(places < num_tokens, documents - documents[:, :1] + 1, 0)
        return tokens, segments.astype(np.int32)


class BatchSource(grain.sources.RandomAccessDataSource):
    """Element i is what one process holds of global batch i: (tokens, segments, places).

    int32 [n, S], int32 [n, S] and int64 [n]: a row's place among all rows of all batches.

    Args:
        sources: the rows, group by group: the sources of a group are read as one after another.
        schedule: place -> (group, row of the group); None: the rows of the only group in order,
            once, and then padding.
        sizes: rows of each global batch.
        local_rows: for each of these sizes int64 [n], the rows of such a batch to read here.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[RowSource]],
        schedule: Schedule | None,
        sizes: BatchSizes,
        local_rows: Mapping[int, np.ndarray],
    ):
        self._sources = [source for group in sources for source in group]
        self._ends = [np.cumsum([len(source) for source in group]) for group in sources]
        self._first = np.cumsum([0] + [len(group) for group in sources])
        self._schedule, self._sizes, self._local_rows = schedule, sizes, local_rows

    def __len__(self) -> int:
        if self._schedule is None:
            assert not self._sizes.warmup  # one pass is of equal batches
            return -(-int(self._ends[0][-1]) // self._sizes.final)
        return 2**43 // self._sizes.final  # without end; see Schedule

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = self._sizes.before(index) + self._local_rows[self._sizes.of(index)]
        if self._schedule is None:
            groups, rows = np.zeros_like(places), places
        else:
            groups, rows = self._schedule(places)
        width = self._sources[0].row_length
        tokens = np.full((len(places), width), PADDING, np.int32)
        segments = np.zeros((len(places), width), np.int32)
        which = np.full(len(places), len(self._sources))  # beyond the last: a row of padding
        within = np.zeros_like(rows)
        for group, ends in enumerate(self._ends):
            mine = np.nonzero((groups == group) & (rows < ends[-1]))[0]
            member = np.searchsorted(ends, rows[mine], side="right")
            which[mine] = self._first[group] + member
            within[mine] = rows[mine] - (ends[member] - self._lengths(group)[member])
        for i, source in enumerate(self._sources):
            mine = np.nonzero(which == i)[0]
            if len(mine):
                tokens[mine], segments[mine] = source.read(within[mine])
        return tokens, segments, places

    def _lengths(self, group: int) -> np.ndarray:
        return np.diff(self._ends[group], prepend=0)
