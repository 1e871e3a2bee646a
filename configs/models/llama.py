"""Llama 2 and 3: RoPE, RMSNorm, SwiGLU, grouped-query attention.

    python -m nanojaxlm.main --config=configs/models/llama.py:3.2-1b --config.data.stores=DIR \
        --workdir=out/llama

Sizes: config.json of meta-llama/Llama-2-7b-hf (and 13b, 70b), Meta-Llama-3-8B (70B), Llama-3.1-8B
(70B, 405B), Llama-3.2-1B (3B). Parameters: 6,738,415,616, 13,015,864,320, 68,976,648,192;
8,030,261,248, 70,553,706,496, 405,853,388,800; 1,235,814,400, 3,212,749,824. Recipe: Touvron et al.
2023 (Llama 2), section 2.2: 4 million tokens a batch, 2 trillion in all; Llama 3 (2024), table 3,
for its learning rates, 15 trillion tokens at the length of the base training. Llama 3.2 was
distilled: 3e-4 is Llama 3's for 8B.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.model.config import (
    AttentionConfig,
    BandScaling,
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    RMSNormConfig,
    Rope,
    StackConfig,
)


class Size(NamedTuple):
    num_layers: int
    d_model: int
    num_heads: int
    num_kv_heads: int
    hidden: int
    learning_rate: float
    extension: float | None = None  # how many times its first 8192 tokens, from Llama 3.1 on
    head_dim: int = 128
    tie_embeddings: bool = False


SIZES = {
    "2-7b": Size(32, 4096, 32, 32, 11008, 3e-4),
    "2-13b": Size(40, 5120, 40, 40, 13824, 3e-4),
    "2-70b": Size(80, 8192, 64, 8, 28672, 1.5e-4),
    "3-8b": Size(32, 4096, 32, 8, 14336, 3e-4),
    "3-70b": Size(80, 8192, 64, 8, 28672, 1.5e-4),
    "3.1-8b": Size(32, 4096, 32, 8, 14336, 3e-4, 8.0),
    "3.1-70b": Size(80, 8192, 64, 8, 28672, 1.5e-4, 8.0),
    "3.1-405b": Size(126, 16384, 128, 8, 53248, 8e-5, 8.0),
    "3.2-1b": Size(16, 2048, 32, 8, 8192, 3e-4, 32.0, 64, True),
    "3.2-3b": Size(28, 3072, 24, 8, 8192, 3e-4, 32.0, 128, True),
}


def get_config(size: str = "3.2-1b") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    second = size.startswith("2-")
    scaling = None
    if s.extension is not None:
        scaling = BandScaling(
            factor=s.extension,
            low_frequency_factor=1.0,
            high_frequency_factor=4.0,
            original_length=8192,
        )
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=32_000 if second else 128_256,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=s.tie_embeddings,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_kv_heads,
                head_dim=s.head_dim,
                rope=Rope(theta=10_000.0 if second else 500_000.0, scaling=scaling),
            ),
            feed_forward=FeedForwardConfig(hidden=s.hidden),
            norm=RMSNormConfig(epsilon=1e-5),
            remat="full",
        ),
    )
    return pretraining(
        model,
        optimizer=decoder_adamw(s.learning_rate),
        sequence_length=4096 if second else 8192,
        batch_size=1024 if second else 512,
        num_tokens=2e12 if second else 15e12,
    )
