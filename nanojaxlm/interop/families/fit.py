"""Whether a family can hold a model: what it is written as must read as the same model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from nanojaxlm.errors import UserError
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    LayerNormConfig,
    MixtureConfig,
    ModelConfig,
    RMSNormConfig,
    Rope,
    StackConfig,
)

# What config.json says of the class that transformers load a folder with.
ARCHITECTURES = {
    "bert": "BertForMaskedLM",
    "dots1": "Dots1ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "modernbert": "ModernBertForMaskedLM",
    "olmo2": "Olmo2ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "roberta": "RobertaForMaskedLM",
    "t5": "T5ForConditionalGeneration",
    "t5gemma": "T5GemmaForConditionalGeneration",
}
# How a model is run, which no config.json tells.
HOW_IT_RUNS = ("dtype", "remat", "scan")
# Names that transformers gives our activations; gelu_tanh has several.
NAMES = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu_squared": "relu2",
}


def confirm(
    family: str,
    config: ModelConfig,
    written: dict[str, Any],
    read: Callable[[Mapping[str, Any]], ModelConfig],
) -> dict[str, Any]:
    """`written` and what it is of, once it is sure that it reads as this model again.

    Raises:
        UserError: naming the first field of ours that reads differently.
    """
    try:
        back = read(written)
    except ValueError as error:
        raise UserError(f"a {family} model cannot be this one: {error}") from None
    found = difference(config, back)
    if found is not None:
        path, ours, theirs = found
        raise UserError(
            f"model.{path}={ours} cannot be written as {family}, which has {theirs} there; train "
            f"with {theirs}, or write it as another family"
        )
    return {"architectures": [ARCHITECTURES[family]], "model_type": family} | written


def difference(a: Any, b: Any, path: str = "") -> tuple[str, str, str] | None:
    """(path, a there, b there) of the first field in which two configs compute different things."""
    if is_dataclass(a) and is_dataclass(b) and type(a) is type(b):
        a, b = _explicit(a), _explicit(b)
        for field in fields(a):
            if field.name in HOW_IT_RUNS:
                continue
            inner = f"{path}.{field.name}".removeprefix(".")
            found = difference(getattr(a, field.name), getattr(b, field.name), inner)
            if found is not None:
                return found
        return None
    if isinstance(a, float) and isinstance(b, int | float):
        same = math.isclose(a, b, rel_tol=1e-9)
    else:
        same = a == b
    return None if same else (path, _said(a), _said(b))


def only_decoder(config: ModelConfig, family: str) -> StackConfig:
    """The decoder of a model that has no encoder."""
    if config.decoder is None or config.encoder is not None:
        raise UserError(f"{family} has a decoder and no encoder, unlike this model")
    return config.decoder


def only_encoder(config: ModelConfig, family: str) -> StackConfig:
    """The encoder of a model that has no decoder."""
    if config.encoder is None or config.decoder is not None:
        raise UserError(f"{family} has an encoder and no decoder, unlike this model")
    return config.encoder


def both(config: ModelConfig, family: str) -> tuple[StackConfig, StackConfig]:
    """Encoder and decoder."""
    if config.encoder is None or config.decoder is None:
        raise UserError(f"{family} has an encoder and a decoder, unlike this model")
    return config.encoder, config.decoder


def plain(stack: StackConfig, family: str) -> FeedForwardConfig:
    """The feed-forward of a stack without a mixture."""
    if isinstance(stack.feed_forward, MixtureConfig):
        raise UserError(f"feed_forward is a mixture of experts, and {family} has none")
    return stack.feed_forward


def mixture(stack: StackConfig, family: str) -> MixtureConfig:
    """The mixture of a stack that has one."""
    if not isinstance(stack.feed_forward, MixtureConfig):
        raise UserError(f"feed_forward is no mixture of experts, and {family} has one")
    return stack.feed_forward


def rms_norm(stack: StackConfig, family: str) -> RMSNormConfig:
    """The RMSNorm of a stack."""
    if not isinstance(stack.norm, RMSNormConfig):
        raise UserError(f"norm is a LayerNorm, and {family} has RMSNorm")
    return stack.norm


def layer_norm(stack: StackConfig, family: str) -> LayerNormConfig:
    """The LayerNorm of a stack."""
    if not isinstance(stack.norm, LayerNormConfig):
        raise UserError(f"norm is an RMSNorm, and {family} has LayerNorm")
    return stack.norm


def rope(attention: AttentionConfig, family: str) -> Rope:
    """The rotary positions of an attention."""
    if attention.rope is None:
        raise UserError(f"attention.rope is None, and {family} has rotary positions")
    return attention.rope


def _explicit(config: Any) -> Any:
    """With what None stands for."""
    if isinstance(config, AttentionConfig) and config.scale is None:
        return replace(config, scale=config.head_dim**-0.5)
    if isinstance(config, StackConfig) and config.local is not None and config.local.rope is None:
        return replace(config, local=replace(config.local, rope=config.attention.rope))
    if isinstance(config, ModelConfig) and config.embed.scale is None:
        return replace(config, embed=replace(config.embed, scale=math.sqrt(config.d_model)))
    return config


def _said(value: Any) -> str:
    return type(value).__name__ if is_dataclass(value) else repr(value)
