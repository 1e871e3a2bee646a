"""What was not given is completed, each way as it should be."""

import math

import pytest

from nanojaxlm.economics.answer import with_queries
from nanojaxlm.economics.means import means
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.scaling import CHINCHILLA
from nanojaxlm.economics.shape import typical_config
from nanojaxlm.economics.subject import inference_tokens, subject
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.errors import UserError

A = with_queries(ASSUMPTIONS, 1e6)


def of(**given):
    question = Question(**given)
    return subject(question, A, CHINCHILLA, means(question, A, "hopper"))


def test_given_is_given():
    found = of(params=6.74e9, tokens=2e12)
    assert (found.params, found.active_params, found.tokens) == (6.74e9, 6.74e9, 2e12)
    mixture = of(params=47e9, active_params=13e9, tokens=1e12)
    assert (mixture.params, mixture.active_params) == (47e9, 13e9)


def test_a_size_alone_is_trained_compute_optimally():
    assert of(params=7e9).tokens == pytest.approx(CHINCHILLA.optimal_tokens(7e9))
    assert of(tokens=1e12).params == pytest.approx(CHINCHILLA.optimal_params(1e12))


def test_a_budget_is_spent_and_no_more():
    for given in ({}, {"params": 3e9}, {"tokens": 1e11}):
        found = of(budget=1e6, **given)
        spent = 6 * found.active_params * found.tokens
        available = means(Question(budget=1e6), A, "hopper").flops
        assert spent == pytest.approx(available, rel=1e-6)


def test_a_target_is_met():
    for given in ({}, {"params": 7e9}, {"tokens": 1e12}, {"queries_per_month": 1e8}):
        found = of(target_loss=2.15, **given)
        assert CHINCHILLA.loss(found.active_params, found.tokens) == pytest.approx(2.15)
    used, unused = of(target_loss=2.15, queries_per_month=1e9), of(target_loss=2.15)
    assert used.params < unused.params


def test_a_corpus_is_repeated_only_as_far_as_it_pays():
    optimal = CHINCHILLA.optimal_tokens(7e9)
    assert of(params=7e9, corpus_tokens=2 * optimal).tokens == pytest.approx(2 * optimal)
    assert of(params=7e9, corpus_tokens=optimal / 2).tokens == pytest.approx(optimal)
    most = A["data.max_epochs"]
    assert of(params=7e9, corpus_tokens=1e9).tokens == pytest.approx(most * 1e9)
    assert of(corpus_tokens=1e11).tokens == pytest.approx(1e11)


def test_a_config_brings_its_own_steps():
    config = typical_config(1e8)
    found = of(config=config)
    lengths = config.data.lengths
    assert found.tokens == config.training.steps * config.data.batch_size * lengths.row
    assert found.given and found.params == pytest.approx(1e8, rel=0.02)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target_loss": 1.5}, "no model reaches it"),
        ({"target_loss": 2.0, "params": 1e6}, "take a larger one"),
        ({"target_loss": 2.0, "tokens": 1e8}, "of any size"),
        ({"tokens": 1e-3}, "no size to plan for"),
        ({"params": 1e20}, "no size to plan for"),
    ],
)
def test_what_cannot_be_is_told(given, words):
    with pytest.raises(UserError, match=words):
        of(**given)


def test_use_over_the_years_counts_growth():
    each = A["use.input_tokens"] + A["use.output_tokens"]
    question = Question(params=1e9, queries_per_month=100.0, years=2)
    assert inference_tokens(question, A) == pytest.approx(24 * 100 * each)
    grown = A.at("use.growth", 0.5)
    assert inference_tokens(question, grown) == pytest.approx(12 * 100 * each * 2.5)
    assert math.isclose(inference_tokens(Question(params=1e9), A), 0)
