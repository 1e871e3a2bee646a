"""Other sizes for the same compute or the same loss: compute-optimal, over-trained, for use."""

from dataclasses import dataclass

from nanojaxlm.economics.scaling import Law, effective_tokens

RATIOS = (20.0, 100.0, 500.0)  # tokens a parameter
CURVE_POINTS = 41


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model and its tokens. flops: to train it. lifetime_flops: those and 2 a parameter for each
    token of use. loss: by the law, repeated data counted for what it is worth."""

    name: str
    params: float
    tokens: float
    loss: float
    flops: float
    lifetime_flops: float
    accelerator_hours: float


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """Loss by size, all for the same compute."""

    flops: float
    params: tuple[float, ...]
    losses: tuple[float, ...]


def choices(
    law: Law,
    params: float,
    tokens: float,
    use_tokens: float,
    unique_tokens: float | None,
    hours_per_flop: float,
) -> tuple[Choice, ...]:
    """The asked one first; then those of the same compute, and last the one of the same loss that
    is cheapest with its use (Sardana et al. 2024)."""
    flops = 6.0 * params * tokens
    named = [("as asked", (params, tokens)), ("compute-optimal", law.optimal(flops))]
    for ratio in RATIOS:
        named.append((f"{ratio:g} tokens a parameter", law.at_compute(flops, ratio)))
    same_loss = law.loss(params, tokens)
    named.append(("same loss, least compute to train", law.cheapest(same_loss)))
    if use_tokens:
        named.append(("same loss, least compute with use", law.cheapest(same_loss, use_tokens)))
    found = []
    for name, (n, d) in named:
        worth = effective_tokens(unique_tokens, d) if unique_tokens else d
        found.append(
            Choice(
                name=name,
                params=n,
                tokens=d,
                loss=law.loss(n, worth),
                flops=6 * n * d,
                lifetime_flops=6 * n * d + 2 * n * use_tokens,
                accelerator_hours=6 * n * d * hours_per_flop,
            )
        )
    return tuple(found)


def loss_curve(law: Law, flops: float, unique_tokens: float | None) -> LossCurve:
    """From a twentieth to twenty times the optimal size."""
    best, _ = law.optimal(flops)
    sizes = [best * 20 ** (2 * i / (CURVE_POINTS - 1) - 1) for i in range(CURVE_POINTS)]
    losses = []
    for n in sizes:
        d = flops / 6 / n
        losses.append(law.loss(n, effective_tokens(unique_tokens, d) if unique_tokens else d))
    return LossCurve(flops=flops, params=tuple(sizes), losses=tuple(losses))
