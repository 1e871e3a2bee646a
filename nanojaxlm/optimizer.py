"""AdamW and Muon with their schedules; which parameters they touch is read off the logical axes."""

from dataclasses import dataclass
from typing import Any

import jax
import optax

from nanojaxlm.moments import MOMENTS, keeping
from nanojaxlm.sharding import Named

Boxes = Any  # the parameters' tree with a Named box at each leaf


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up, then half a cosine to final_rate of the peak (Loshchilov & Hutter 2017)."""

    warmup_steps: int
    final_rate: float = 0.1

    def __post_init__(self) -> None:
        _check_schedule(self.warmup_steps, self.final_rate)

    def make(self, peak: float, num_steps: int) -> optax.Schedule:
        """Step -> learning rate. The warm-up's first step is already above 0."""
        warmup = min(self.warmup_steps, num_steps)
        cosine = optax.cosine_decay_schedule(peak, max(1, num_steps - warmup), self.final_rate)
        return _after_warmup(peak, warmup, cosine)


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay:
    """Warm-up, plateau, a line down over the last decay_rate of the steps (Hu et al. 2024)."""

    warmup_steps: int
    decay_rate: float = 0.2
    final_rate: float = 0.0

    def __post_init__(self) -> None:
        _check_schedule(self.warmup_steps, self.final_rate)
        if not 0 <= self.decay_rate <= 1:
            raise ValueError(f"decay_rate must be in [0, 1], got {self.decay_rate}")

    def make(self, peak: float, num_steps: int) -> optax.Schedule:
        """Step -> learning rate. The warm-up's first step is already above 0."""
        warmup = min(self.warmup_steps, num_steps)
        decay = min(round(self.decay_rate * num_steps), num_steps - warmup)
        line = optax.linear_schedule(
            peak, peak * self.final_rate, max(1, decay), num_steps - warmup - decay
        )
        return _after_warmup(peak, warmup, line)


Schedule = WarmupCosine | WarmupStableDecay


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Weight decay decoupled, times the learning rate, no norms (Loshchilov & Hutter 2019)."""

    learning_rate: float
    schedule: Schedule
    b1: float = 0.9
    b2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float | None = 1.0  # of the global gradient
    moments: str = "float32"  # how both are kept: float32, bfloat16 or int8; see moments.py

    def __post_init__(self) -> None:
        _check_optimizer(self.learning_rate, self.weight_decay, self.clip_norm, self.b1, self.b2)
        _check_moments(self.moments)

    def make(self, num_steps: int, boxes: Boxes) -> optax.GradientTransformation:
        adamw = optax.adamw(
            self.schedule.make(self.learning_rate, num_steps),
            self.b1,
            self.b2,
            self.epsilon,
            weight_decay=self.weight_decay,
            mask=decayed(boxes),
        )
        return _clipped(self.clip_norm, keeping(adamw, self.moments, boxes))


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Orthogonalised momentum for the matrices inside layers (Jordan et al. 2024; Liu et al. 2025).

    Embeddings, an untied head and norms go to Adam, with its own learning rate and, as in
    optax.contrib.muon, Nesterov's momentum.
    """

    learning_rate: float
    adam_learning_rate: float
    schedule: Schedule
    momentum: float = 0.95
    b1: float = 0.9
    b2: float = 0.95
    weight_decay: float = 0.0  # of the matrices, times the learning rate
    clip_norm: float | None = None
    moments: str = "float32"  # as of AdamW; of a matrix, the momentum is the only one

    def __post_init__(self) -> None:
        _check_optimizer(
            self.learning_rate, self.weight_decay, self.clip_norm, self.b1, self.b2, self.momentum
        )
        if self.adam_learning_rate <= 0:
            raise ValueError(f"adam_learning_rate must be > 0, got {self.adam_learning_rate}")
        _check_moments(self.moments)

    def make(self, num_steps: int, boxes: Boxes) -> optax.GradientTransformation:
        muon = optax.contrib.muon(
            self.schedule.make(self.learning_rate, num_steps),
            beta=self.momentum,
            weight_decay=self.weight_decay,
            adam_b1=self.b1,
            adam_b2=self.b2,
            adam_learning_rate=self.schedule.make(self.adam_learning_rate, num_steps),
            muon_weight_dimension_numbers=_map_boxes(_muon_axes, boxes),
        )
        return _clipped(self.clip_norm, keeping(muon, self.moments, boxes))


Optimizer = AdamW | Muon


def decayed(boxes: Boxes) -> Any:
    """True where weight decay acts: matrices and embeddings, not norms and biases, stacked or
    not."""
    return _map_boxes(lambda box: bool(box.fan_in_axes) or "embed" in box.names, boxes)


def _muon_axes(box: Named) -> optax.contrib.MuonDimensionNumbers | None:
    """The input and output axes of a matrix inside a layer, its layer and expert axes left out;
    else None."""
    if not box.fan_in_axes or "vocab" in box.names:
        return None
    outputs = tuple(
        axis
        for axis, name in enumerate(box.names)
        if name not in ("layers", "expert") and axis not in box.fan_in_axes
    )
    return optax.contrib.MuonDimensionNumbers(box.fan_in_axes, outputs)


def _map_boxes(f: Any, boxes: Boxes) -> Any:
    return jax.tree.map(f, boxes, is_leaf=lambda leaf: isinstance(leaf, Named))


def _clipped(
    clip_norm: float | None, transformation: optax.GradientTransformation
) -> optax.GradientTransformation:
    if clip_norm is None:
        return transformation
    return optax.chain(optax.clip_by_global_norm(clip_norm), transformation)


def _after_warmup(peak: float, warmup: int, then: optax.Schedule) -> optax.Schedule:
    if warmup == 0:
        return then
    rising = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([rising, then], [warmup])


def _check_schedule(warmup_steps: int, final_rate: float) -> None:
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must be >= 0, got {warmup_steps}")
    if not 0 <= final_rate <= 1:
        raise ValueError(f"final_rate must be in [0, 1], got {final_rate}")


def _check_optimizer(
    learning_rate: float, weight_decay: float, clip_norm: float | None, *momenta: float
) -> None:
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be > 0, got {learning_rate}")
    if weight_decay < 0:
        raise ValueError(f"weight_decay must be >= 0, got {weight_decay}")
    if clip_norm is not None and clip_norm <= 0:
        raise ValueError(f"clip_norm must be > 0 or None, got {clip_norm}")
    if any(not 0 <= momentum < 1 for momentum in momenta):
        raise ValueError(f"b1, b2 and momentum must be in [0, 1), got {momenta}")


def _check_moments(moments: str) -> None:
    if moments not in MOMENTS:
        raise ValueError(f"moments must be one of {', '.join(MOMENTS)}, got {moments!r}")
