"""What a budget buys."""

import pytest

from nanojaxlm.economics.answer import with_queries
from nanojaxlm.economics.means import means
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.errors import UserError

A = with_queries(ASSUMPTIONS, 1e6)


def flops(**given):
    return means(Question(params=1e9, **given), A, "hopper").flops


def test_flops_are_in_proportion_to_money_and_to_days():
    assert flops(budget=2e5) == pytest.approx(2 * flops(budget=1e5))
    assert flops(days=20.0, chips=8) == pytest.approx(2 * flops(days=10.0, chips=8))
    assert flops() == float("inf")


def test_money_pays_hours_at_their_price_and_experiments_too():
    hours = 1e5 / A["h100.price_per_hour"] / (1 + A["build.experiments"])
    most = hours * 3600 * A["h100.flops_per_second"] * A["mfu.hopper"]
    assert 0.95 * most < flops(budget=1e5) <= most  # less what failures lose


def test_the_tighter_of_both_counts():
    money, time = flops(budget=1e5), flops(days=1.0, chips=8)
    assert flops(budget=1e5, days=1.0, chips=8) == pytest.approx(min(money, time), rel=0.01)


def test_a_budget_that_buys_nothing_is_told():
    for given in ({"budget": 1e-6}, {"days": 1e-9, "chips": 1}):
        with pytest.raises(UserError, match="the budget buys nothing"):
            flops(**given)
