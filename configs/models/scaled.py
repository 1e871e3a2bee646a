"""One dial: depth=N sets width, heads, learning rate, batch and steps at a compute-optimal point.

    python -m nanojaxlm.main --config=configs/models/scaled.py:depth=8 --config.data.stores=DIR \
        --workdir=out/depth8
    … --config=configs/models/scaled.py:depth=8,vocab_size=8192

    width     64 · depth, heads of 64, a gated feed-forward of 8/3 · width rounded up to a multiple
              of 64. The loss hardly depends on the shape (Kaplan et al. 2020, section 3.1: 6 layers
              of 4288 within 3% of 48 of 1600).
    tokens    20 · parameters, embeddings included (Hoffmann et al. 2022, table 3).
    batch     0.2920 · C^0.3271 tokens, and the
    rate      0.3118 · C^-0.1250, of AdamW (DeepSeek LLM, Bi et al. 2024, equation 1), where
              C = 6 · parameters · tokens in FLOPs (theirs leaves the embeddings out, and counts
              attention). Fitted from 1e17 to 2e19, with this AdamW (0.9, 0.95, decay 0.1, clipped
              at 1) and a rate that falls after a plateau.
    warm-up   2000 steps there; here also at most a twentieth of the steps, which small models need.

With the default vocabulary of 32,768 ids:

    depth   parameters         tokens  tokens/batch     steps      rate    FLOPs
        2     8,815,488    176,309,760        65,536     2,691  3.15e-03  9.3e+15
        4    19,991,296    399,825,920        65,536     6,101  2.56e-03  4.8e+16
        8    59,254,272  1,185,085,440       131,072     9,042  1.95e-03  4.2e+17
       12   135,287,040  2,705,740,800       262,144    10,322  1.59e-03  2.2e+18
       16   269,519,872  5,390,397,440       524,288    10,282  1.34e-03  8.7e+18
       20   480,433,920  9,608,678,400       524,288    18,328  1.16e-03  2.8e+19
       24   780,218,880 15,604,377,600     1,048,576    14,882  1.03e-03  7.3e+19
       32 1,753,356,288 35,067,125,760     2,097,152    16,722  8.38e-04  3.7e+20

The layers are Qwen 3's, so that the model can be exported as one: RoPE, RMSNorm, RMSNorm of each
head's q and k, SwiGLU, untied embeddings.
"""

import math
from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import pretraining
from nanojaxlm.errors import UserError
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    StackConfig,
)
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, WarmupStableDecay
from nanojaxlm.state import num_parameters, parameter_boxes

TOKENS_PER_PARAMETER = 20
SEQUENCE_LENGTH = 1024


class Scale(NamedTuple):
    """Where training a model is compute-optimal. batch_size: rows of SEQUENCE_LENGTH tokens, a
    power of 2, as devices like it."""

    num_parameters: int
    flops: float
    learning_rate: float
    batch_size: int
    steps: int


def model_of(depth: int, vocab_size: int) -> ModelConfig:
    width = 64 * depth
    return ModelConfig(
        d_model=width,
        vocab_size=vocab_size,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=False,
        decoder=StackConfig(
            num_layers=depth,
            attention=AttentionConfig(
                num_heads=depth, num_kv_heads=depth, head_dim=64, qk_norm="head"
            ),
            feed_forward=FeedForwardConfig(hidden=-(-8 * width // (3 * 64)) * 64),
        ),
    )


def scale_of(model: ModelConfig) -> Scale:
    """The laws above; no array is made."""
    count = num_parameters(parameter_boxes(Transformer(model)))
    num_tokens = TOKENS_PER_PARAMETER * count
    flops = 6.0 * count * num_tokens
    batch_size = 2 ** max(0, round_log2(0.2920 * flops**0.3271 / SEQUENCE_LENGTH))
    steps = -(-num_tokens // (batch_size * SEQUENCE_LENGTH))
    return Scale(count, flops, 0.3118 * flops**-0.1250, batch_size, steps)


def get_config(dial: str = "depth=8") -> config_dict.ConfigDict:
    model = model_of(**parse(dial))
    scale = scale_of(model)
    schedule = WarmupStableDecay(warmup_steps=min(2000, -(-scale.steps // 20)))
    return pretraining(
        model,
        optimizer=AdamW(learning_rate=scale.learning_rate, schedule=schedule),
        sequence_length=SEQUENCE_LENGTH,
        batch_size=scale.batch_size,
        num_tokens=scale.steps * scale.batch_size * SEQUENCE_LENGTH,
    )


def parse(dial: str) -> dict[str, int]:
    """ "depth=8,vocab_size=4096" -> {"depth": 8, "vocab_size": 4096}.

    Raises:
        UserError: anything else.
    """
    values = {"vocab_size": 32_768}
    for part in dial.split(","):
        name, _, number = part.partition("=")
        if name not in ("depth", "vocab_size") or not number.isdecimal() or int(number) < 1:
            raise UserError(f"{part!r} is no dial; give depth=N, or depth=N,vocab_size=V")
        values[name] = int(number)
    if "depth" not in values:
        raise UserError(f"{dial!r} lacks the depth; give depth=N, or depth=N,vocab_size=V")
    return values


def round_log2(value: float) -> int:
    """The power of 2 nearest to `value`, as its exponent."""
    return round(math.log2(value))
