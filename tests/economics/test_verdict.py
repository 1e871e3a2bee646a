"""What is said: the choice, its reasons, and what would turn it around."""

import pytest

from nanojaxlm.economics.alternatives import API, BUILD, TUNE, alternatives
from nanojaxlm.economics.break_even import break_even
from nanojaxlm.economics.sensitivity import Flip, flips, odds
from nanojaxlm.economics.verdict import flip_words, quantity, verdict


@pytest.fixture
def told(project, assumptions):
    """The verdict on a project."""

    def of(queries=1e6, **changes):
        asked, a = project(**changes), assumptions(queries)
        evens = [break_even(asked, a, BUILD, API), break_even(asked, a, BUILD, TUNE)]
        return verdict(
            asked,
            alternatives(asked, a),
            flips(asked, a),
            odds(asked, a, 50),
            evens,
            ["q"],
            ["limit"],
        )

    return of


def test_the_choice_is_the_cheapest_that_is_left(told):
    assert told(1e3).choice == API and told(1e3).headline.startswith("Use an API")
    assert told(1e3, data_stays=True).choice == TUNE
    alone = told(1e3, data_stays=True, no_open_model=True)
    assert alone.choice == BUILD and alone.headline == "Build your own model"
    assert alone.sure and "it is the only way that the constraints leave" in alone.reasons


def test_what_is_excluded_is_told_and_not_compared(told):
    kept = told(data_stays=True)
    assert "an API is out: the data must not leave the house" in kept.reasons
    assert not any("beats an API" in reason for reason in kept.reasons)


def test_a_plausible_flip_makes_it_unsure(told):
    far, near = told(1.0), told(3e6)
    assert far.sure == ("within reach" not in far.headline)
    assert near.sure == ("within reach" not in near.headline)
    assert not near.sure and near.flips


def test_limits_come_before_quality(told):
    assert told().caveats == ("limit", "q")


def test_words_of_a_flip_name_the_constant_its_value_and_the_direction():
    flip = Flip(
        name="api.output_price", what="of an answer", unit="$/million tokens", value=10.0, at=47.5,
        to=TUNE, plausible=False,
    )  # fmt: skip
    words = flip_words(flip)
    assert words == (
        "fine-tuning an open model would be cheapest with api.output_price (of an answer) at "
        "$47.5/million tokens or more, now $10/million tokens (beyond its plausible range)"
    )


def test_quantities_are_written_in_their_unit():
    assert quantity(0.432, "fraction") == "43.2%"
    assert quantity(2.5, "$/chip-hour") == "$2.50/chip-hour"
    assert quantity(50_677, "chip-hours") == "50.7k chip-hours"
    assert quantity(0.05, "fraction/year") == "5%/year"
