"""What matters most, and what turns the choice around."""

import pytest

from nanojaxlm.economics.alternatives import API, BUILD, TUNE, cheapest, costs
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.sensitivity import flips, odds, other_than, tornado


def test_bars_are_sorted_and_are_the_totals_at_their_ends(project, assumptions):
    a = assumptions()
    bars = tornado(a, lambda x: costs(project(), x)[BUILD].total())
    assert [bar.size for bar in bars] == sorted((bar.size for bar in bars), reverse=True)
    for bar in bars:
        for value, dollars in ((bar.low, bar.at_low), (bar.high, bar.at_high)):
            assert costs(project(), a.at(bar.name, value))[BUILD].total() == pytest.approx(dollars)
    names = {bar.name for bar in bars}
    assert "staff.cost_per_year" in names and not any(name.startswith("api.") for name in names)
    assert not any(name.startswith("v5e") for name in names)


def test_each_flip_turns_the_choice_just_there(project, assumptions):
    a = assumptions()
    now = cheapest(project(), a)
    found = flips(project(), a)
    assert found
    for flip in found:
        assert cheapest(project(), a.at(flip.name, flip.at)) == flip.to != now
        nearer = flip.value + (flip.at - flip.value) * 0.98
        assert cheapest(project(), a.at(flip.name, nearer)) == now, flip.name
        low, high = a.constant(flip.name).low, a.constant(flip.name).high
        assert flip.plausible == (low <= flip.at <= high)
    assert [flip.plausible for flip in found] == sorted((f.plausible for f in found), reverse=True)


def test_the_saving_is_against_the_cheapest_that_is_a_choice(project, assumptions):
    a = assumptions()
    totals = {name: parts.total() for name, parts in costs(project(), a).items()}
    saved = min(totals[TUNE], totals[API]) - totals[BUILD]
    assert other_than(project(), a, BUILD) == pytest.approx(saved)
    kept = other_than(project(data_stays=True), a, BUILD)
    assert kept == pytest.approx(totals[TUNE] - totals[BUILD])
    alone = other_than(project(data_stays=True, no_open_model=True), a, BUILD)
    assert alone == pytest.approx(-totals[BUILD])


def test_odds_are_those_of_choices_and_follow_what_they_hang_on(project, assumptions):
    rare, often = (odds(project(), assumptions(queries), 200) for queries in (1e3, 1e9))
    for found in (rare, often):
        assert sum(found.values()) == pytest.approx(1.0)
    assert rare[API] > 0.9 and often.get(API, 0.0) < 0.2
    assert API not in odds(project(data_stays=True), assumptions(), 50)
    assert odds(project(), assumptions(), 50) == odds(project(), assumptions(), 50)


def test_nothing_is_left_to_chance_where_nothing_is_unknown(project, assumptions):
    a = assumptions()
    for row in a.rows:
        a = a.overriding(row.name, Range.exact(row.value))
    assert odds(project(), a, 10) == {cheapest(project(), a): 1.0}
