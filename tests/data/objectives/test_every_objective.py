"""What holds of every objective: pure functions of each row and its place, of static shapes."""

import json

import jax
import numpy as np
import pytest

from nanojaxlm.data.draws import Draws
from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.objectives import (
    CausalLM,
    FillInTheMiddle,
    MaskedLM,
    Mixture,
    MixtureOfDenoisers,
    NextTokens,
    PrefixLM,
    SpanCorruption,
)
from nanojaxlm.typed_config import dump_json, from_config_dict, to_config_dict

DECODER = (CausalLM(), FillInTheMiddle(), PrefixLM(), SpanCorruption(layout="prefix"))
BOTH = (SpanCorruption(), MixtureOfDenoisers(), PrefixLM(layout="encoder"))
OBJECTIVES = [
    *DECODER,
    *BOTH,
    MixtureOfDenoisers(layout="prefix", weights=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)),
    PrefixLM(layout="encoder", split=0.3),
    PrefixLM(split=0.7),
    NextTokens(num_tokens=3),
    MaskedLM(),
    MaskedLM(keep=0.0, random=0.0, rate=0.4, whole_words=True),
    Mixture(objectives=DECODER, weights=(0.5, 0.25, 0.125, 0.125)),
    Mixture(objectives=BOTH),
    Mixture(objectives=(MaskedLM(), MaskedLM(rate=0.3, whole_words=True))),
]
LENGTH = 64


@pytest.fixture(params=OBJECTIVES, ids=lambda one: type(one).__name__)
def objective(request):
    return request.param


@pytest.fixture
def rows(objective, random_rows):
    sizes = objective.lengths(LENGTH)
    return random_rows(24, sizes.row + sizes.ahead, mean=20)


@pytest.fixture
def batch(objective, rows, setting):
    return objective.batch(rows, setting(objective, LENGTH))


def leaves(batch):
    return [(jax.tree_util.keystr(path), array) for path, array in jax.tree.leaves_with_path(batch)]


def test_shapes_and_types_are_those_that_it_says(objective, batch):
    sizes = objective.lengths(LENGTH)
    assert (batch.encoder is not None, batch.decoder is not None) == (
        objective.encodes,
        objective.decodes,
    )
    assert (sizes.encoder is not None, sizes.decoder is not None) == (
        objective.encodes,
        objective.decodes,
    )
    last = sizes.decoder if objective.decodes else sizes.encoder
    assert len(batch.future) == objective.num_future
    for name, array in leaves(batch):
        assert array.shape == (24, sizes.encoder if ".encoder" in name else last), name
        assert array.dtype == (np.float32 if "weights" in name else np.int32), name


def test_padding_has_no_token_and_no_weight(batch):
    for stream in (batch.encoder, batch.decoder):
        if stream is not None:
            padding = stream.segments_BT == 0
            assert padding.any()
            assert not stream.tokens_BT[padding].any()
            used = (~padding).sum(axis=1)
            assert (padding == (np.arange(padding.shape[1]) >= used[:, None])).all()
    last = batch.decoder if batch.decoder is not None else batch.encoder
    for targets in (batch.targets, *batch.future):
        assert not targets.weights_BT[last.segments_BT == 0].any()
        assert set(np.unique(targets.weights_BT)) == {0.0, 1.0}
        assert not targets.weights_BT[1].any()  # a row of padding only


def test_positions_count_from_the_start_of_each_segment(batch):
    for stream in (batch.encoder, batch.decoder):
        if stream is None:
            continue
        for segments, positions in zip(stream.segments_BT, stream.positions_BT, strict=True):
            for segment in set(segments[segments > 0].tolist()):
                here = positions[segments == segment]
                np.testing.assert_array_equal(here, np.arange(len(here)))


def test_a_row_is_the_same_alone_and_among_others(objective, rows, batch, setting):
    """So batches do not depend on how many processes share them."""
    for part in ([0], [5, 2], list(range(1, 24, 2)), []):
        alone = objective.batch(rows.at(np.array(part, int)), setting(objective, LENGTH))
        for (name, one), (other_name, whole) in zip(leaves(alone), leaves(batch), strict=True):
            assert name == other_name
            np.testing.assert_array_equal(one, whole[part], err_msg=name)


def test_another_seed_or_place_draws_otherwise(objective, rows, batch, setting):
    deterministic = isinstance(objective, (CausalLM, NextTokens)) or (
        isinstance(objective, PrefixLM) and objective.split is not None
    )
    again = objective.batch(rows, setting(objective, LENGTH))
    for draws in (Draws.of(1, np.arange(24)), Draws.of(0, 24 + np.arange(24))):
        other = objective.batch(rows._replace(draws=draws), setting(objective, LENGTH))
        same = [
            np.array_equal(one, two)
            for (_, one), (_, two) in zip(leaves(batch), leaves(other), strict=True)
        ]
        assert all(same) == deterministic
    for (_, one), (_, two) in zip(leaves(batch), leaves(again), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_rows_are_not_changed(objective, rows, setting):
    tokens, segments = rows.tokens_BS.copy(), rows.segments_BS.copy()
    objective.batch(rows, setting(objective, LENGTH))
    np.testing.assert_array_equal(rows.tokens_BS, tokens)
    np.testing.assert_array_equal(rows.segments_BS, segments)


def test_extra_tokens_are_distinct_and_hashing_is_possible(objective):
    assert len(set(objective.extra_tokens)) == len(objective.extra_tokens)
    assert hash(objective) == hash(objective)


def test_it_goes_through_a_config_dict_and_json_and_back(objective):
    config = DataConfig(stores=("a",), objective=objective)
    assert from_config_dict(DataConfig, to_config_dict(config)) == config
    assert from_config_dict(DataConfig, json.loads(dump_json(config))) == config
