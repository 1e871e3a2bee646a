"""DeepSeek-style mixtures: many small experts, shared ones that see all tokens, layer 0 dense.

    python -m nanojaxlm.main --config=configs/models/deepseek_moe.py:dots1 \
        --config.data.stores=DIR --workdir=out/deepseek_moe

16b is DeepSeekMoE 16B (Dai et al. 2024, table 1 and section 5.1.2): softmax scores, top 6 of 64
experts, not normalised, two shared; 16,375,728,128 parameters, 2.8 billion act on a token; 4.2e-4,
warm-up over 2000 steps, 4608 rows of 4096 tokens a batch, 2 trillion tokens, 0.001 of load balance.
There the rate falls in two steps, to 0.316 at 80% and again at 90%; a line over the last fifth
stands for them here.

dots1 is dots.llm1 (2025; config.json of rednote-hilab/dots.llm1.base), DeepSeek-V3's router with
plain attention: sigmoid scores with a bias in the choice, normalised, times 2.5; top 6 of 128, two
shared, QK-norm. 142,774,381,696 parameters, 14 billion act on a token; 3e-4, a plateau, 11.2
trillion tokens.
"""

from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose, pretraining
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    MixtureConfig,
    ModelConfig,
    RMSNormConfig,
    Rope,
    StackConfig,
)
from nanojaxlm.optimizer import AdamW, WarmupStableDecay


class Size(NamedTuple):
    vocab_size: int
    num_layers: int
    d_model: int
    num_heads: int
    mixture: MixtureConfig
    qk_norm: str | None
    theta: float
    epsilon: float
    learning_rate: float
    warmup_steps: int
    num_tokens: float


EXPERT = FeedForwardConfig(hidden=1408)
SHARED = FeedForwardConfig(hidden=2 * 1408)
SOFTMAX = MixtureConfig(
    num_experts=64, top_k=6, expert=EXPERT, shared=SHARED, normalize=False, load_balance=0.001
)
SIGMOID = MixtureConfig(
    num_experts=128,
    top_k=6,
    expert=EXPERT,
    shared=SHARED,
    scores="sigmoid",
    choice_bias=True,
    scale=2.5,
    load_balance=0.001,
)
SIZES = {
    "16b": Size(102_400, 28, 2048, 16, SOFTMAX, None, 10_000.0, 1e-6, 4.2e-4, 2000, 2e12),
    "dots1": Size(152_064, 62, 4096, 32, SIGMOID, "head", 1e7, 1e-5, 3e-4, 4000, 11.2e12),
}


def get_config(size: str = "dots1") -> config_dict.ConfigDict:
    s = choose(SIZES, size)
    model = ModelConfig(
        d_model=s.d_model,
        vocab_size=s.vocab_size,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=False,
        decoder=StackConfig(
            num_layers=s.num_layers,
            attention=AttentionConfig(
                num_heads=s.num_heads,
                num_kv_heads=s.num_heads,
                head_dim=128,
                rope=Rope(theta=s.theta),
                qk_norm=s.qk_norm,
            ),
            feed_forward=s.mixture,
            num_dense=1,
            dense=FeedForwardConfig(hidden=10_944),
            norm=RMSNormConfig(epsilon=s.epsilon),
            remat="full",
        ),
    )
    schedule = WarmupStableDecay(warmup_steps=s.warmup_steps)
    return pretraining(
        model,
        optimizer=AdamW(learning_rate=s.learning_rate, schedule=schedule),
        sequence_length=4096,
        batch_size=4608,
        num_tokens=s.num_tokens,
    )
