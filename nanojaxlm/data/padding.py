"""Rows of different lengths as one stream."""

from collections.abc import Sequence

import numpy as np

from nanojaxlm.batch import Stream


def round_up(length: int, multiple: int = 64) -> int:
    """The next multiple, so that few lengths are ever compiled."""
    return -(-length // multiple) * multiple


def pad_rows(
    rows: Sequence[Sequence[int]], *, left: bool = False, multiple: int = 64, num_rows: int = 0
) -> Stream:
    """Token ids, one document a row, as numpy arrays [B, T]; padding is segment 0.

    Args:
        left: rows end at the same place, else they begin at the same.
        multiple: T is rounded up to one of it.
        num_rows: B at least; the rows that lack are all padding.
    """
    width = round_up(max(map(len, rows)), multiple)
    shape = (max(len(rows), num_rows), width)
    tokens_BT, positions_BT, segments_BT = (np.zeros(shape, np.int32) for _ in range(3))
    for i, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        tokens_BT[i, at] = row
        positions_BT[i, at] = np.arange(len(row))
        segments_BT[i, at] = 1
    return Stream(tokens_BT, positions_BT, segments_BT)
