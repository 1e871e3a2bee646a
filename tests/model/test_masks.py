"""The mask spelt out: by hand, and against loops over every query and key."""

import itertools

import numpy as np
import pytest

from nanojaxlm.model.masks import AttentionMask

ONE = np.ones((1, 4), np.int32)


def picture(mask: np.ndarray) -> list[str]:
    """x = may attend, of the first row of the batch."""
    return ["".join("x" if see else "." for see in row) for row in np.asarray(mask)[0, 0]]


def test_two_packed_documents_are_two_triangles_or_two_squares():
    segments = np.array([[1, 1, 2]], np.int32)
    mask = AttentionMask(segments, segments)
    assert picture(mask.dense(True, None)) == ["x..", "xx.", "..x"]
    assert picture(mask.dense(False, None)) == ["xx.", "xx.", "..x"]


def test_a_window_of_two_sees_itself_and_one_before_and_in_an_encoder_one_after():
    mask = AttentionMask(ONE, ONE)
    assert picture(mask.dense(True, 2)) == ["x...", "xx..", ".xx.", "..xx"]
    assert picture(mask.dense(False, 2)) == ["xx..", "xxx.", ".xxx", "..xx"]


def test_prefix_tokens_see_each_other_and_nothing_else_sees_ahead():
    prefix = np.array([[1, 1, 0, 0]], np.int32)
    mask = AttentionMask(ONE, ONE, 0, prefix)
    assert picture(mask.dense(True, None)) == ["xx..", "xx..", "xxx.", "xxxx"]


def test_a_padding_query_has_a_key_so_no_row_is_empty():
    segments = np.array([[0, 0, 1, 1, 0]], np.int32)
    for causal in (True, False):
        assert AttentionMask(segments, segments).dense(causal, None).any(axis=-1).all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("q_start", [0, 3])
def test_dense_is_its_description_for_every_query_and_key(causal, window, q_start):
    # Two documents, the second with a prefix, and padding; left padding, then one document.
    k_segments = np.array([[1, 1, 1, 2, 2, 2, 2, 0, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1]], np.int32)
    k_prefix = np.array([[0, 0, 0, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 0, 0, 0]], np.int32)
    q_segments = k_segments[:, q_start:]
    mask = AttentionMask(q_segments, k_segments, q_start, k_prefix).dense(causal, window)
    assert mask.shape == (2, 1, 9 - q_start, 9)
    for b, t, s in itertools.product(range(2), range(9 - q_start), range(9)):
        at = q_start + t
        expected = q_segments[b, t] == k_segments[b, s]
        expected &= not causal or s <= at or k_prefix[b, s] == 1
        expected &= window is None or abs(s - at) < window
        assert mask[b, 0, t, s] == expected, (b, t, s)
