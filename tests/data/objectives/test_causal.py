"""Causal objectives: the table of DESIGN, and a loop over random rows."""

import numpy as np

from nanojaxlm.data.objectives import CausalLM, NextTokens


def test_causal_lm_predicts_the_next_token_of_the_same_document(rows_of, setting):
    rows = rows_of([[7, 8, 9, 5, 6, 0], [4] * 6], [[1, 1, 1, 2, 2, 0], [1, 2, 3, 3, 3, 3]])
    batch = CausalLM().batch(rows, setting(CausalLM(), 5))
    np.testing.assert_array_equal(batch.decoder.tokens_BT, [[7, 8, 9, 5, 6], [4, 4, 4, 4, 4]])
    np.testing.assert_array_equal(batch.decoder.segments_BT, [[1, 1, 1, 2, 2], [1, 2, 3, 3, 3]])
    np.testing.assert_array_equal(batch.decoder.positions_BT, [[0, 1, 2, 0, 1], [0, 0, 0, 1, 2]])
    np.testing.assert_array_equal(batch.targets.tokens_BT, [[8, 9, 5, 6, 0], [4, 4, 4, 4, 4]])
    np.testing.assert_array_equal(batch.targets.weights_BT, [[1, 1, 0, 1, 0], [0, 0, 1, 1, 1]])
    assert batch.encoder is None and batch.future == ()


def test_causal_lm_agrees_with_a_loop_over_random_rows(random_rows, setting):
    rows = random_rows(50, 13, mean=3)
    batch = CausalLM().batch(rows, setting(CausalLM(), 12))
    for row in range(50):
        tokens, segments = rows.tokens_BS[row], rows.segments_BS[row]
        position = 0
        for t in range(12):
            position = position + 1 if t and segments[t] == segments[t - 1] else 0
            if segments[t]:
                assert batch.decoder.positions_BT[row, t] == position
            counts = segments[t] == segments[t + 1] > 0
            assert batch.targets.weights_BT[row, t] == float(counts)
            assert batch.targets.tokens_BT[row, t] == tokens[t + 1]


def test_next_tokens_are_those_further_ahead_in_the_same_document(random_rows, setting):
    objective = NextTokens(num_tokens=4)
    assert objective.num_future == 3
    rows = random_rows(20, 12 + 4, mean=5)
    batch = objective.batch(rows, setting(objective, 12))
    assert len(batch.future) == 3
    for ahead, targets in enumerate([batch.targets, *batch.future], start=1):
        for row in range(20):
            for t in range(12):
                inside = rows.segments_BS[row, t] == rows.segments_BS[row, t + ahead] > 0
                assert targets.weights_BT[row, t] == float(inside)
                assert targets.tokens_BT[row, t] == rows.tokens_BS[row, t + ahead]
