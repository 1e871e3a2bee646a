"""The documents in rows, against a loop over their tokens."""

import numpy as np

from nanojaxlm.data.objectives.rows import find_bodies, find_pieces


def test_pieces_are_the_runs_of_a_segment(random_rows):
    rows = random_rows(30, 40, mean=3)
    wanted = []
    for row, segments in enumerate(rows.segments_BS.tolist()):
        for segment in range(1, max(segments) + 1):
            wanted.append((row, segments.index(segment), segments.count(segment), segment))
    pieces = find_pieces(rows.segments_BS)
    assert list(zip(*(part.tolist() for part in pieces), strict=True)) == wanted


def test_bodies_are_without_bos_and_eos(random_rows, setting):
    rows = random_rows(30, 40, mean=2)
    pieces = find_pieces(rows.segments_BS)
    bodies = find_bodies(pieces, rows.tokens_BS, setting(_NoExtra, 40).vocabulary)
    for i, (row, column, length) in enumerate(zip(*pieces[:3], strict=True)):
        document = rows.tokens_BS[row, column : column + length].tolist()
        body = [token for token in document if token not in (1, 2)]
        start = bodies.columns_P[i]
        assert rows.tokens_BS[row, start : start + bodies.lengths_P[i]].tolist() == body
        assert (bodies.has_bos_P[i], bodies.has_eos_P[i]) == (1 in document, 2 in document)


def test_one_id_may_be_bos_and_eos(rows_of, setting):
    """GPT-2's. A piece that is only that id has no body, and one end."""
    rows = rows_of([[2, 5, 2, 2, 7, 2, 0]], [[1, 1, 1, 2, 3, 3, 0]])
    vocabulary = setting(_NoExtra, 7).vocabulary._replace(bos_id=2)
    bodies = find_bodies(find_pieces(rows.segments_BS), rows.tokens_BS, vocabulary)
    np.testing.assert_array_equal(bodies.lengths_P, [1, 0, 1])
    np.testing.assert_array_equal(bodies.columns_P, [1, 4, 4])


class _NoExtra:
    extra_tokens = ()
