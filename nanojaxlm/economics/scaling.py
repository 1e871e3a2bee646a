"""How loss falls with parameters and tokens, and which of both a budget or a target asks for."""

import math
from dataclasses import dataclass

from scipy import optimize

TRAINING_FLOPS = 6.0  # a parameter and token: 2 forward, twice that backward
INFERENCE_FLOPS = 2.0


@dataclass(frozen=True, kw_only=True)
class Law:
    """L(N, D) = E + A/N^alpha + B/D^beta, nats a token (Hoffmann et al. 2022, section 3.3).

    E is what no model can learn of that text; source says whose fit it is. N counts embeddings too.
    Nats of one tokenizer and text cannot be compared with those of another.
    """

    E: float
    A: float
    alpha: float
    B: float
    beta: float
    source: str

    def __post_init__(self) -> None:
        for name in ("A", "alpha", "B", "beta"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.E < math.inf:
            raise ValueError(f"E must be >= 0, got {self.E}")

    def loss(self, params: float, tokens: float) -> float:
        _check(params=params, tokens=tokens)
        return self.E + self.A * params**-self.alpha + self.B * tokens**-self.beta

    def optimal(self, flops: float) -> tuple[float, float]:
        """The (params, tokens) of least loss with 6 N D = flops (Hoffmann et al. 2022, eq. 4)."""
        _check(flops=flops)
        both = self.alpha + self.beta
        scale = (self.alpha * self.A / (self.beta * self.B)) ** (1 / both)
        product = flops / TRAINING_FLOPS
        return scale * product ** (self.beta / both), product ** (self.alpha / both) / scale

    def optimal_tokens(self, params: float) -> float:
        """The tokens that so many parameters have where they are compute-optimal."""
        _check(params=params)
        # there, 1% more of either lowers the loss as much: alpha A/N^alpha = beta B/D^beta
        slope = self.alpha * self.A * params**-self.alpha
        return (self.beta * self.B / slope) ** (1 / self.beta)

    def optimal_params(self, tokens: float) -> float:
        """The parameters that so many tokens have where they are compute-optimal."""
        _check(tokens=tokens)
        slope = self.beta * self.B * tokens**-self.beta
        return (self.alpha * self.A / slope) ** (1 / self.alpha)

    def tokens_for(self, loss: float, params: float) -> float:
        """The tokens that bring a model to a loss; inf where no amount does."""
        _check(params=params)
        left = loss - self.E - self.A * params**-self.alpha
        return (self.B / left) ** (1 / self.beta) if left > 0 else math.inf

    def cheapest(self, loss: float, inference_tokens: float = 0.0) -> tuple[float, float]:
        """The (params, tokens) that reach a loss with the least compute over the model's life.

        That is 6 N D for training and 2 N for each token read or written later (Sardana et al.
        2024, "Beyond Chinchilla-Optimal", eq. 2): much use favours smaller models, trained longer.

        Raises:
            ValueError: no model reaches the loss.
        """
        if not loss > self.E:
            raise ValueError(f"no model reaches a loss of {loss}: the law's floor is {self.E}")
        if not 0 <= inference_tokens < math.inf:
            raise ValueError(f"inference_tokens must be >= 0, got {inference_tokens}")
        gap = loss - self.E

        # Of the gap, the data's term takes a part and the parameters' term the rest: then
        # dlogD/dlogN = -alpha rest / (beta part), and the compute is least where
        # 3 D (alpha rest / (beta part) - 1) = inference_tokens; the left side falls as part rises.
        def log_tokens(log_part: float) -> float:
            return (math.log(self.B / gap) - log_part) / self.beta

        def above(log_part: float) -> float:
            rest = -math.expm1(log_part)
            excess = self.alpha * rest / (self.beta * math.exp(log_part)) - 1
            if excess <= 0:
                return -math.inf
            ratio = math.log(TRAINING_FLOPS / INFERENCE_FLOPS / inference_tokens)
            return log_tokens(log_part) + math.log(excess) + ratio

        optimum = math.log(self.alpha / (self.alpha + self.beta))  # without inference
        log_part = optimum
        if inference_tokens:
            log_part = optimize.root_scalar(above, bracket=(-700, optimum), method="bisect").root
        params = (self.A / gap / -math.expm1(log_part)) ** (1 / self.alpha)
        return params, math.exp(log_tokens(log_part))

    def at_compute(self, flops: float, tokens_per_param: float) -> tuple[float, float]:
        """The (params, tokens) of that ratio that cost so much to train: 20 is near the optimum,
        more is over-trained."""
        _check(flops=flops, tokens_per_param=tokens_per_param)
        params = math.sqrt(flops / TRAINING_FLOPS / tokens_per_param)
        return params, params * tokens_per_param


HOFFMANN = Law(
    E=1.69, A=406.4, alpha=0.34, B=410.7, beta=0.28,
    source="Hoffmann et al. 2022, approach 3 (eq. 10)",
)  # fmt: skip
BESIROGLU = Law(
    E=1.8172, A=482.01, alpha=0.3478, B=2085.43, beta=0.3658,
    source="Besiroglu et al. 2024, a refit of Hoffmann et al. 2022",
)  # fmt: skip
# Hoffmann's own third fit stopped before it had converged and was printed rounded (Besiroglu et al.
# 2024): as printed it asks for 93 tokens a parameter at Chinchilla's compute, where their other two
# approaches, and the model they trained, have 20. The refit of the same runs agrees with those.
CHINCHILLA = BESIROGLU

REPETITION_DECAY = 15.387756  # R*_D of Muennighoff et al. 2023, appendix A


def effective_tokens(unique: float, total: float) -> float:
    """The unread tokens that are worth as much as `total` of which only `unique` differ.

    D' = U + U R* (1 - exp(-R/R*)), R = total/unique - 1 repetitions (Muennighoff et al. 2023,
    "Scaling Data-Constrained Language Models", eq. 5): up to 4 epochs nearly all of it, and never
    more than 1 + R* times the unique ones.
    """
    _check(unique=unique, total=total)
    if total <= unique:
        return total
    repetitions = total / unique - 1
    return unique * (1 - REPETITION_DECAY * math.expm1(-repetitions / REPETITION_DECAY))


def _check(**amounts: float) -> None:
    for name, amount in amounts.items():
        if not 0 < amount < math.inf:
            raise ValueError(f"{name} must be above 0, got {amount}")
