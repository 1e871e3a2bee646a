"""What the configs of published families share: the choice of a size, and a whole config around a
model."""

from collections.abc import Mapping
from typing import TypeVar

from ml_collections import config_dict

from nanojaxlm.checkpoint import CheckpointConfig
from nanojaxlm.config import Config, EvaluationConfig, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.objectives import CausalLM, Objective
from nanojaxlm.errors import UserError
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.optimizer import AdamW, Optimizer, WarmupCosine
from nanojaxlm.typed_config import to_config_dict

T = TypeVar("T")


def choose(sizes: Mapping[str, T], size: str) -> T:
    """The row of `size`.

    Raises:
        UserError: there is no such size; the message has all there are.
    """
    if size not in sizes:
        raise UserError(f"there is no size {size!r}; give one of {', '.join(sizes)}")
    return sizes[size]


def decoder_adamw(learning_rate: float, warmup_steps: int = 2000) -> AdamW:
    """AdamW as in Llama 2 (Touvron et al. 2023, section 2.2): b1 0.9, b2 0.95, decay 0.1, clipped
    at 1, 2000 steps of warm-up, a cosine to a tenth. GPT-3's is the same but for the warm-up."""
    return AdamW(learning_rate=learning_rate, schedule=WarmupCosine(warmup_steps=warmup_steps))


def pretraining(
    model: ModelConfig,
    *,
    optimizer: Optimizer,
    sequence_length: int,
    batch_size: int,
    num_tokens: float,
    objective: Objective | None = None,
    z_loss: float = 0.0,
) -> config_dict.ConfigDict:
    """A config that reads num_tokens in batches of batch_size rows; data.stores is left to give."""
    steps = round(num_tokens / (batch_size * sequence_length))
    config = Config(
        model=model,
        data=DataConfig(
            sequence_length=sequence_length,
            batch_size=batch_size,
            objective=objective or CausalLM(),
        ),
        optimizer=optimizer,
        training=TrainingConfig(steps=steps),
        loss=LossConfig(z_loss=z_loss),
        evaluation=EvaluationConfig(every=1000, batches=20),
        checkpoint=CheckpointConfig(every=1000),
    )
    return to_config_dict(config)
