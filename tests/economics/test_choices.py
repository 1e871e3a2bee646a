"""Other sizes: of the same compute, or of the same loss."""

import pytest

from nanojaxlm.economics.choices import choices, loss_curve
from nanojaxlm.economics.scaling import CHINCHILLA

ASKED = {"params": 7e9, "tokens": 2e12}


def found(use_tokens=0.0, unique_tokens=None):
    made = choices(CHINCHILLA, *ASKED.values(), use_tokens, unique_tokens, 1e-18)
    return {choice.name: choice for choice in made}


def test_what_costs_the_same_costs_the_same_and_the_optimum_is_best():
    by_name = found()
    asked = by_name["as asked"]
    same = [c for name, c in by_name.items() if not name.startswith("same loss")]
    for choice in same:
        assert choice.flops == pytest.approx(asked.flops)
        assert choice.accelerator_hours == pytest.approx(asked.flops * 1e-18)
        assert choice.loss >= by_name["compute-optimal"].loss - 1e-12


def test_the_same_loss_is_the_same_loss_for_less():
    by_name = found(use_tokens=1e13)
    asked = by_name["as asked"]
    train = by_name["same loss, least compute to train"]
    use = by_name["same loss, least compute with use"]
    assert train.loss == pytest.approx(asked.loss) == use.loss
    assert train.flops <= min(asked.flops, use.flops)
    assert use.lifetime_flops <= min(asked.lifetime_flops, train.lifetime_flops)
    assert use.params < train.params  # much use favours smaller models


def test_repetition_costs_loss():
    plain, repeated = found(), found(unique_tokens=1e11)
    assert repeated["as asked"].loss > plain["as asked"].loss


def test_the_curve_has_its_least_loss_at_the_optimum():
    curve = loss_curve(CHINCHILLA, 1e22, None)
    best = curve.params[curve.losses.index(min(curve.losses))]
    assert best == pytest.approx(CHINCHILLA.optimal(1e22)[0], rel=0.1)
