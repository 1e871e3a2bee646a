"""Denoising, seen by an oracle that puts each document together again, token by token."""

from typing import Any

import numpy as np
import pytest

from nanojaxlm.data.objectives import Denoiser, MixtureOfDenoisers, SpanCorruption
from nanojaxlm.data.objectives.rows import Rows

BOS, EOS, START = 1, 2, 0
SEQUENCE_LENGTHS = (8, 16, 40, 200)
EXTREMES = [(0.15, 3.0), (0.01, 1.0), (0.5, 1.0), (0.99, 1.0), (0.99, 1000.0), (0.5, 64.0)]


def read_pairs(batch: Any, row: int) -> dict[int, tuple[list[int], list[int]]]:
    """segment -> (inputs, targets), of either layout, the streams checked on the way."""
    decoder, targets = batch.decoder, batch.targets
    pairs: dict[int, tuple[list[int], list[int]]] = {}
    weights = targets.weights_BT[row]
    assert set(np.unique(weights)) <= {0.0, 1.0}
    if batch.encoder is not None:
        segments = batch.encoder.segments_BT[row]
        for segment in dict.fromkeys(segments[segments > 0].tolist()):
            here, there = segments == segment, decoder.segments_BT[row] == segment
            wanted = targets.tokens_BT[row][there].tolist()
            assert weights[there].all()
            assert decoder.tokens_BT[row][there].tolist() == [START, *wanted][: len(wanted)]
            assert decoder.positions_BT[row][there].tolist() == list(range(len(wanted)))
            assert batch.encoder.positions_BT[row][here].tolist() == list(range(here.sum()))
            pairs[segment] = (batch.encoder.tokens_BT[row][here].tolist(), wanted)
        assert not batch.encoder.tokens_BT[row][segments == 0].any()
        assert set(decoder.segments_BT[row].tolist()) <= {0, *pairs}
    else:
        segments = decoder.segments_BT[row]
        for segment in dict.fromkeys(segments[segments > 0].tolist()):
            here = segments == segment
            seen, prefix = decoder.tokens_BT[row][here].tolist(), decoder.prefix_BT[row][here]
            inputs = seen[: prefix.sum()]
            assert prefix[: len(inputs)].all()
            wanted = targets.tokens_BT[row][here & (weights == 1)].tolist()
            assert seen == (inputs + wanted)[: len(seen)]
            assert len(seen) >= len(inputs + wanted) - 1
            if wanted:  # each is predicted where the one before it is read
                counted = np.flatnonzero(weights[here])
                first = len(inputs) - 1
                assert counted.tolist() == list(range(first, first + len(wanted)))
            assert decoder.positions_BT[row][here].tolist() == list(range(here.sum()))
            pairs[segment] = (inputs, wanted)
        assert not decoder.prefix_BT[row][segments == 0].any()
        assert not decoder.tokens_BT[row][segments == 0].any()
    assert not weights[decoder.segments_BT[row] == 0].any()
    return pairs


def put_together(
    inputs: list[int], targets: list[int], sentinels: list[int], modes: set[int]
) -> tuple[list[int], list[list[int]], int | None]:
    """(the document, its noise spans, the mode); sentinels stand in order on both sides."""
    mode = None
    if inputs[0] in modes:
        mode, inputs = inputs[0], inputs[1:]
    if not targets:
        assert mode is None and not set(inputs) & set(sentinels)
        return inputs, [], mode
    assert targets[-1] == EOS
    spans: list[list[int]] = []
    for token in targets[:-1]:
        if len(spans) < len(sentinels) and token == sentinels[len(spans)]:
            spans.append([])
        else:
            assert token not in sentinels
            spans[-1].append(token)
    assert all(spans)
    document, used, after_span = [], 0, False
    for token in inputs:
        if token in sentinels:
            assert token == sentinels[used] and not after_span, "spans must not touch"
            document += spans[used]
            used += 1
        else:
            document.append(token)
        after_span = token in sentinels
    assert used == len(spans)
    return document, spans, mode


def check_rows(objective: Any, rows: Rows, setting: Any) -> list[tuple[list[int], list[list[int]]]]:
    """Every document of every row is restored; returns (document, its spans) for more to check."""
    sizes = objective.lengths(setting.sequence_length)
    batch = objective.batch(rows, setting)
    assert batch.decoder.tokens_BT.shape[1] == batch.targets.tokens_BT.shape[1] == sizes.decoder
    assert (batch.encoder is None) == (sizes.encoder is None)
    if batch.encoder is not None:
        assert batch.encoder.tokens_BT.shape[1] == sizes.encoder
    assert {a.dtype for a in (*batch.decoder, *batch.targets) if a is not None} == {
        np.dtype(np.int32),
        np.dtype(np.float32),
    }
    ids = list(objective.sentinel_ids(setting))
    modes = {setting.extra_ids[part.mode] for part in objective.parts if part.mode}
    found = []
    for row in range(len(rows.tokens_BS)):
        pairs = read_pairs(batch, row)
        segments = rows.segments_BS[row]
        assert list(pairs) == sorted(set(segments[segments > 0].tolist()))
        for segment, (inputs, targets) in pairs.items():
            document, spans, mode = put_together(inputs, targets, ids, modes)
            assert document == rows.tokens_BS[row][segments == segment].tolist()
            assert not {BOS, EOS} & {token for span in spans for token in span}
            assert mode is None or spans
            assert mode or not spans or not all(part.mode for part in objective.parts)
            found.append((document, spans))
    return found


