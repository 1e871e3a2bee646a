"""Mistral: Llama's layer with grouped-query attention; version 0.1 sees a sliding window.

    python -m nanojaxlm.main --config=configs/models/mistral.py:7b-0.3 --config.data.stores=DIR \
        --workdir=out/mistral

Sizes: Jiang et al. 2023, table 1, and config.json of mistralai/Mistral-7B-v0.1, -v0.3 and
Mistral-Nemo-Base-2407: 7,241,732,096, 7,248,023,552 and 12,247,782,400 parameters. The papers give
no training recipe; this is Llama 2's (Touvron et al. 2023, section 2.2) at 8192 tokens a row.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    RMSNormConfig,
    Rope,
    StackConfig,
)


class Size(NamedTuple):
    vocab_size: int
    num_layers: int
    d_model: int
    theta: float
    window: int | None


SIZES = {
    "7b-0.1": Size(32_000, 32, 4096, 10_000.0, 4096),
    "7b-0.3": Size(32_768, 32, 4096, 1_000_000.0, None),
    "nemo-12b": Size(131_072, 40, 5120, 1_000_000.0, None),
}


def get_config(size: str = "7b-0.3") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=s.vocab_size,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=False,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=32,
                num_kv_heads=8,
                head_dim=128,
                rope=Rope(theta=s.theta),
                window=s.window,
            ),
            feed_forward=FeedForwardConfig(hidden=14336),
            norm=RMSNormConfig(epsilon=1e-5),
            remat="full",
        ),
    )
    return pretraining(
        model,
        optimizer=decoder_adamw(3e-4),
        sequence_length=8192,
        batch_size=512,
        num_tokens=2e12,
    )
