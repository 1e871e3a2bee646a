"""The laws of loss: monotone, least where they say so, and the published figures."""

import math

import numpy as np
import pytest

from nanojaxlm.economics.scaling import BESIROGLU, CHINCHILLA, HOFFMANN, Law, effective_tokens

LAWS = pytest.mark.parametrize("law", [HOFFMANN, BESIROGLU], ids=["hoffmann", "besiroglu"])


@LAWS
def test_more_parameters_and_more_tokens_lower_the_loss_towards_its_floor(law):
    amounts = np.geomspace(1e6, 1e15, 30)
    for losses in ([law.loss(n, 1e10) for n in amounts], [law.loss(1e9, d) for d in amounts]):
        assert np.all(np.diff(losses) < 0)
        assert min(losses) > law.E
    assert law.loss(1e40, 1e40) == pytest.approx(law.E)


@LAWS
@pytest.mark.parametrize("flops", [1e18, 5.76e23, 1e26])
def test_no_other_split_of_the_compute_has_a_lower_loss(law, flops):
    params, tokens = law.optimal(flops)
    assert 6 * params * tokens == pytest.approx(flops)
    others = [law.loss(n, flops / 6 / n) for n in params * np.geomspace(0.01, 100, 401)]
    assert law.loss(params, tokens) <= min(others) * (1 + 1e-12)
    assert min(others) == pytest.approx(law.loss(params, tokens), rel=1e-9)  # the grid holds it


@LAWS
def test_optimal_tokens_and_parameters_belong_to_one_optimum(law):
    params, tokens = law.optimal(1e22)
    assert law.optimal_tokens(params) == pytest.approx(tokens)
    assert law.optimal_params(tokens) == pytest.approx(params)


def test_at_chinchillas_compute_the_optimum_is_chinchilla():
    params, tokens = CHINCHILLA.optimal(5.76e23)  # 70B parameters, 1.4T tokens
    assert params == pytest.approx(70e9, rel=0.1)
    assert 15 < tokens / params < 25


def test_hoffmanns_own_fit_asks_for_several_times_their_tokens():
    params, tokens = HOFFMANN.optimal(5.76e23)
    assert tokens / params > 60


@LAWS
def test_the_tokens_for_a_loss_give_that_loss(law):
    for loss in (2.0, 2.3, 3.0):
        tokens = law.tokens_for(loss, 7e10)
        assert law.loss(7e10, tokens) == pytest.approx(loss)


def test_a_loss_below_what_the_size_allows_takes_tokens_without_end():
    assert math.isinf(CHINCHILLA.tokens_for(1.9, 1e9))
    assert math.isinf(CHINCHILLA.tokens_for(CHINCHILLA.E, 1e12))


@LAWS
@pytest.mark.parametrize("used", [0.0, 1.0, 1e9, 1e13, 1e16])
def test_no_other_size_reaches_the_loss_with_less_compute_over_its_life(law, used):
    params, tokens = law.cheapest(2.2, used)
    assert law.loss(params, tokens) == pytest.approx(2.2)

    def compute(n):
        return 6 * n * law.tokens_for(2.2, n) + 2 * n * used

    others = [compute(n) for n in params * np.geomspace(0.3, 30, 301)]
    assert compute(params) <= min(others) * (1 + 1e-9)


def test_without_use_the_cheapest_is_the_compute_optimal():
    params, tokens = CHINCHILLA.cheapest(2.2)
    assert CHINCHILLA.optimal(6 * params * tokens) == pytest.approx((params, tokens))


def test_the_more_a_model_is_used_the_smaller_and_longer_trained_it_is():
    found = [CHINCHILLA.cheapest(2.2, used) for used in (0.0, 1e10, 1e12, 1e14)]
    assert np.all(np.diff([params for params, _ in found]) < 0)
    assert np.all(np.diff([tokens for _, tokens in found]) > 0)


def test_a_loss_that_no_model_has_is_refused():
    for loss in (CHINCHILLA.E, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="no model reaches"):
            CHINCHILLA.cheapest(loss)


def test_an_over_trained_point_costs_as_much_and_loses_a_little():
    params, tokens = CHINCHILLA.at_compute(1e22, 200)
    assert 6 * params * tokens == pytest.approx(1e22)
    assert tokens / params == pytest.approx(200)
    best = CHINCHILLA.loss(*CHINCHILLA.optimal(1e22))
    assert best < CHINCHILLA.loss(params, tokens) < 1.05 * best


def test_repeated_tokens_are_worth_less_than_new_ones_but_not_nothing():
    totals = np.linspace(0.1, 100, 500)
    worth = [effective_tokens(1.0, total) for total in totals]
    assert np.all(np.diff(worth) > 0)
    assert all(w <= total for w, total in zip(worth, totals, strict=True))
    assert effective_tokens(5e9, 3e9) == 3e9


def test_four_epochs_are_nearly_as_good_as_new_text_and_forty_are_not():
    assert effective_tokens(1e9, 4e9) > 0.9 * 4e9  # Muennighoff et al. 2023, section 1
    assert effective_tokens(1e9, 40e9) < 0.4 * 40e9
    assert effective_tokens(1e9, 1e15) == pytest.approx(16.387756e9)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_amounts_that_are_none_are_refused(bad):
    for call in (
        lambda: CHINCHILLA.loss(bad, 1e9),
        lambda: CHINCHILLA.loss(1e9, bad),
        lambda: CHINCHILLA.optimal(bad),
        lambda: CHINCHILLA.optimal_tokens(bad),
        lambda: CHINCHILLA.optimal_params(bad),
        lambda: CHINCHILLA.tokens_for(2.0, bad),
        lambda: CHINCHILLA.at_compute(1e20, bad),
        lambda: effective_tokens(bad, 1e9),
        lambda: effective_tokens(1e9, bad),
        lambda: Law(E=1.0, A=bad, alpha=0.3, B=1.0, beta=0.3, source=""),
    ):
        with pytest.raises(ValueError, match="must be above 0"):
            call()


def test_negative_use_is_refused():
    with pytest.raises(ValueError, match="inference_tokens must be >= 0"):
        CHINCHILLA.cheapest(2.2, -1.0)
