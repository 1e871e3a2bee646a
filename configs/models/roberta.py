"""RoBERTa: BERT's layers with a byte-level vocabulary, no sentence pairs, larger batches.

    python -m nanojaxlm.main --config=configs/models/roberta.py:base --config.data.stores=DIR \
        --workdir=out/roberta

Sizes: Liu et al. 2019, table 9, and config.json of FacebookAI/roberta-base (large): 124,697,433 and
355,412,057 parameters with the masked-token head. The first two rows of its 514 positions are never
read. Recipe: the same table: 15% chosen (80/10/10) anew each time, 8192 rows of 512 tokens, 500,000
steps, 6e-4 (large: 4e-4), b2 0.98, epsilon 1e-6, decay 0.01, warm-up over 24,000 (30,000) steps,
then a line to 0, no clipping. Its dropout is left out.
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
    ModelConfig,
    StackConfig,
)
from nanojaxlm.optimizer import AdamW, WarmupStableDecay


class Size(NamedTuple):
    num_layers: int
    d_model: int
    num_heads: int
    learning_rate: float
    warmup_steps: int


SIZES = {"base": Size(12, 768, 12, 6e-4, 24_000), "large": Size(24, 1024, 16, 4e-4, 30_000)}


def get_config(size: str = "base") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=50_265,
        embed=EmbedConfig(scale=1.0, num_positions=514, first_position=2, num_types=1, norm=True),
        encoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_heads,
                head_dim=64,
                rope=None,
                qkv_bias=True,
                out_bias=True,
            ),
            feed_forward=FeedForwardConfig(
                hidden=4 * s.d_model, activation="gelu", gated=False, bias=True
            ),
            norm=LayerNormConfig(),
            pre_norm=False,
            sum_norm=True,
            final_norm=False,
        ),
        head_transform=HeadTransformConfig(),
        head_bias=True,
    )
    return pretraining(
        model,
        objective=MaskedLM(rate=0.15, random=0.1, keep=0.1),
        optimizer=AdamW(
            learning_rate=s.learning_rate,
            schedule=WarmupStableDecay(warmup_steps=s.warmup_steps, decay_rate=1.0),
            b2=0.98,
            epsilon=1e-6,
            weight_decay=0.01,
            clip_norm=None,
        ),
        sequence_length=512,
        batch_size=8192,
        num_tokens=500e3 * 8192 * 512,
    )
