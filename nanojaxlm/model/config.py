"""The numbers of a model; impossible ones are refused here.

Structure is optionality: an encoder, a decoder, or both. No field names a family.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from nanojaxlm.model.remat import REMAT_POLICIES

DTYPES = ("float32", "bfloat16")
# gelu_tanh is the approximation that GPT-2 and Gemma use; gelu is exact.
ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu_squared")
QK_NORMS = ("head", "width")
ROUTER_SCORES = ("softmax", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class LinearScaling:
    """All rotary frequencies divided by `factor` (Chen et al. 2023)."""

    factor: float

    def __post_init__(self) -> None:
        _positive(self, "factor")


@dataclass(frozen=True, kw_only=True)
class BandScaling:
    """Slow frequencies divided by `factor`, fast ones kept, a ramp between (Llama 3.1)."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_length: int  # tokens, of the training before the extension

    def __post_init__(self) -> None:
        _positive(self, "factor", "low_frequency_factor", "original_length")
        if self.high_frequency_factor <= self.low_frequency_factor:
            raise ValueError(
                f"high_frequency_factor must be > low_frequency_factor={self.low_frequency_factor},"
                f" got {self.high_frequency_factor}"
            )


@dataclass(frozen=True, kw_only=True)
class YarnScaling:
    """Like BandScaling with the ramp over dimensions, and attention sharpened (Peng et al. 2023).

    attention_factor: what cos and sin are multiplied by; None = 0.1 ln(factor) + 1.
    """

    factor: float
    original_length: int
    beta_fast: float = 32.0  # turns over original_length above which a frequency is kept
    beta_slow: float = 1.0  # turns below which it is divided
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        _positive(self, "factor", "original_length", "beta_fast", "beta_slow")


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary positions, half-split (Su et al. 2021)."""

    theta: float = 10_000.0
    rate: float = 1.0  # part of each head, from its first dimension on, that is rotated
    scaling: LinearScaling | BandScaling | YarnScaling | None = None

    def __post_init__(self) -> None:
        _positive(self, "theta")
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    num_heads: int
    num_kv_heads: int  # < num_heads: grouped-query attention
    head_dim: int
    rope: Rope | None = field(default_factory=Rope)  # None: positions come another way
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: str | None = None  # RMSNorm of q and k; head: of each head, width: of all together
    kv_shift: bool = False  # mix into each key and value the one before it, at a learned rate
    window: int | None = None  # attend where the distance is below this, tokens; None = all
    scale: float | None = None  # of q k; None = head_dim^-0.5
    softcap: float | None = None  # c * tanh(q k / c), Gemma 2

    def __post_init__(self) -> None:
        _positive(self, "num_heads", "num_kv_heads", "head_dim")
        _positive_or_none(self, "window", "scale", "softcap")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} must be a multiple of num_kv_heads={self.num_kv_heads}"
            )
        if self.qk_norm is not None:
            _one_of(self, "qk_norm", QK_NORMS)
        if self.rope is not None and self.rotated % 2:
            raise ValueError(
                f"head_dim * rope.rate must be even for the rotation, got {self.rotated}"
            )

    @property
    def rotated(self) -> int:
        """Dimensions of each head that are rotated."""
        return 0 if self.rope is None else int(self.head_dim * self.rope.rate)


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    hidden: int
    activation: str = "silu"
    gated: bool = True  # silu and gated: SwiGLU (Shazeer 2020)
    bias: bool = False

    def __post_init__(self) -> None:
        _positive(self, "hidden")
        _one_of(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Each token goes to top_k of num_experts feed-forwards.

    capacity: on a mesh with an expert axis, the buffer from each device to each that has experts,
    in multiples of what even routing needs; an assignment that finds it full is dropped, and
    counted. None: room for any routing, and nothing is ever dropped, as without an expert axis.
    scores: how router logits become scores; with sigmoid, `choice_bias` adds a learned-elsewhere
    bias an expert to the choice, not to the weights (DeepSeek-V3). normalize: the chosen scores are
    made to sum to 1. load_balance, router_z: weights of the auxiliary losses (Fedus et al. 2021;
    Zoph et al. 2022).
    """

    num_experts: int
    top_k: int
    expert: FeedForwardConfig
    scores: str = "softmax"
    choice_bias: bool = False
    num_groups: int = 1  # experts are chosen from the top_groups best of these groups
    top_groups: int = 1
    normalize: bool = True
    scale: float = 1.0  # of the weights
    shared: FeedForwardConfig | None = None  # every token goes there too (DeepSeekMoE)
    shared_gate: bool = False  # times sigmoid of a learned product, a token (Qwen-MoE)
    capacity: float | None = None
    load_balance: float = 0.01
    router_z: float = 0.001

    def __post_init__(self) -> None:
        _positive(self, "num_experts", "top_k", "num_groups", "top_groups", "scale")
        _positive_or_none(self, "capacity")
        _one_of(self, "scores", ROUTER_SCORES)
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k={self.top_k} must be <= num_experts={self.num_experts}")
        if self.num_experts % self.num_groups or self.top_groups > self.num_groups:
            raise ValueError(
                f"num_groups={self.num_groups} must divide num_experts={self.num_experts} and be "
                f">= top_groups={self.top_groups}"
            )
        if self.top_k > self.num_experts // self.num_groups * self.top_groups:
            raise ValueError(f"top_k={self.top_k} exceeds the experts of {self.top_groups} groups")
        if self.expert.bias or (self.shared is not None and self.shared.bias):
            raise ValueError("expert.bias and shared.bias must be False")
        if self.shared_gate and self.shared is None:
            raise ValueError("shared_gate needs shared")
        if min(self.load_balance, self.router_z) < 0:
            raise ValueError("load_balance and router_z must be >= 0")


