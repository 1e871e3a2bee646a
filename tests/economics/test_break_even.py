"""Where two ways cost the same."""

import pytest

from nanojaxlm.economics.alternatives import API, BUILD, TUNE, at_volume, costs
from nanojaxlm.economics.break_even import break_even, volume_curve
from nanojaxlm.economics.ranges import Range


@pytest.fixture
def difference(project):
    """Dollars by which building is dearer than an API."""

    def of(a, queries):
        found = costs(project(), at_volume(a, queries))
        return found[BUILD].total() - found[API].total()

    return of


def test_at_the_break_even_both_cost_the_same_and_beyond_it_building_is_cheaper(
    project, assumptions, difference
):
    a = assumptions()
    at = break_even(project(), a, BUILD, API).queries_per_month
    assert difference(a, at) == pytest.approx(0, abs=1e-6 * costs(project(), a)[BUILD].total())
    assert difference(a, at / 1.5) > 0
    assert all(difference(a, at * factor) < 0 for factor in (1.01, 2, 10, 1000))


def test_a_dearer_api_brings_it_nearer(project, assumptions):
    a = assumptions()
    volumes = [
        break_even(project(), a.at("api.output_price", price), BUILD, API).queries_per_month
        for price in (5.0, 10.0, 50.0)
    ]
    assert volumes == sorted(volumes, reverse=True)


def test_where_lines_never_cross_it_says_so(project, assumptions):
    a = assumptions()
    for name in ("api.input_price", "api.output_price"):
        a = a.overriding(name, Range.exact(1e-6))
    assert break_even(project(), a, BUILD, API).queries_per_month is None
    bigger = a.overriding("tune.base_params", Range.exact(7e9))
    assert break_even(project(), bigger, BUILD, TUNE).queries_per_month is None  # served alike


def test_the_curve_is_of_the_totals(project, assumptions):
    a = assumptions()
    curve = volume_curve(project(), a, 1e4, 1e8, points=5)
    assert curve.queries_per_month == pytest.approx((1e4, 1e5, 1e6, 1e7, 1e8))
    assert curve.totals[API][2] == pytest.approx(costs(project(), a)[API].total())
