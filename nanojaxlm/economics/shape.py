"""A typical model for a number of parameters: what a planner may assume of it before one is chosen.

A decoder as Llama's (RMSNorm, RoPE, SwiGLU, no biases, untied embeddings), of AdamW and bfloat16
activations, with full rematerialisation. Its sizes:

    ratio     of width to depth: 128 from 6 billion parameters on, as in GPT-3 (Brown et al. 2020,
              table 2.1: 6.7B, 13B, 175B) and Llama (7B, 13B; 70B has 102, 405B 130); below as the
              sixth root of the parameters, by which GPT-3's 64 at 125 million is met
    width     a multiple of a power of two, an eighth of it or so, that it may be split over chips
    heads     of 128; below 2 billion parameters of 64, below 10 million of 32, then 16. 8 heads of
              keys from 30 billion on, as in Llama 2 (Touvron et al. 2023), and in mixtures, as in
              Mixtral
    hidden    what makes the parameters come out right; near 8/3 of the width
    ids       32,000 as Llama 2; of small models so few that embeddings are half of the parameters
    batch     2 million tokens at 6.7 billion parameters and as their cube root, which is GPT-3's
              table within a factor of two; of 20 tokens a parameter (Hoffmann et al. 2022)
    experts   2 of them act, as in Mixtral, where a quarter of the parameters does or more; else 8
              of many, as in DeepSeek-V3 (2024) and Qwen 3 (2025)

The loss hardly depends on any of it (Kaplan et al. 2020, section 3.1).
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from nanojaxlm.config import Config, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    MixtureConfig,
    ModelConfig,
    RMSNormConfig,
    StackConfig,
)
from nanojaxlm.optimizer import AdamW, WarmupCosine
from nanojaxlm.planning.inventory import Inventory

LEAST, MOST = 1e4, 1e14
NUM_IDS = (32_000, 16_384, 8192, 4096, 2048, 1024, 512, 256, 128, 64)
MANY_KEY_HEADS = 3e10  # parameters, below which each head has keys of its own
TOKENS_PER_PARAMETER = 20
NEARLY = 0.02  # error that is as good as none


class _Sizes(NamedTuple):
    """num_experts: 0 of a model that is no mixture; hidden: of each expert."""

    num_ids: int
    width: int
    depth: int
    head_dim: int
    num_kv_heads: int
    hidden: int
    num_experts: int = 0
    top_k: int = 0

    @property
    def shared(self) -> int:
        """Parameters that every token meets: all but the feed-forwards."""
        d, attention = self.width, 2 * self.width**2 + 2 * self.width * self._key_width
        layer = attention + d * self.num_experts + 2 * d
        return 2 * self.num_ids * d + self.depth * layer + d

    @property
    def _key_width(self) -> int:
        return self.num_kv_heads * self.head_dim

    def parameters(self, experts: int) -> int:
        """Where so many feed-forwards are counted in each layer."""
        return self.shared + self.depth * experts * 3 * self.width * self.hidden


def typical_config(
    params: float, sequence_length: int = 4096, active_params: float | None = None
) -> Config:
    """The config of a decoder of about so many parameters: within 2% from 1e5 to 1e12. No array is
    made; data.stores is left to give.

    active_params: of a mixture of experts, what one token meets; both come within a few percent.

    Raises:
        ValueError: fewer than 10,000 parameters, or of an order that no model has; more of them
            active than there are, or so few that experts would have none.
    """
    if not LEAST <= params <= MOST:
        raise ValueError(f"parameters must be between {LEAST:.0f} and {MOST:g}, got {params:g}")
    if sequence_length < 1:
        raise ValueError(f"sequence_length must be >= 1 token, got {sequence_length}")
    if active_params is not None and not LEAST <= active_params <= params:
        raise ValueError(
            f"active parameters must be from {LEAST:.0f} to all {params:g}, got {active_params:g}"
        )
    if active_params is None or active_params == params:
        return _config(_dense(params), params, sequence_length)
    return _config(_mixture(params, active_params), active_params, sequence_length)


def count(config: Config) -> tuple[int, int]:
    """(parameters, those that one token meets): of a mixture without the experts that it does not
    go to; embeddings count whole, as published. `config.model.vocab_size` is set."""
    total = Inventory.of(config).num_parameters
    idle = 0
    model = config.model
    for stack in (model.encoder, model.decoder):
        for i in range(stack.num_layers if stack is not None else 0):
            assert stack is not None
            f = stack.layer(i).feed_forward
            if isinstance(f, MixtureConfig):
                matrices = 3 if f.expert.gated else 2
                expert = matrices * model.d_model * f.expert.hidden
                idle += (f.num_experts - f.top_k) * expert
    return total, total - idle


def _ratio(params: float) -> float:
    return 128 * min(1.0, (params / 6e9) ** (1 / 6))


def _outline(params: float) -> tuple[int, float, int]:
    """(ids, width before it is rounded, head_dim): 12 depth width² and two embeddings."""
    width = 1.0
    for num_ids in NUM_IDS:
        low, high = 1.0, params
        while high - low > 0.5:
            width = (low + high) / 2
            more = 12 * width**3 / _ratio(params) + 2 * num_ids * width > params
            low, high = (low, width) if more else (width, high)
        if 4 * num_ids * width <= params:
            break
    else:
        num_ids = NUM_IDS[-1]
    head_dim = 128 if params >= 2e9 else 64 if params >= 1e7 else 32 if params >= 1e6 else 16
    return num_ids, width, head_dim


def _rounded(width: float, head_dim: int) -> int:
    step = max(head_dim, 2 ** math.floor(math.log2(width / 6)))
    return max(head_dim, round(width / step) * step)


def _dense(params: float) -> _Sizes:
    num_ids, width, head_dim = _outline(params)
    d = _rounded(width, head_dim)
    kv_heads = 8 if params >= MANY_KEY_HEADS else d // head_dim
    depth = _depth((params - 2 * num_ids * d) / (12 * d**2))
    sizes = _Sizes(num_ids, d, depth, head_dim, kv_heads, 0)
    hidden = (params - sizes.shared) / (3 * depth * d)
    return sizes._replace(hidden=_multiple(hidden, d))


def _mixture(params: float, active_params: float) -> _Sizes:
    """Of depths and numbers of experts near the wanted ones, those by which both numbers come out;
    of several a number of experts that many chips can share.

    Raises:
        ValueError: none come within a tenth.
    """

    def error(sizes: _Sizes) -> float:
        total = abs(sizes.parameters(sizes.num_experts) / params - 1)
        return max(total, abs(sizes.parameters(sizes.top_k) / active_params - 1))

    def rank(sizes: _Sizes) -> tuple[float, int]:
        return max(error(sizes), NEARLY), -(sizes.num_experts & -sizes.num_experts)

    best = min(_mixtures(params, active_params), key=rank, default=None)
    if best is None or error(best) > 0.1:
        raise ValueError(
            f"no mixture has {params:g} parameters of which {active_params:g} are active; give "
            "more active ones, such as a twentieth"
        )
    return best


def _mixtures(params: float, active_params: float) -> Iterator[_Sizes]:
    num_ids, width, head_dim = _outline(active_params)
    d = _rounded(width, head_dim)
    heads = d // head_dim
    top_k = 2 if 1.5 <= params / active_params <= 4 else 8
    depth = _depth((active_params - 2 * num_ids * d) / (12 * d**2))
    least = max(1, depth * 3 // 4)
    for layers in range(least, max(least, depth * 4 // 3) + 1):
        sizes = _Sizes(num_ids, d, layers, head_dim, 8 if heads % 8 == 0 else heads, 0)
        own = active_params - sizes.shared
        if own <= 0:
            continue
        wanted = top_k * (params - sizes.shared) / own
        for step in (8, 4, 2, 1):
            num_experts = max(top_k, round(wanted / step) * step)
            mixed = sizes._replace(num_experts=num_experts, top_k=top_k)
            hidden = (params - mixed.shared) / (3 * layers * d * num_experts)
            yield mixed._replace(hidden=_multiple(hidden, d // top_k))


def _depth(depth: float) -> int:
    """Of deep models a multiple of 4, that stages of a pipeline may share."""
    return max(1, 4 * round(depth / 4) if depth >= 30 else round(depth))


def _multiple(hidden: float, width: int) -> int:
    """A hidden width in steps of an eighth of the width or of 256."""
    step = max(1, min(256, width // 8))
    return max(step, round(hidden / step) * step)


def _config(sizes: _Sizes, active: float, sequence_length: int) -> Config:
    feed_forward: FeedForwardConfig | MixtureConfig = FeedForwardConfig(hidden=sizes.hidden)
    if sizes.num_experts:
        feed_forward = MixtureConfig(
            num_experts=sizes.num_experts, top_k=sizes.top_k, expert=feed_forward
        )
    attention = AttentionConfig(
        num_heads=sizes.width // sizes.head_dim,
        num_kv_heads=sizes.num_kv_heads,
        head_dim=sizes.head_dim,
    )
    model = ModelConfig(
        d_model=sizes.width,
        vocab_size=sizes.num_ids,
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=False,
        decoder=StackConfig(
            num_layers=sizes.depth,
            attention=attention,
            feed_forward=feed_forward,
            norm=RMSNormConfig(),
            remat="full",
        ),
    )
    batch_tokens = 2**21 * (active / 6.7e9) ** (1 / 3)
    rows = 2 ** max(0, round(math.log2(batch_tokens / sequence_length)))
    steps = math.ceil(TOKENS_PER_PARAMETER * active / (rows * sequence_length))
    schedule = WarmupCosine(warmup_steps=min(2000, -(-steps // 20)))
    return Config(
        model=model,
        data=DataConfig(sequence_length=sequence_length, batch_size=rows),
        optimizer=AdamW(learning_rate=3e-4, schedule=schedule),
        training=TrainingConfig(steps=steps),
    )
