"""Objectives: the table of DESIGN, row by row."""

import numpy as np

from nanojaxlm.data.objectives import CausalLM


def test_causal_lm_predicts_the_next_token_of_the_same_document():
    tokens = np.array([[7, 8, 9, 5, 6, 0], [4, 4, 4, 4, 4, 4]], np.int32)
    segments = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 3, 3, 3, 3]], np.int32)
    batch = CausalLM()(tokens, segments)
    np.testing.assert_array_equal(batch.decoder.tokens_BT, [[7, 8, 9, 5, 6], [4, 4, 4, 4, 4]])
    np.testing.assert_array_equal(batch.decoder.segments_BT, [[1, 1, 1, 2, 2], [1, 2, 3, 3, 3]])
    np.testing.assert_array_equal(batch.decoder.positions_BT, [[0, 1, 2, 0, 1], [0, 0, 0, 1, 2]])
    np.testing.assert_array_equal(batch.targets_BT, [[8, 9, 5, 6, 0], [4, 4, 4, 4, 4]])
    np.testing.assert_array_equal(batch.weights_BT, [[1, 1, 0, 1, 0], [0, 0, 1, 1, 1]])
    assert {array.dtype for array in batch.decoder} == {np.dtype(np.int32)}
    assert (batch.targets_BT.dtype, batch.weights_BT.dtype) == (np.int32, np.float32)


def test_causal_lm_agrees_with_a_loop_over_random_rows():
    random = np.random.default_rng(0)
    for _ in range(50):
        lengths = random.integers(1, 6, 5)
        segments = np.repeat(np.arange(1, 6), lengths)
        segments[random.integers(1, len(segments) + 1) :] = 0
        tokens = random.integers(0, 9, len(segments))
        batch = CausalLM()(tokens[None], segments[None])
        position = 0
        for t in range(len(segments) - 1):
            position = position + 1 if t and segments[t] == segments[t - 1] else 0
            assert batch.decoder.positions_BT[0, t] == position
            counts = segments[t] == segments[t + 1] > 0
            assert batch.weights_BT[0, t] == float(counts)
            assert batch.targets_BT[0, t] == tokens[t + 1]
