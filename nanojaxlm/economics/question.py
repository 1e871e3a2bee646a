"""What the user knows and asks: checked alone and together before anything is computed."""

import math
from dataclasses import dataclass, fields

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError

MAX_YEARS = 10
_POSITIVE = (
    "params", "active_params", "tokens", "corpus_tokens", "budget", "days", "target_loss", "chips",
    "sequence_length", "years",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Question:
    """None: not known; the planner then chooses. Flags of nanojaxlm.plan have the same names."""

    params: float | None = None  # all of them
    active_params: float | None = None  # that one token meets, of a mixture
    config: Config | None = None  # instead of params
    config_name: str = ""  # its file and overrides, to be given again
    tokens: float | None = None  # to train on, repetitions included
    corpus_tokens: float | None = None  # distinct ones that there are
    corpus: str | None = None  # where
    budget: float | None = None  # dollars for accelerators, experiments included
    days: float | None = None  # wall time of the final run
    target_loss: float | None = None  # nats a token, of held-out text
    accelerator: str = "h100"  # a key of accelerators.CHIPS, or cpu
    chips: int | None = None
    sequence_length: int | None = None  # tokens of a row; None: the config's, or usual
    queries_per_month: float = 0.0
    years: int = 3  # of use, that totals are of
    buy: bool = False  # count machines as bought, not rented
    data_stays: bool = False  # data must not leave the house: no API
    domain_specific: bool = False  # a plain API or an open model as it is would not do
    no_open_model: bool = False  # none of the language, domain or licence that is needed

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not math.isfinite(value):
                raise UserError(f"--{field.name} must be a finite number, got {value}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"--{name} must be more than 0, got {value:g}")
        if self.queries_per_month < 0:
            raise UserError(f"--queries must be 0 or more, got {self.queries_per_month:g}")
        if self.years > MAX_YEARS:
            raise UserError(f"--years must be from 1 to {MAX_YEARS}, got {self.years}")
        self._check_together()

    def _check_together(self) -> None:
        if self.config is not None and (self.params or self.active_params):
            raise UserError(
                "--config and --params both say how large the model is; give one of them"
            )
        if self.active_params and not self.params:
            raise UserError("--active_params needs --params, the number of all parameters")
        if self.active_params and self.params and self.active_params > self.params:
            raise UserError(
                f"--active_params={self.active_params:g} is more than --params={self.params:g}: a "
                "token cannot meet more parameters than there are"
            )
        sizes = (self.params, self.config, self.tokens, self.corpus_tokens)
        means = (self.budget, self.target_loss, self.days and self.chips)
        if not any(sizes) and not any(means):
            raise UserError(
                "nothing says how large a model is asked for; give --params or --config, --tokens "
                "or --corpus, --budget, --target_loss, or --days together with --chips"
            )
        if self.target_loss and (self.params or self.config) and (self.tokens):
            raise UserError(
                "--target_loss, a model and --tokens are one too many: model and tokens give the "
                "loss; leave one of the three out"
            )