@dataclass(frozen=True, kw_only=True)
class RMSNormConfig:
    """x / rms(x) * scale (Zhang & Sennrich 2019). centered: the stored scale is what is added to 1
    (Gemma)."""

    epsilon: float = 1e-6
    centered: bool = False

    def __post_init__(self) -> None:
        _positive(self, "epsilon")


@dataclass(frozen=True, kw_only=True)
class LayerNormConfig:
    """(x - mean) / std * scale + bias (Ba et al. 2016)."""

    epsilon: float = 1e-5
    bias: bool = True

    def __post_init__(self) -> None:
        _positive(self, "epsilon")


NormConfig = RMSNormConfig | LayerNormConfig


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """All layers but some see a window only: layer i is global where (i + 1) % global_every == 0,
    or, with global_first, where i % global_every == 0."""

    window: int
    global_every: int
    global_first: bool = False
    rope: Rope | None = None  # of the local layers; None = that of the global ones

    def __post_init__(self) -> None:
        _positive(self, "window", "global_every")

    def is_global(self, layer: int) -> bool:
        return (layer + (0 if self.global_first else 1)) % self.global_every == 0


@dataclass(frozen=True, kw_only=True)
class RelativeBiasConfig:
    """A learned bias a head for the bucket of the distance, the same in all layers (T5)."""

    num_buckets: int = 32
    max_distance: int = 128  # tokens; all beyond share a bucket

    def __post_init__(self) -> None:
        if self.num_buckets < 4 or self.num_buckets % 2:
            raise ValueError(f"num_buckets must be even and >= 4, got {self.num_buckets}")
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError(
                f"max_distance must be > num_buckets / 2, got {self.max_distance} for "
                f"{self.num_buckets} buckets"
            )


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """What differs from layer to layer; StackConfig.layer(i) makes it."""

    attention: AttentionConfig
    feed_forward: FeedForwardConfig | MixtureConfig
    is_local: bool = False
    attention_norm: bool = True  # the norm before attention


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Layers one after another: bidirectional as an encoder, causal as a decoder."""

    num_layers: int
    attention: AttentionConfig
    feed_forward: FeedForwardConfig | MixtureConfig
    norm: NormConfig = field(default_factory=RMSNormConfig)
    pre_norm: bool = True  # of what a branch reads (GPT-2, Llama)
    post_norm: bool = False  # of what a branch gives, before it is added (OLMo 2; Gemma: both)
    sum_norm: bool = False  # of the residual after each addition (BERT)
    final_norm: bool = True  # of the last residual
    first_attention_norm: bool = True  # False: layer 0 attends to its input as it is (ModernBERT)
    local: LocalConfig | None = None
    num_dense: int = 0  # first layers, whose feed-forward is `dense` (DeepSeek)
    dense: FeedForwardConfig | None = None
    relative_bias: RelativeBiasConfig | None = None
    scan: bool = True  # compile one layer, loop over all; False unrolls
    remat: str = "none"  # what layers keep for the backward pass, a name of REMAT_POLICIES

    def __post_init__(self) -> None:
        _positive(self, "num_layers")
        _one_of(self, "remat", REMAT_POLICIES)
        if self.sum_norm and (self.pre_norm or self.post_norm):
            raise ValueError("sum_norm excludes pre_norm and post_norm")
        if not (self.pre_norm or self.post_norm or self.sum_norm):
            raise ValueError("one of pre_norm, post_norm, sum_norm must be True")
        if self.relative_bias is not None and self.attention.softcap is not None:
            raise ValueError("relative_bias excludes attention.softcap")
        if (self.num_dense > 0) != (self.dense is not None):
            raise ValueError("num_dense > 0 and dense come together")

    def layer(self, i: int) -> LayerConfig:
        """The config of layer i, counted from 0."""
        attention = self.attention
        is_local = self.local is not None and not self.local.is_global(i)
        if is_local and self.local is not None:
            rope = self.local.rope or attention.rope
            attention = replace(attention, window=self.local.window, rope=rope)
        dense = self.dense if i < self.num_dense else None
        return LayerConfig(
            attention=attention,
            feed_forward=dense or self.feed_forward,
            is_local=is_local,
            attention_norm=self.pre_norm and (i > 0 or self.first_attention_norm),
        )


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Token ids to the first residual."""

    scale: float | None = None  # of the rows looked up; None = sqrt(d_model)
    num_positions: int | None = None  # learned positions (GPT-2, BERT); the longest row, tokens
    first_position: int = 0  # the row of the table that position 0 takes (RoBERTa: 2)
    num_types: int | None = None  # segment embeddings; all tokens are of type 0 (BERT)
    norm: bool = False  # the stack's norm, over the sum (BERT)

    def __post_init__(self) -> None:
        _positive_or_none(self, "scale", "num_positions", "num_types")
        if self.first_position < 0:
            raise ValueError(f"first_position must be >= 0, got {self.first_position}")


