"""Prefixes: a document's beginning is seen, its rest is predicted."""

import numpy as np
import pytest

from nanojaxlm.data.objectives import PrefixLM

START = 0


def test_a_prefix_is_seen_and_the_rest_is_predicted(rows_of, setting):
    rows = rows_of([[5, 6, 7, 8, 9, 3, 4, 0]], [[1, 1, 1, 1, 2, 2, 2, 0]])
    batch = PrefixLM(split=0.5).batch(rows, setting(PrefixLM(), 7))
    assert batch.decoder.tokens_BT.tolist() == [[5, 6, 7, 8, 9, 3, 4]]
    assert batch.decoder.prefix_BT.tolist() == [[1, 1, 0, 0, 1, 1, 0]]
    assert batch.targets.tokens_BT.tolist() == [[6, 7, 8, 9, 3, 4, 0]]
    assert batch.targets.weights_BT.tolist() == [[0, 1, 1, 0, 0, 1, 0]]


def test_an_encoder_gets_the_prefix_and_a_decoder_the_rest(rows_of, setting):
    rows = rows_of([[5, 6, 7, 8, 9, 3, 4, 0]], [[1, 1, 1, 1, 2, 2, 2, 0]])
    objective = PrefixLM(split=0.5, layout="encoder")
    batch = objective.batch(rows, setting(objective, 8))
    assert batch.encoder.tokens_BT.tolist() == [[5, 6, 9, 3, 0, 0, 0, 0]]
    assert batch.encoder.segments_BT.tolist() == [[1, 1, 2, 2, 0, 0, 0, 0]]
    assert batch.decoder.tokens_BT.tolist() == [[START, 7, START, 0]]
    assert batch.decoder.segments_BT.tolist() == [[1, 1, 2, 0]]
    assert batch.targets.tokens_BT.tolist() == [[7, 8, 4, 0]]
    assert batch.targets.weights_BT.tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize("split", [None, 0.01, 0.4, 0.99])
@pytest.mark.parametrize("mean", [1, 3, 200])
@pytest.mark.parametrize("length", [1, 2, 9, 50])
def test_prefixes_and_rests_are_the_documents(random_rows, setting, split, mean, length):
    objective = PrefixLM(split=split, layout="encoder")
    rows = random_rows(20, length, mean=mean)
    batch = objective.batch(rows, setting(objective, length))
    for row in range(20):
        segments = rows.segments_BS[row]
        for segment in set(segments[segments > 0].tolist()):
            here = batch.encoder.segments_BT[row] == segment
            there = batch.decoder.segments_BT[row] == segment
            prefix = batch.encoder.tokens_BT[row][here].tolist()
            rest = batch.targets.tokens_BT[row][there].tolist()
            document = rows.tokens_BS[row][segments == segment].tolist()
            assert prefix + rest == document and prefix
            assert batch.decoder.tokens_BT[row][there].tolist() == [START, *rest][: len(rest)]
            assert batch.targets.weights_BT[row][there].all()
            if split is not None:
                assert 0 <= len(prefix) - split * len(document) < 1
            elif len(document) > 1:
                assert rest


@pytest.mark.parametrize("mean", [1, 3, 200])
def test_in_a_decoder_the_tokens_stay_and_each_after_the_prefix_is_a_target(
    random_rows, setting, mean
):
    rows = random_rows(20, 51, mean=mean)
    batch = PrefixLM().batch(rows, setting(PrefixLM(), 50))
    np.testing.assert_array_equal(batch.decoder.tokens_BT, rows.tokens_BS[:, :-1])
    np.testing.assert_array_equal(batch.targets.tokens_BT, rows.tokens_BS[:, 1:])
    for row in range(20):
        segments, prefix = rows.segments_BS[row], batch.decoder.prefix_BT[row]
        for t in range(50):
            inside = segments[t] == segments[t + 1] > 0
            after = t + 1 == 50 or not prefix[t + 1]
            if t + 1 < 50:
                assert batch.targets.weights_BT[row, t] == float(inside and after)
            if inside and prefix[t + 1 : t + 2].any():
                assert prefix[t], "a prefix has no hole"
            if segments[t] and (t == 0 or segments[t - 1] != segments[t]):
                assert prefix[t], "every document begins with its prefix"


def test_splits_are_uniform(rows_of, setting):
    tokens = np.tile(np.arange(3, 13), (5000, 1))
    batch = PrefixLM().batch(rows_of(tokens, np.ones_like(tokens)), setting(PrefixLM(), 9))
    counts = np.bincount(batch.decoder.prefix_BT.sum(axis=1), minlength=10)[1:]
    assert np.abs(counts / 5000 - 1 / 9).max() < 0.02


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"split": 0.0}, "split"), ({"split": 1.0}, "split"), ({"layout": "x"}, "layout")],
)
def test_impossible_prefixes_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        PrefixLM(**fields)
