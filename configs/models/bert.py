"""BERT: bidirectional, learned positions and types, LayerNorm of the residual after each addition.

    python -m nanojaxlm.main --config=configs/models/bert.py:base --config.data.stores=DIR \
        --workdir=out/bert

Sizes: Devlin et al. 2019, section 3, with the uncased vocabulary: 109,514,298 and 335,174,458
parameters with the masked-token head, without the pooler and the next-sentence head, which are not
trained here. Recipe: its appendix A.2: 15% of the tokens chosen, of those 80% masked, 10% another
token, 10% kept; 256 rows of 512 tokens, a million steps; Adam, 1e-4, decay 0.01, warm-up over
10,000 steps, then a line to 0. The paper's dropout and sentence pairs are left out; tokens are
chosen anew each time (RoBERTa).
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


SIZES = {"base": Size(12, 768, 12), "large": Size(24, 1024, 16)}


def get_config(size: str = "base") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=30_522,
        embed=EmbedConfig(scale=1.0, num_positions=512, num_types=2, norm=True),
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
            norm=LayerNormConfig(epsilon=1e-12),
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
            learning_rate=1e-4,
            schedule=WarmupStableDecay(warmup_steps=10_000, decay_rate=1.0),
            b2=0.999,
            epsilon=1e-6,
            weight_decay=0.01,
        ),
        sequence_length=512,
        batch_size=256,
        num_tokens=1e6 * 256 * 512,
    )
