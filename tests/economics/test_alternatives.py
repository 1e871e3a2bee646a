"""Totals of the three ways: parts add up, and each figure pulls where it should."""

import pytest

from nanojaxlm.economics.alternatives import (
    API,
    BUILD,
    TUNE,
    alternatives,
    cheapest,
    costs,
    final_run_hours,
)
from nanojaxlm.economics.serving import Served


@pytest.fixture
def totals(project):
    """Dollars of each way."""

    def of(a, **changes):
        return {name: parts.total() for name, parts in costs(project(**changes), a).items()}

    return of


def test_parts_add_up_to_totals_year_by_year(project, assumptions):
    for found in alternatives(project(), assumptions()):
        assert sum(found.parts.values()) == pytest.approx(found.totals[-1].central)
        assert len(found.totals) == 3
        steps = [total.central for total in found.totals]
        assert steps == sorted(steps) and found.once <= steps[0]
        for total in found.totals:
            assert 0 <= total.low <= total.central <= total.high
        queries = 3 * 12 * 1e6
        assert found.dollars_per_query == pytest.approx(found.totals[-1].central / queries)


def test_an_api_costs_its_tokens_and_its_people(assumptions, totals):
    a = assumptions(2e6)
    once = a["api.staff"] * a["api.months"] / 12 * a["staff.cost_per_year"]
    yearly = a["api.upkeep_staff"] * a["staff.cost_per_year"]
    price = a["use.input_tokens"] * a["api.input_price"]
    price += a["use.output_tokens"] * a["api.output_price"]
    by_hand = once + 3 * (yearly + 12 * 2e6 * price / 1e6)
    assert totals(a)[API] == pytest.approx(by_hand)
    tuned = totals(a, domain_specific=True)[API]
    assert tuned == pytest.approx(
        by_hand + 3 * 12 * 2e6 * price / 1e6 * (a["api.tuned_factor"] - 1)
    )


def test_each_figure_raises_what_it_is_a_part_of_and_nothing_else(assumptions, totals):
    a, now = assumptions(1e9), totals(assumptions(1e9))
    for name, dearer in (
        ("h100.price_per_hour", {BUILD, TUNE}),
        ("build.staff", {BUILD}),
        ("build.experiments", {BUILD}),
        ("build.data_cost", {BUILD}),
        ("build.refresh", {BUILD}),
        ("tune.tokens", {TUNE}),
        ("tune.base_params", {TUNE}),
        ("tune.upkeep_staff", {TUNE}),
        ("api.input_price", {API}),
        ("api.output_price", {API}),
        ("staff.cost_per_year", {BUILD, TUNE, API}),
        ("use.output_tokens", {BUILD, TUNE, API}),
    ):
        changed = totals(a.at(name, 2 * a[name]))
        assert {key for key in now if changed[key] > now[key]} == dearer, name
        assert all(changed[key] >= now[key] for key in now)


def test_costs_rise_with_use_size_and_years(assumptions, totals):
    by_use = [totals(assumptions(q)) for q in (0, 1e5, 1e7, 1e9)]
    by_years = [totals(assumptions(), years=years) for years in (1, 2, 3)]
    sizes = [Served(params=n, active_params=n) for n in (1e9, 7e9, 70e9)]
    by_size = [totals(assumptions(1e8), model=model) for model in sizes]
    for name in (BUILD, TUNE, API):
        for series in (by_use, by_years, by_size):
            values = [found[name] for found in series]
            assert values == sorted(values)
    assert by_size[0][BUILD] < by_size[2][BUILD] and by_size[0][API] == by_size[2][API]


def test_a_corpus_is_trained_on_further_where_the_domain_asks_for_it(assumptions, totals):
    a = assumptions()
    plain = totals(a, corpus_tokens=1e11)
    special = totals(a, corpus_tokens=1e11, domain_specific=True)
    assert special[TUNE] > plain[TUNE] and special[BUILD] == plain[BUILD]


def test_constraints_leave_out_what_they_forbid(project, assumptions):
    a = assumptions(1e3)
    assert cheapest(project(), a) == API
    assert cheapest(project(data_stays=True), a) == TUNE
    assert cheapest(project(data_stays=True, no_open_model=True), a) == BUILD
    found = {one.name: one.excluded for one in alternatives(project(data_stays=True), a)}
    assert found[API] == "the data must not leave the house" and found[BUILD] is None


def test_hours_paid_for_hold_what_failures_cost(project, assumptions):
    a = assumptions()
    few, many = (final_run_hours(project(chips=chips), a) for chips in (8, 16_384))
    assert many > few > 0
