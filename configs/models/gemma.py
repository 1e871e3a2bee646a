"""Gemma 2 (soft-caps, every other layer local) and Gemma 3 (QK-norm, five local layers to one
global, two RoPE bases); both norm what a branch reads and what it gives, and scale embeddings.

    python -m nanojaxlm.main --config=configs/models/gemma.py:3-1b --config.data.stores=DIR \
        --workdir=out/gemma

Sizes: Gemma 2 (2024), table 1, and config.json of google/gemma-2-2b (9b, 27b), gemma-3-270m and
gemma-3-1b-pt; of gemma-3-4b-pt, 12b and 27b the text part. Parameters: 2,614,341,888,
9,241,705,984, 27,227,128,320; 268,098,176, 999,885,952, 3,880,263,168, 11,766,034,176,
27,009,346,304. The reports give no batch and learning rate; this is Llama 2's recipe (Touvron et
al. 2023, section 2.2), at the reports' numbers of tokens.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    LinearScaling,
    LocalConfig,
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
    head_dim: int
    hidden: int
    window: int  # of the local layers
    num_tokens: float
    query_width: int | None = None  # q k is divided by its root; None = head_dim
    extension: float | None = None  # the global layers' positions are divided by it
    vocab_size: int = 256_000


SIZES = {
    "2-2b": Size(26, 2304, 8, 4, 256, 9216, 4096, 2e12),
    "2-9b": Size(42, 3584, 16, 8, 256, 14336, 4096, 8e12),
    "2-27b": Size(46, 4608, 32, 16, 128, 36864, 4096, 13e12, 144),
    "3-270m": Size(18, 640, 4, 1, 256, 2048, 512, 6e12, vocab_size=262_144),
    "3-1b": Size(26, 1152, 4, 1, 256, 6912, 512, 2e12, vocab_size=262_144),
    "3-4b": Size(34, 2560, 8, 4, 256, 10240, 1024, 4e12, None, 8.0, 262_208),
    "3-12b": Size(48, 3840, 16, 8, 256, 15360, 1024, 12e12, None, 8.0, 262_208),
    "3-27b": Size(62, 5376, 32, 16, 128, 21504, 1024, 14e12, 168, 8.0, 262_208),
}


def get_config(size: str = "3-1b") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    third = size.startswith("3-")
    local_rope = Rope()
    if third:
        scaling = LinearScaling(factor=s.extension) if s.extension else None
        rope = Rope(theta=1_000_000.0, scaling=scaling)
        local = LocalConfig(window=s.window, global_every=6, rope=local_rope)
    else:
        rope = local_rope
        local = LocalConfig(window=s.window, global_every=2)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=s.vocab_size,
        logit_softcap=None if third else 30.0,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_kv_heads,
                head_dim=s.head_dim,
                rope=rope,
                qk_norm="head" if third else None,
                scale=(s.query_width or s.head_dim) ** -0.5,
                softcap=None if third else 50.0,
            ),
            feed_forward=FeedForwardConfig(hidden=s.hidden, activation="gelu_tanh"),
            norm=RMSNormConfig(centered=True),
            post_norm=True,
            local=local,
            remat="full",
        ),
    )
    return pretraining(
        model,
        optimizer=decoder_adamw(3e-4),
        sequence_length=8192,
        batch_size=512,
        num_tokens=s.num_tokens,
    )
