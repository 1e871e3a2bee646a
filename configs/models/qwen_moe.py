"""Qwen 1.5 and 2 MoE (a gated shared expert beside the chosen ones) and Qwen 3 MoE (none).

    python -m nanojaxlm.main --config=configs/models/qwen_moe.py:3-30b-a3b \
        --config.data.stores=DIR --workdir=out/qwen_moe

Sizes: config.json of Qwen/Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B, Qwen3-30B-A3B and Qwen3-235B-A22B:
14,315,784,192, 57,408,658,944, 30,532,122,624 and 235,093,634,560 parameters, of which 2.7, 14, 3.3
and 22 billion act on a token. The weight of the load-balance loss is that of the config.json. The
reports give no batch and learning rate; this is Llama 2's recipe (Touvron et al. 2023, section 2.2)
at 4096 tokens a row.
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
    Rope,
    StackConfig,
)


class Size(NamedTuple):
    num_layers: int
    d_model: int
    num_heads: int
    num_kv_heads: int
    num_experts: int
    top_k: int
    hidden: int  # of an expert
    shared: int | None  # width of the shared expert; None = Qwen 3


SIZES = {
    "1.5-a2.7b": Size(24, 2048, 16, 16, 60, 4, 1408, 5632),
    "2-57b-a14b": Size(28, 3584, 28, 4, 64, 8, 2560, 20480),
    "3-30b-a3b": Size(48, 2048, 32, 4, 128, 8, 768, None),
    "3-235b-a22b": Size(94, 4096, 64, 4, 128, 8, 1536, None),
}


def get_config(size: str = "3-30b-a3b") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    third = s.shared is None
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=151_936,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=False,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_kv_heads,
                head_dim=128,
                rope=Rope(theta=1_000_000.0),
                qkv_bias=not third,
                qk_norm="head" if third else None,
            ),
            feed_forward=MixtureConfig(
                num_experts=s.num_experts,
                top_k=s.top_k,
                expert=FeedForwardConfig(hidden=s.hidden),
                normalize=third,
                shared=FeedForwardConfig(hidden=s.shared) if s.shared else None,
                shared_gate=s.shared is not None,
                load_balance=0.001,
            ),
            remat="full",
        ),
    )
    return pretraining(
        model,
        optimizer=decoder_adamw(3e-4),
        sequence_length=4096,
        batch_size=1024,
        num_tokens=36e12 if third else 4e12,
    )
