"""ModernBERT: RoPE, GeGLU, no biases, two local layers to one global, packed rows.

    python -m nanojaxlm.main --config=configs/models/modernbert.py:base --config.data.stores=DIR \
        --workdir=out/modernbert

Sizes: Warner et al. 2024, table 4, and config.json of answerdotai/ModernBERT-base (large):
149,655,232 and 395,881,664 parameters with the masked-token head. A local layer sees 64 tokens to
each side. Recipe: the same paper, section 2.2: 30% of the tokens masked, 4608 (4928) rows of 1024
tokens, 1.719 trillion in all, warm-up over 3 (2) billion, a plateau, 8e-4 and decay 1e-5 (5e-4 and
1e-5). Theirs is StableAdamW with a batch that grows, and decays as 1 - sqrt; ours is AdamW with a
line, at the full batch.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, pretraining
from nanojaxlm.data.objectives import MaskedLM
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    HeadTransformConfig,
    LayerNormConfig,
    LocalConfig,
    ModelConfig,
    Rope,
    StackConfig,
)
from nanojaxlm.optimizer import AdamW, WarmupStableDecay


class Size(NamedTuple):
    num_layers: int
    d_model: int
    num_heads: int
    hidden: int
    learning_rate: float
    batch_size: int
    warmup_tokens: float


SIZES = {
    "base": Size(22, 768, 12, 1152, 8e-4, 4608, 3e9),
    "large": Size(28, 1024, 16, 2624, 5e-4, 4928, 2e9),
}


def get_config(size: str = "base") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=50_368,
        embed=EmbedConfig(scale=1.0, norm=True),
        encoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_heads,
                head_dim=64,
                rope=Rope(theta=160_000.0),
            ),
            feed_forward=FeedForwardConfig(hidden=s.hidden, activation="gelu"),
            norm=LayerNormConfig(bias=False),
            first_attention_norm=False,
            local=LocalConfig(
                window=65, global_every=3, global_first=True, rope=Rope(theta=10_000.0)
            ),
        ),
        head_transform=HeadTransformConfig(bias=False),
        head_bias=True,
    )
    warmup_steps = round(s.warmup_tokens / (s.batch_size * 1024))
    return pretraining(
        model,
        objective=MaskedLM(rate=0.3, random=0.0, keep=0.0),
        optimizer=AdamW(
            learning_rate=s.learning_rate,
            schedule=WarmupStableDecay(warmup_steps=warmup_steps, decay_rate=0.03),
            b2=0.98,
            epsilon=1e-6,
            weight_decay=1e-5,
        ),
        sequence_length=1024,
        batch_size=s.batch_size,
        num_tokens=1.719e12,
    )
