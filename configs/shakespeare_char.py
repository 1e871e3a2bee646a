"""A character model of Shakespeare in the time of a coffee: the well-known CPU recipe, at its size.

    python -m nanojaxlm.main --config=configs/shakespeare_char.py --config.data.text=input.txt \
        --workdir=out/shakespeare

input.txt is tinyshakespeare, 1,115,394 characters. Validation loss at step 2000, nats a character
over the last 10% of it, with --config.seed=0, 1, 2: 1.5492, 1.5373, 1.5513, mean 1.5459. 797,088
parameters; one of two AMD EPYC cores that other work shared, commit 3a741e7 with
--config.model.decoder.attention.kv_shift=True, jax 0.10.2, 2026-11-24. Without kv_shift (797,056
parameters): 1.5603, 1.5593, 1.5519, mean 1.5572.
"""

from ml_collections import config_dict

from nanojaxlm.checkpoint import CheckpointConfig
from nanojaxlm.config import Config, EvaluationConfig, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    ModelConfig,
    Rope,
    StackConfig,
)
from nanojaxlm.optimizer import Muon, WarmupStableDecay
from nanojaxlm.typed_config import to_config_dict


def get_config() -> config_dict.ConfigDict:
    config = Config(
        model=ModelConfig(
            d_model=128,
            tie_embeddings=False,
            dtype="float32",
            decoder=StackConfig(
                num_layers=4,
                scan=False,
                attention=AttentionConfig(
                    num_heads=4,
                    num_kv_heads=4,
                    head_dim=32,
                    rope=Rope(theta=100.0),  # 1e4 is for contexts of thousands of tokens
                    qk_norm="head",
                    kv_shift=True,
                ),
                feed_forward=FeedForwardConfig(hidden=504, activation="relu_squared", gated=False),
            ),
        ),
        data=DataConfig(text="input.txt", sequence_length=64, batch_size=12),
        optimizer=Muon(
            learning_rate=0.02,
            adam_learning_rate=0.005,
            schedule=WarmupStableDecay(warmup_steps=50, decay_rate=1.0),
        ),
        training=TrainingConfig(steps=2000, log_every=100),
        loss=LossConfig(chunk_length=64),
        evaluation=EvaluationConfig(every=500, sample_prompts=("ROMEO:\n",), sample_tokens=200),
        checkpoint=CheckpointConfig(every=1000),
    )
    return to_config_dict(config)
