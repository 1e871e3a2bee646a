"""The numbers of a model; impossible ones are refused here."""

from dataclasses import dataclass

REMAT_POLICIES = ("none", "full", "dots")
DTYPES = ("float32", "bfloat16")
ACTIVATIONS = ("silu", "gelu", "relu_squared")


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    num_heads: int
    num_kv_heads: int  # < num_heads: grouped-query attention
    head_dim: int
    rope_theta: float = 10_000.0
    qk_norm: bool = False  # RMSNorm of queries and keys before the rotation
    kv_shift: bool = False  # mix into each key and value the one before it, at a learned rate
    window: int | None = None  # tokens to the left, self included; None = all

    def __post_init__(self) -> None:
        _positive(self, "num_heads", "num_kv_heads", "head_dim", "rope_theta")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} must be a multiple of num_kv_heads={self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for the rotation, got {self.head_dim}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be >= 1 or None, got {self.window}")


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    hidden: int
    activation: str = "silu"
    gated: bool = True  # silu and gated: SwiGLU (Shazeer 2020)

    def __post_init__(self) -> None:
        _positive(self, "hidden")
        _one_of(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    num_layers: int
    attention: AttentionConfig
    feed_forward: FeedForwardConfig
    norm_epsilon: float = 1e-6
    scan: bool = True  # compile one layer, loop over all; False unrolls
    remat: str = "none"  # full: keep only layer inputs; dots: keep matrix products too

    def __post_init__(self) -> None:
        _positive(self, "num_layers", "norm_epsilon")
        _one_of(self, "remat", REMAT_POLICIES)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    d_model: int
    decoder: StackConfig
    vocab_size: int | None = None  # None = the token store's
    tie_embeddings: bool = True
    logit_softcap: float | None = None  # c * tanh(logits / c), Gemma 2
    dtype: str = "bfloat16"  # of activations and products; parameters are float32

    def __post_init__(self) -> None:
        _positive(self, "d_model")
        _one_of(self, "dtype", DTYPES)
        if self.vocab_size is not None and self.vocab_size < 2:
            raise ValueError(f"vocab_size must be >= 2 or None, got {self.vocab_size}")
        if self.logit_softcap is not None and self.logit_softcap <= 0:
            raise ValueError(f"logit_softcap must be > 0 or None, got {self.logit_softcap}")


def _positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be > 0, got {getattr(config, name)}")


def _one_of(config: object, name: str, allowed: tuple[str, ...]) -> None:
    if getattr(config, name) not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(allowed)}, got {getattr(config, name)!r}"
        )
