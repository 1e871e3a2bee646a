"""Qwen 2.5 (biases in q, k, v) and Qwen 3 (RMSNorm of each head's q and k instead).

    python -m nanojaxlm.main --config=configs/models/qwen.py:3-0.6b --config.data.stores=DIR \
        --workdir=out/qwen

Sizes: config.json of Qwen/Qwen2.5-0.5B (1.5B, 3B, 7B) and Qwen/Qwen3-0.6B-Base (1.7B, 4B, 8B, 14B)
and Qwen/Qwen3-32B. Parameters: 494,032,768, 1,543,714,304, 3,085,938,688, 7,615,616,512;
596,049,920, 1,720,574,976, 4,022,468,096, 8,190,735,360, 14,768,307,200, 32,762,123,264. The
reports give no batch and learning rate; this is Llama 2's recipe (Touvron et al. 2023, section 2.2)
at Qwen's 4096 tokens a row. Qwen 3 read 36 trillion tokens, Qwen 2.5 read 18.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    Rope,
    StackConfig,
)


class Size(NamedTuple):
    num_layers: int
    d_model: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden: int
    tie_embeddings: bool
    vocab_size: int = 151_936


SIZES = {
    "2.5-0.5b": Size(24, 896, 14, 2, 64, 4864, True),
    "2.5-1.5b": Size(28, 1536, 12, 2, 128, 8960, True),
    "2.5-3b": Size(36, 2048, 16, 2, 128, 11008, True),
    "2.5-7b": Size(28, 3584, 28, 4, 128, 18944, False, 152_064),
    "3-0.6b": Size(28, 1024, 16, 8, 128, 3072, True),
    "3-1.7b": Size(28, 2048, 16, 8, 128, 6144, True),
    "3-4b": Size(36, 2560, 32, 8, 128, 9728, True),
    "3-8b": Size(36, 4096, 32, 8, 128, 12288, False),
    "3-14b": Size(40, 5120, 40, 8, 128, 17408, False),
    "3-32b": Size(64, 5120, 64, 8, 128, 25600, False),
}


def get_config(size: str = "3-0.6b") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    third = size.startswith("3-")
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=s.vocab_size,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=s.tie_embeddings,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_kv_heads,
                head_dim=s.head_dim,
                rope=Rope(theta=1_000_000.0),
                qkv_bias=not third,
                qk_norm="head" if third else None,
            ),
            feed_forward=FeedForwardConfig(hidden=s.hidden),
            remat="full",
        ),
    )
    return pretraining(
        model,
        optimizer=decoder_adamw(3e-4),
        sequence_length=4096,
        batch_size=1024,
        num_tokens=36e12 if third else 18e12,
    )
