"""A modern encoder-decoder: RoPE, RMSNorm, SwiGLU, of T5Gemma's shape.

    python -m nanojaxlm.main --config=configs/models/modern_encoder_decoder.py:base \
        --config.data.stores=DIR --workdir=out/encoder_decoder

Sizes: T5Gemma (Zhang et al. 2025), table 1, and config.json of google/t5gemma-s-s-ul2 (b-b, l-l,
2b-2b): 312,517,632, 591,490,560, 1,241,761,792 and 5,596,853,760 parameters, most of them in the
embeddings of 256,000 ids, one table for the encoder and one for the decoder, which the logits
share. Ours differ from them in SwiGLU instead of GELU and in no soft-caps and no local layers, so
that the fastest attention serves; the parameters are the same. Trained by UL2's mixture of
denoisers (Tay et al. 2022), as T5Gemma's "ul2" models; AdamW as in Llama 2, 512 rows of 1024
tokens, 20 tokens a parameter (Hoffmann et al. 2022), where T5Gemma was adapted from Gemma 2.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.data.objectives import MixtureOfDenoisers
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    ModelConfig,
    RMSNormConfig,
    StackConfig,
)


class Size(NamedTuple):
    num_layers: int  # of each stack
    d_model: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden: int
    num_tokens: float


SIZES = {
    "small": Size(8, 512, 8, 8, 64, 1024, 6.3e9),
    "base": Size(12, 768, 12, 12, 64, 2048, 12e9),
    "large": Size(24, 1024, 16, 16, 64, 2816, 25e9),
    "2b": Size(26, 2304, 8, 4, 256, 9216, 112e9),
}


def get_config(size: str = "base") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    stack = StackConfig(
        num_layers=s.num_layers,
        attention=AttentionConfig(
            num_heads=s.num_heads, num_kv_heads=s.num_kv_heads, head_dim=s.head_dim
        ),
        feed_forward=FeedForwardConfig(hidden=s.hidden),
        norm=RMSNormConfig(centered=True),
        post_norm=True,
        remat="full",
    )
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=256_000,
        encoder=stack,
        decoder=stack,
        share_embeddings=False,
    )
    return pretraining(
        model,
        objective=MixtureOfDenoisers(),
        optimizer=decoder_adamw(3e-4),
        sequence_length=1024,
        batch_size=512,
        num_tokens=s.num_tokens,
    )
