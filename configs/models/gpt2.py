"""GPT-2: learned positions, LayerNorm, GELU, biases everywhere, tied embeddings.

    python -m nanojaxlm.main --config=configs/models/gpt2.py:124m --config.data.stores=DIR \
        --workdir=out/gpt2

Sizes: Radford et al. 2019, table 2, as in openai/gpt2's hparams.json: 124,439,808, 354,823,168,
774,030,080 and 1,557,611,200 parameters. The paper gives no training recipe; this is GPT-3's at the
same sizes (Brown et al. 2020, table 2.1 and appendix B): 0.5 million tokens a batch (1 million for
1.5b), 300 billion in all, learning rates 6e-4, 3e-4, 2.5e-4, 2e-4, warm-up over 375 million tokens.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, decoder_adamw, pretraining
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    LayerNormConfig,
    ModelConfig,
    StackConfig,
)


class Size(NamedTuple):
    num_layers: int
    d_model: int
    num_heads: int
    learning_rate: float
    batch_size: int  # rows of 1024 tokens


SIZES = {
    "124m": Size(12, 768, 12, 6e-4, 512),
    "355m": Size(24, 1024, 16, 3e-4, 512),
    "774m": Size(36, 1280, 20, 2.5e-4, 512),
    "1.5b": Size(48, 1600, 25, 2e-4, 1024),
}


def get_config(size: str = "124m") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=50_257,
        embed=EmbedConfig(scale=1.0, num_positions=1024),
        decoder=StackConfig(
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
                hidden=4 * s.d_model, activation="gelu_tanh", gated=False, bias=True
            ),
            norm=LayerNormConfig(),
        ),
    )
    return pretraining(
        model,
        optimizer=decoder_adamw(s.learning_rate, round(375e6 / (s.batch_size * 1024))),
        sequence_length=1024,
        batch_size=s.batch_size,
        num_tokens=300e9,
    )