@dataclass(frozen=True, kw_only=True)
class HeadTransformConfig:
    """A square product, an activation and the stack's norm before the logits (BERT)."""

    activation: str = "gelu"
    bias: bool = True

    def __post_init__(self) -> None:
        _one_of(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    d_model: int
    encoder: StackConfig | None = None
    decoder: StackConfig | None = None
    vocab_size: int | None = None  # None = the token store's and the objective's
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    share_embeddings: bool = True  # of encoder and decoder
    tie_embeddings: bool = True  # of the last stack and the logits
    head_transform: HeadTransformConfig | None = None
    head_bias: bool = False
    logit_scale: float = 1.0
    logit_softcap: float | None = None  # c * tanh(logits / c), Gemma 2
    num_future: int = 0  # extra heads, a layer each: tokens 2, 3, … ahead (Gloeckle et al. 2024)
    start_id: int | None = None  # what a decoder with an encoder reads first; None = BOS
    dtype: str = "bfloat16"  # of activations and products; parameters are float32

    def __post_init__(self) -> None:
        _positive(self, "d_model", "logit_scale")
        _positive_or_none(self, "logit_softcap")
        _one_of(self, "dtype", DTYPES)
        if self.encoder is None and self.decoder is None:
            raise ValueError("encoder and decoder are both None; give one of them, or both")
        if self.vocab_size is not None and self.vocab_size < 2:
            raise ValueError(f"vocab_size must be >= 2 or None, got {self.vocab_size}")
        if self.num_future < 0 or (self.num_future and self.decoder is None):
            raise ValueError(f"num_future must be >= 0, and needs a decoder, got {self.num_future}")
        if not self.share_embeddings and (self.encoder is None or self.decoder is None):
            raise ValueError("share_embeddings=False needs an encoder and a decoder")

    @property
    def last(self) -> StackConfig:
        """The stack whose output the logits are of."""
        stack = self.decoder or self.encoder
        assert stack is not None
        return stack


def _positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be > 0, got {getattr(config, name)}")


def _positive_or_none(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) is not None and getattr(config, name) <= 0:
            raise ValueError(f"{name} must be > 0 or None, got {getattr(config, name)}")


def _one_of(config: object, name: str, allowed: Collection[str]) -> None:
    if getattr(config, name) not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(allowed)}, got {getattr(config, name)!r}"
        )
