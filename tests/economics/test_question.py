"""Questions that cannot be are refused in words that say what to mend."""

import pytest

from nanojaxlm.economics.question import Question
from nanojaxlm.economics.shape import typical_config
from nanojaxlm.errors import UserError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"params": -1.0}, "--params must be more than 0"),
        ({"params": 1e9, "tokens": 0.0}, "--tokens must be more than 0"),
        ({"params": 1e9, "chips": -8}, "--chips must be more than 0"),
        ({"params": 1e9, "queries_per_month": -1.0}, "--queries must be 0 or more"),
        ({"params": float("nan")}, "--params must be a finite number"),
        ({"budget": float("inf")}, "--budget must be a finite number"),
        ({"params": 1e9, "years": 99}, "--years must be from 1 to 10"),
        ({"params": 1e9, "active_params": 2e9}, "more than --params"),
        ({"active_params": 2e9}, "--active_params needs --params"),
        ({}, "nothing says how large"),
        ({"days": 30.0}, "nothing says how large"),
        ({"target_loss": 2.2, "params": 1e9, "tokens": 1e9}, "one too many"),
    ],
)
def test_mistakes_are_told(given, words):
    with pytest.raises(UserError, match=words):
        Question(**given)


def test_config_and_params_are_one_too_many():
    with pytest.raises(UserError, match="--config and --params both"):
        Question(config=typical_config(1e6), params=1e6)


def test_each_way_to_say_a_size_is_enough():
    for given in ({"params": 1e9}, {"tokens": 1e9}, {"budget": 1e5}, {"target_loss": 2.5},
                  {"days": 3.0, "chips": 8}, {"corpus_tokens": 1e9}):  # fmt: skip
        Question(**given)
