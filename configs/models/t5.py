"""T5: an encoder and a decoder with relative position biases; 1.1 (and Flan) gate with GELU.

    python -m nanojaxlm.main --config=configs/models/t5.py:1.1-base --config.data.stores=DIR \
        --workdir=out/t5

Sizes: Raffel et al. 2020, section 3.7, and config.json of google-t5/t5-small (base, large, 3b, 11b)
and google/t5-v1_1-small (base, large, xl, xxl), which Flan-T5 has too. Parameters: 60,506,624,
222,903,552, 737,668,096, 2,851,598,336, 11,307,321,344; 1.1: 76,961,152, 247,577,856, 783,150,080,
2,849,757,184, 11,135,332,352. Recipe: sections 3.1 and 3.3: spans of mean length 3 over 15% of the
tokens, 128 rows of 512 tokens, 2^19 steps. Theirs is Adafactor at 0.01, falling as an inverse
square root; ours is AdamW at 1e-3 with a cosine: Adafactor scales its rate by a parameter's own
size, so its number does not carry over. The decoder begins with id 0, T5's padding.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.data.objectives import SpanCorruption
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    RelativeBiasConfig,
    StackConfig,
)


class Size(NamedTuple):
    num_layers: int  # of each stack
    d_model: int
    num_heads: int
    head_dim: int
    hidden: int


SIZES = {
    "small": Size(6, 512, 8, 64, 2048),
    "base": Size(12, 768, 12, 64, 3072),
    "large": Size(24, 1024, 16, 64, 4096),
    "3b": Size(24, 1024, 32, 128, 16384),
    "11b": Size(24, 1024, 128, 128, 65536),
    "1.1-small": Size(8, 512, 6, 64, 1024),
    "1.1-base": Size(12, 768, 12, 64, 2048),
    "1.1-large": Size(24, 1024, 16, 64, 2816),
    "1.1-xl": Size(24, 2048, 32, 64, 5120),
    "1.1-xxl": Size(24, 4096, 64, 64, 10240),
}


def get_config(size: str = "1.1-base") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    gated = size.startswith("1.1-")
    stack = StackConfig(
        num_layers=s.num_layers,
        attention=AttentionConfig(
            num_heads=s.num_heads,
            num_kv_heads=s.num_heads,
            head_dim=s.head_dim,
            rope=None,
            scale=1.0,
        ),
        feed_forward=FeedForwardConfig(
            hidden=s.hidden, activation="gelu_tanh" if gated else "relu", gated=gated
        ),
        relative_bias=RelativeBiasConfig(),
        remat="full",
    )
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=32_128,
        embed=EmbedConfig(scale=1.0),
        encoder=stack,
        decoder=stack,
        tie_embeddings=not gated,
        logit_scale=1.0 if gated else s.d_model**-0.5,
        start_id=0,
    )
    return pretraining(
        model,
        objective=SpanCorruption(density=0.15, mean_length=3.0),
        optimizer=decoder_adamw(1e-3, 10_000),
        sequence_length=512,
        batch_size=128,
        num_tokens=2.0**19 * 128 * 512,
    )
