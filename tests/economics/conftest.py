"""A project to weigh and assumptions for it; answers from the ordinary to the extreme."""

import dataclasses
from collections.abc import Callable

import pytest

from nanojaxlm.economics.alternatives import Project
from nanojaxlm.economics.answer import Answer, answer, with_queries
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.measured import Measured
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.serving import Served
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.errors import UserError

HOSTILE = "</pre><script>alert('x')</script>"


@pytest.fixture(scope="session")
def assumptions() -> Callable[..., Assumptions]:
    """The table, with so many queries a month."""
    return lambda queries=1e6: with_queries(ASSUMPTIONS, queries)


@pytest.fixture(scope="session")
def project() -> Callable[..., Project]:
    """7 billion parameters on 1 trillion tokens, with some fields changed."""
    seven_billion = Project(
        accelerator="h100",
        generation="hopper",
        chips=64,
        flops=6 * 7e9 * 1e12,
        model=Served(params=7e9, active_params=7e9),
        corpus_tokens=None,
        years=3,
        buy=False,
        data_stays=False,
        domain_specific=False,
        no_open_model=False,
    )
    return lambda **changes: dataclasses.replace(seven_billion, **changes)


def free() -> Assumptions:
    """All that may cost nothing does."""
    assumptions = ASSUMPTIONS
    for row in ASSUMPTIONS.rows:
        if row.unit.startswith("$") or "staff" in row.name:
            try:
                assumptions = assumptions.overriding(row.name, Range.exact(0.0), "--set")
            except UserError:
                continue  # a chip-hour and electricity have a price
    return assumptions


def dear_electricity() -> Assumptions:
    """So that buying never pays."""
    return ASSUMPTIONS.overriding("electricity.price_per_kwh", Range(50, 100, 200), HOSTILE)


def measured() -> Measured:
    """A run that was never evaluated, in a folder of a hostile name."""
    return Measured(
        workdir=f"/runs/{HOSTILE}",
        device="NVIDIA H100 80GB HBM3",
        num_devices=8,
        vocab_size=32_000,
        sequence_length=512,
        params=1e8,
        active_params=1e8,
        tokens=2e9,
        tokens_per_second=Range(9e5, 1e6, 1.1e6),
        mfu=Range(0.30, 0.35, 0.38),
        peak_flops_per_second=8 * 989e12,
        loss=None,
        bits_per_byte=None,
        bytes_per_token=None,
        fit=None,
    )


_QUESTIONS: dict[str, tuple[Question, Assumptions, Measured | None]] = {
    "llama": (
        Question(params=6.74e9, tokens=2e12, accelerator="a100-80gb", queries_per_month=1e6),
        ASSUMPTIONS,
        None,
    ),
    "toy": (Question(params=1e6, tokens=1e8, accelerator="v5e", chips=1), ASSUMPTIONS, None),
    "huge": (
        Question(params=1e12, tokens=2e13, chips=16_384, queries_per_month=1e9, years=10),
        ASSUMPTIONS,
        None,
    ),
    "mixture": (
        Question(params=671e9, active_params=37e9, corpus="our/texts",
                 corpus_tokens=3e12, tokens=14.8e12,
                 accelerator="h800", chips=2048, queries_per_month=3e9, domain_specific=True),
        ASSUMPTIONS,
        None,
    ),
    "only build": (
        Question(params=7e9, tokens=2e12, data_stays=True, no_open_model=True),
        ASSUMPTIONS,
        None,
    ),
    "free": (Question(params=1e9, tokens=2e10), free(), None),
    "dear": (
        Question(params=1e9, tokens=2e10, queries_per_month=1e8, years=1, buy=True),
        dear_electricity(),
        None,
    ),
    "measured": (
        Question(params=1e9, tokens=2e10, queries_per_month=1e5), ASSUMPTIONS, measured()
    ),
}  # fmt: skip


@pytest.fixture(scope="session", params=list(_QUESTIONS))
def found(request: pytest.FixtureRequest) -> Answer:
    """Each of the answers in turn."""
    return _answers(request.param)


@pytest.fixture(scope="session")
def llama() -> Answer:
    return _answers("llama")


@pytest.fixture(scope="session")
def answered():
    """answered(name) -> the answer of that name."""
    return _answers


_made: dict[str, Answer] = {}


def _answers(name: str) -> Answer:
    if name not in _made:
        _made[name] = answer(*_QUESTIONS[name])
    return _made[name]
