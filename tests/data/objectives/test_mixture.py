"""Mixtures: each row is what its objective makes of it alone."""

import jax
import numpy as np
import pytest

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

DECODER = (CausalLM(), FillInTheMiddle(), PrefixLM(), MixtureOfDenoisers(layout="prefix"))


def padded(array: np.ndarray, width: int) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, width - array.shape[1])))


@pytest.mark.parametrize(
    "objectives",
    [DECODER, (SpanCorruption(), PrefixLM(layout="encoder")), (MaskedLM(), MaskedLM(rate=0.5))],
)
def test_each_row_is_what_its_objective_makes_of_it(random_rows, setting, objectives):
    mixture = Mixture(objectives=objectives)
    sizes = mixture.lengths(64)
    rows = random_rows(100, sizes.row + sizes.ahead, mean=25)
    now = setting(mixture, 64)
    mixed = jax.tree.leaves(mixture.batch(rows, now))
    found = np.zeros((len(objectives), 100), bool)
    for i, one in enumerate(objectives):
        alone = one.batch(rows.first(sizes.row + one.lengths(64).ahead), now)
        if mixture.batch(rows, now).decoder is not None and not mixture.encodes:
            decoder = alone.decoder
            prefix = np.zeros_like(decoder.tokens_BT)
            if decoder.prefix_BT is None:
                alone = alone._replace(decoder=decoder._replace(prefix_BT=prefix))
        leaves = [padded(a, m.shape[1]) for a, m in zip(jax.tree.leaves(alone), mixed, strict=True)]
        found[i] = np.all([(a == m).all(1) for a, m in zip(leaves, mixed, strict=True)], axis=0)
    assert found.any(axis=0).all()
    assert all(found[i].any() for i in range(len(objectives)))


def test_rows_are_those_of_the_shortest_and_streams_those_of_the_longest():
    sizes = Mixture(objectives=DECODER).lengths(64)
    each = [one.lengths(64) for one in DECODER]
    assert sizes == (min(one.row for one in each), 1, None, 64)
    both = (SpanCorruption(), PrefixLM(layout="encoder"), SpanCorruption(density=0.5))
    assert Mixture(objectives=both).lengths(64) == (64, 0, 64, 64)


def test_rows_are_drawn_by_weight(rows_of, setting):
    mixture = Mixture(objectives=(MaskedLM(rate=0.01), MaskedLM(rate=0.99)), weights=(3.0, 1.0))
    tokens = np.full((4000, 16), 7)
    batch = mixture.batch(rows_of(tokens, np.ones_like(tokens)), setting(mixture, 16))
    often = (batch.targets.weights_BT.mean(axis=1) > 0.5).mean()
    assert often == pytest.approx(0.25, abs=0.02)


def test_the_fields_do_not_depend_on_what_was_drawn(random_rows, setting):
    """Or the step would compile anew."""
    mixture = Mixture(objectives=(CausalLM(), PrefixLM()), weights=(1e-9, 1.0))
    other = Mixture(objectives=(CausalLM(), PrefixLM()), weights=(1.0, 1e-9))
    rows = random_rows(3, 65, mean=9)
    batches = [one.batch(rows, setting(one, 64)) for one in (mixture, other)]
    assert jax.tree.structure(batches[0]) == jax.tree.structure(batches[1])
    assert batches[0].decoder.prefix_BT.any() and not batches[1].decoder.prefix_BT.any()


def test_names_that_two_objectives_share_are_one_id(setting):
    few, many = SpanCorruption(num_sentinels=20), SpanCorruption(num_sentinels=40)
    mixture = Mixture(objectives=(few, MixtureOfDenoisers(num_sentinels=30), many))
    assert len(mixture.extra_tokens) == 40 + 3
    now = setting(mixture, 64)
    np.testing.assert_array_equal(few.sentinel_ids(now), many.sentinel_ids(now)[:20])
    assert len(set(many.sentinel_ids(now))) == 40


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"objectives": (CausalLM(),)}, "two or more"),
        ({"objectives": (CausalLM(), PrefixLM()), "weights": (1.0,)}, "one for each of the 2"),
        ({"objectives": (CausalLM(), PrefixLM()), "weights": (1.0, 0.0)}, "above 0"),
        ({"objectives": (CausalLM(), MaskedLM())}, "cannot be mixed: encodes is False and True"),
        ({"objectives": (SpanCorruption(), MaskedLM())}, "decodes is True and False"),
        ({"objectives": (CausalLM(), NextTokens())}, "num_future is 0 and 1"),
        ({"objectives": (PrefixLM(), SpanCorruption())}, "their layouts"),
    ],
)
def test_impossible_mixtures_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Mixture(**fields)