@pytest.mark.parametrize("layout", ["encoder", "prefix"])
@pytest.mark.parametrize(("density", "mean_length"), EXTREMES)
def test_inputs_and_targets_together_are_the_documents(
    random_rows, setting, layout, density, mean_length
):
    objective = SpanCorruption(
        density=density, mean_length=mean_length, layout=layout, num_sentinels=300
    )
    for length in SEQUENCE_LENGTHS:
        if layout == "prefix" and density > 0.5 and length == 8:
            continue
        row = objective.lengths(length).row
        for mean in (1, 2, 5, 40, 1000):
            rows = random_rows(12, row, mean=mean, seed=length)
            check_rows(objective, rows, setting(objective, length))


@pytest.mark.parametrize("layout", ["encoder", "prefix"])
@pytest.mark.parametrize("mean", [1, 2, 5, 40, 1000])
def test_a_mixture_of_denoisers_loses_nothing_either(random_rows, setting, layout, mean):
    objective = MixtureOfDenoisers(layout=layout)
    for length in SEQUENCE_LENGTHS:
        rows = random_rows(12, objective.lengths(length).row, mean=mean, seed=length)
        check_rows(objective, rows, setting(objective, length))


@pytest.mark.parametrize(("density", "mean_length"), [(0.15, 3.0), (0.5, 8.0), (0.3, 1.0)])
def test_density_and_mean_length_are_hit(random_rows, setting, density, mean_length):
    objective = SpanCorruption(density=density, mean_length=mean_length, num_sentinels=200)
    rows = random_rows(100, 400, mean=1000)
    found = check_rows(objective, rows, setting(objective, 400))
    bodies = sum(len([t for t in doc if t not in (BOS, EOS)]) for doc, _ in found)
    noise = [len(span) for _, spans in found for span in spans]
    assert sum(noise) / bodies == pytest.approx(density, rel=0.03)
    assert np.mean(noise) == pytest.approx(mean_length, rel=0.04)


def test_short_documents_are_noise_as_often_as_long_ones(rows_of, setting):
    """Numbers of tokens are rounded at random, not down."""
    objective = SpanCorruption(density=0.15)
    tokens = np.tile([1, 7, 8, 2, 1, 9, 10, 2] + [0] * 56, (2000, 1))
    segments = np.tile([1] * 4 + [2] * 4 + [0] * 56, (2000, 1))
    found = check_rows(objective, rows_of(tokens, segments), setting(objective, 64))
    noise = sum(len(span) for _, spans in found for span in spans)
    assert noise / 8000 == pytest.approx(0.15, rel=0.08)


def test_every_token_is_noise_equally_often(rows_of, setting):
    objective = SpanCorruption(density=0.25, mean_length=3)
    body = np.arange(3, 33)
    tokens, segments = np.tile(body, (2000, 1)), np.ones((2000, 30), int)
    found = check_rows(objective, rows_of(tokens, segments), setting(objective, 30))
    noise = np.concatenate([span for _, spans in found for span in spans])
    rates = np.bincount(noise, minlength=33)[3:] / 2000
    assert np.abs(rates[3:-3] - 0.25).max() < 0.05
    assert np.abs(rates - 0.25).max() < 0.16  # the ends have fewer ways to lie in a span


def test_a_row_of_padding_has_no_target(rows_of, setting):
    for objective in (SpanCorruption(), SpanCorruption(layout="prefix"), MixtureOfDenoisers()):
        row = objective.lengths(64).row
        nothing = np.zeros((3, row), int)
        batch = objective.batch(rows_of(nothing, nothing), setting(objective, 64))
        for array in (batch.targets.weights_BT, batch.decoder.segments_BT):
            assert not array.any()


def test_a_sequential_denoiser_takes_the_end(random_rows, setting):
    last = Denoiser(density=0.25, mean_length=None, mode="<S>")
    objective = MixtureOfDenoisers(denoisers=(last,))
    found = check_rows(
        objective, random_rows(50, objective.lengths(100).row, mean=30), setting(objective, 100)
    )
    assert any(spans for _, spans in found)
    for document, spans in found:
        assert len(spans) <= 1
        if spans:
            body = document[:-1] if document[-1] == EOS else document
            assert body[-len(spans[0]) :] == spans[0]


def test_each_document_draws_its_denoiser_by_weight(random_rows, setting):
    short = Denoiser(density=0.2, mean_length=4, mode="<A>")
    long = Denoiser(density=0.2, mean_length=None, mode="<B>")
    objective = MixtureOfDenoisers(denoisers=(short, long), weights=(3.0, 1.0))
    rows = random_rows(200, objective.lengths(200).row, mean=60)
    batch = objective.batch(rows, now := setting(objective, 200))
    first = batch.encoder.tokens_BT[batch.encoder.positions_BT == 0]
    counts = [np.count_nonzero(first == now.extra_ids[name]) for name in ("<A>", "<B>")]
    assert counts[0] / sum(counts) == pytest.approx(0.75, abs=0.06)
    check_rows(objective, rows, now)


def test_where_a_row_would_overflow_the_documents_that_give_way_are_random(rows_of, setting):
    """60 documents of 4 tokens, each of them half noise, do not fit beside one another."""
    objective = SpanCorruption(density=0.5, mean_length=1, num_sentinels=120)
    tokens = np.tile([5, 6, 7, 8] * 60, (200, 1))
    segments = np.tile(np.repeat(np.arange(1, 61), 4), (200, 1))
    batch = objective.batch(rows_of(tokens, segments), setting(objective, 240))
    decoder = batch.decoder.segments_BT
    assert ((decoder != 0).mean(axis=1) > 0.98).all()
    taken = np.array([[(row == s).any() for s in range(1, 61)] for row in decoder])
    assert 0.5 < taken.mean() < 1
    assert np.ptp(taken.mean(axis=0)) < 0.25
    check_rows(objective, rows_of(tokens[:5], segments[:5]), setting(objective, 240))
