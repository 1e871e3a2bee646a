"""OLMo 2: RMSNorm of what a branch gives, not of what it reads, and of q and k over all heads.

    python -m nanojaxlm.main --config=configs/models/olmo2.py:7b --config.data.stores=DIR \
        --workdir=out/olmo2

Sizes: OLMo 2 (OLMo et al. 2024), table 3, and config.json of allenai/OLMo-2-0425-1B, OLMo-2-1124-7B
(13B) and OLMo-2-0325-32B: 1,484,916,736, 7,298,617,344, 13,716,198,400 and 32,234,279,936
parameters. Recipe: the same table: rows of 4096 tokens, a batch of 1024 rows (7b) or 2048, peak
learning rates 3e-4 and 9e-4, z-loss 1e-5, warm-up over 2000 steps, cosine; 4 and 5 trillion tokens.
1b and 32b take 7b's learning rate here. Our AdamW decays embeddings too; theirs does not.
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
    hidden: int
    learning_rate: float
    batch_size: int
    num_tokens: float


SIZES = {
    "1b": Size(16, 2048, 16, 16, 8192, 3e-4, 1024, 4e12),
    "7b": Size(32, 4096, 32, 32, 11008, 3e-4, 1024, 4e12),
    "13b": Size(40, 5120, 40, 40, 13824, 9e-4, 2048, 5e12),
    "32b": Size(64, 5120, 40, 8, 27648, 3e-4, 2048, 6e12),
}


def get_config(size: str = "7b") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=100_352,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=False,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_kv_heads,
                head_dim=128,
                rope=Rope(theta=500_000.0),
                qk_norm="width",
            ),
            feed_forward=FeedForwardConfig(hidden=s.hidden),
            pre_norm=False,
            post_norm=True,
            remat="full",
        ),
    )
    return pretraining(
        model,
        optimizer=decoder_adamw(s.learning_rate),
        sequence_length=4096,
        batch_size=s.batch_size,
        num_tokens=s.num_tokens,
        z_loss=1e-5,
    )
