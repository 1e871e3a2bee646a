"""Mixtral: Mistral's layer with two of eight experts a token.

    python -m nanojaxlm.main --config=configs/models/mixtral.py:8x7b --config.data.stores=DIR \
        --workdir=out/mixtral

Sizes: Jiang et al. 2024, table 1, and config.json of mistralai/Mixtral-8x7B-v0.1 and
Mixtral-8x22B-v0.1: 46,702,792,704 and 140,620,634,112 parameters, of which 12.9 and 39 billion act
on a token. The weight of the load-balance loss is that of the config.json: 0.02 and 0.001. The
paper gives no training recipe; this is Llama 2's (Touvron et al. 2023, section 2.2), at 8192 tokens
a row.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    MixtureConfig,
    ModelConfig,
    RMSNormConfig,
    Rope,
    StackConfig,
)


class Size(NamedTuple):
    num_layers: int
    d_model: int
    num_heads: int
    hidden: int
    load_balance: float


SIZES = {
    "8x7b": Size(32, 4096, 32, 14336, 0.02),
    "8x22b": Size(56, 6144, 48, 16384, 0.001),
}


def get_config(size: str = "8x7b") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=32_000,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=False,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=8,
                head_dim=128,
                rope=Rope(theta=1_000_000.0),
            ),
            feed_forward=MixtureConfig(
                num_experts=8,
                top_k=2,
                expert=FeedForwardConfig(hidden=s.hidden),
                load_balance=s.load_balance,
            ),
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
