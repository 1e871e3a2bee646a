"""Which model on how many tokens: what was given, and from it what was not."""

import math
from dataclasses import dataclass

from nanojaxlm.config import Config
from nanojaxlm.economics.compute import exact_per_token
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.means import Means
from nanojaxlm.economics.numbers import amount
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.scaling import Law, effective_tokens
from nanojaxlm.economics.shape import count, typical_config
from nanojaxlm.errors import UserError

# Tokens of a row where nothing says so, from so many parameters on: as GPT-2, GPT-3 and Llama 2.
LENGTHS = ((0.0, 512), (1e7, 1024), (1e8, 2048), (1e9, 4096))
LEAST_PARAMS, MOST_PARAMS = 1e4, 1e14


@dataclass(frozen=True, kw_only=True)
class Subject:
    """params, active_params: of the config. name: its file. given: whether the config is the user's
    own, or a typical decoder of so many parameters. how: where both come from, in words."""

    config: Config
    name: str
    given: bool
    params: float
    active_params: float
    tokens: float
    how: str


def subject(question: Question, assumptions: Assumptions, law: Law, available: Means) -> Subject:
    """What is asked for, completed.

    Raises:
        UserError: the model's loss cannot be had, or it is absurdly small or large.
    """
    params, active = _given_size(question)
    tokens = question.tokens
    if question.config is not None and tokens is None and question.corpus_tokens is None:
        tokens = _own_tokens(question.config)
    how = ["model and tokens as given"]
    corpus = question.corpus_tokens
    if active is None and tokens is None and corpus is None:
        active, tokens, words = _both(question, assumptions, law, available)
        how = [words]
    elif active is None:
        if tokens is None:
            assert corpus is not None
            tokens, words = corpus, "tokens: one epoch of the corpus"
            how = [words]
        active, words = _size_for(question, law, available, tokens, corpus)
        how.append(words)
    elif tokens is None:
        tokens, words = _tokens_for(question, assumptions, law, available, active)
        how = ["model as given", words]
    assert active is not None and tokens is not None
    params = params or active
    if not LEAST_PARAMS <= params <= MOST_PARAMS:
        raise UserError(
            f"that asks for a model of {params:.3g} parameters, which is no size to plan for "
            f"({LEAST_PARAMS:.0e} to {MOST_PARAMS:.0e}); change --tokens, --budget or give --params"
        )
    config = question.config
    if config is None and active < LEAST_PARAMS:
        raise UserError(
            f"--active_params={active:g} is no size to plan for ({LEAST_PARAMS:.0e} up)"
        )
    if config is None:
        usual = next(length for least, length in reversed(LENGTHS) if params >= least)
        length = question.sequence_length or usual
        config = typical_config(params, length, active if active < params else None)
    return Subject(
        config=config,
        name=question.config_name,
        given=question.config is not None,
        params=params,
        active_params=active,
        tokens=tokens,
        how="; ".join(how[-2:]),
    )


def _given_size(question: Question) -> tuple[float | None, float | None]:
    if question.config is not None:
        params, active = count(question.config)
        return float(params), float(active)
    return question.params, question.active_params or question.params


def _own_tokens(config: Config) -> float:
    return float(config.training.steps * config.data.batch_size * config.data.lengths.row)


def _both(
    question: Question, assumptions: Assumptions, law: Law, available: Means
) -> tuple[float, float, str]:
    if question.target_loss is not None:
        _check_reachable(question.target_loss, law)
        use = inference_tokens(question, assumptions)
        params, tokens = law.cheapest(question.target_loss, use)
        words = f"the cheapest model of loss {question.target_loss:g}"
        return params, tokens, words + (f", {amount(use)} tokens of use counted" if use else "")
    assert math.isfinite(available.flops)
    params, tokens = law.optimal(available.flops)
    return params, tokens, f"compute-optimal: {available.why}"


def _size_for(
    question: Question, law: Law, available: Means, tokens: float, corpus: float | None
) -> tuple[float, str]:
    if question.target_loss is not None:
        _check_reachable(question.target_loss, law)
        worth = effective_tokens(corpus, tokens) if corpus else tokens
        left = question.target_loss - law.E - law.B * worth**-law.beta
        if left <= 0:
            raise UserError(
                f"{amount(tokens)} tokens reach no loss of {question.target_loss:g} with a model "
                "of any size, by the scaling law; give more --tokens or a higher --target_loss"
            )
        return (law.A / left) ** (1 / law.alpha), f"size: for a loss of {question.target_loss:g}"
    if math.isfinite(available.flops):
        return available.flops / (6 * tokens), f"size: {available.why}"
    return law.optimal_params(tokens), "size: compute-optimal for so many tokens"


def _tokens_for(
    question: Question, assumptions: Assumptions, law: Law, available: Means, active: float
) -> tuple[float, str]:
    corpus, most = question.corpus_tokens, assumptions["data.max_epochs"]
    if question.target_loss is not None:
        tokens = law.tokens_for(question.target_loss, active)
        if not math.isfinite(tokens):
            raise UserError(
                f"a model of {amount(active)} parameters reaches no loss of "
                f"{question.target_loss:g} on any number of tokens, by the scaling law (its floor "
                f"is {law.E + law.A * active**-law.alpha:.3f}); take a larger one"
            )
        return tokens, f"tokens: for a loss of {question.target_loss:g}"
    if math.isfinite(available.flops):
        each = 6 * active
        if question.config is not None:
            each = exact_per_token(question.config) / assumptions["mfu.exact_over_6nd"]
        return available.flops / each, f"tokens: {available.why}"
    optimal = law.optimal_tokens(active)
    if corpus is not None:
        tokens = min(most * corpus, max(corpus, optimal))
        return tokens, f"tokens: {tokens / corpus:.3g} epochs of the corpus"
    return optimal, "tokens: compute-optimal for that size"


def inference_tokens(question: Question, assumptions: Assumptions) -> float:
    """Read and written over all years of use."""
    a = assumptions
    each = a["use.input_tokens"] + a["use.output_tokens"]
    months = sum(12 * (1 + a["use.growth"]) ** year for year in range(question.years))
    return question.queries_per_month * months * each


def _check_reachable(loss: float, law: Law) -> None:
    if loss <= law.E:
        raise UserError(
            f"--target_loss={loss:g}: no model reaches it, by the scaling law ({law.source}) the "
            f"loss falls towards {law.E:.3f} nats a token; ask for more than that"
        )
