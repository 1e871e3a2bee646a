"""Gemma 2 and 3: norms before and after each branch, local and global layers, soft-caps."""

from collections.abc import Mapping
from typing import Any

from nanojaxlm.interop.families import decoder, fit, rotary, windows
from nanojaxlm.interop.families.fields import UNUSED, Fields
from nanojaxlm.interop.families.layout import feed_forward
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    LocalConfig,
    ModelConfig,
    RMSNormConfig,
    Rope,
    StackConfig,
)

Config = Mapping[str, Any]

# hidden_act is Gemma 1's; the later ones compute hidden_activation
UNUSED_HERE = UNUSED | {"attention_dropout", "cache_implementation", "hidden_act"}
DEFAULT_WINDOW = 4096
NORMS = {
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm",
    "feed_forward_post_norm": "post_feedforward_layernorm",
}


def read_stack(
    fields: Fields,
    rope: Rope,
    local: LocalConfig | None,
    *,
    window: int | None,
    softcap: float | None,
    qk_norm: str | None = None,
) -> StackConfig:
    """What Gemma 2, Gemma 3 and both stacks of T5Gemma have in common."""
    scalar = fields.take(float, "query_pre_attn_scalar", default=256.0)
    bias = fields.take(bool, "attention_bias", default=False)
    attention = decoder.read_attention(
        fields,
        rope,
        window=window,
        softcap=softcap,
        qk_norm=qk_norm,
        scale=scalar**-0.5,
        qkv_bias=bias,
        out_bias=bias,
    )
    feed = FeedForwardConfig(
        hidden=fields.positive("intermediate_size"),
        activation=fields.activation("hidden_activation", default="gelu_pytorch_tanh"),
    )
    epsilon = fields.take(float, "rms_norm_eps", default=1e-6)
    return StackConfig(
        num_layers=fields.positive("num_hidden_layers"),
        attention=attention,
        feed_forward=feed,
        norm=RMSNormConfig(epsilon=epsilon, centered=True),
        post_norm=True,
        local=local,
    )


def write_stack(config: ModelConfig, stack: StackConfig, family: str) -> dict[str, Any]:
    """The fields of one stack, but for rotary positions and soft-caps."""
    feed = fit.plain(stack, family)
    written = decoder.write_model(config, stack, feed, family) | windows.write_windows(stack)
    del written["hidden_act"]
    return written | {
        "attention_bias": stack.attention.qkv_bias,
        "hidden_activation": fit.NAMES[feed.activation],
        "query_pre_attn_scalar": _scalar(stack.attention),
        "sliding_window": windows.window(stack) or DEFAULT_WINDOW,
    }


def alternating(fields: Fields) -> list[bool]:
    """True for the layers that slide where there are no layer_types: every other, the first too."""
    return [i % 2 == 0 for i in range(fields.positive("num_hidden_layers"))]


def _scalar(attention: AttentionConfig) -> int:
    """Of which the inverse root is the scale of q k; transformers want it whole."""
    return attention.head_dim if attention.scale is None else round(attention.scale**-2)


def _read_gemma2(config: Config) -> ModelConfig:
    fields = Fields(config, "gemma2", UNUSED_HERE)
    fields.only("use_bidirectional_attention", None, False)
    decoder.whole_heads(fields)
    window = fields.take(int, "sliding_window", default=DEFAULT_WINDOW)
    window, local = windows.read_windows(fields, alternating(fields), window)
    softcap = fields.take_or_null(float, "attn_logit_softcapping", 50.0)
    rope = rotary.read_rope(fields)
    return decoder.read_model(
        fields,
        read_stack(fields, rope, local, window=window, softcap=softcap),
        tie_default=True,
        embed_scale=None,
        logit_softcap=fields.take_or_null(float, "final_logit_softcapping", 30.0),
    )


def _write_gemma2(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "gemma2")
    written = write_stack(config, stack, "gemma2")
    written |= rotary.write_rope(fit.rope(stack.attention, "gemma2"))
    written["attn_logit_softcapping"] = stack.attention.softcap
    written["final_logit_softcapping"] = config.logit_softcap
    return fit.confirm("gemma2", config, written, _read_gemma2)


def _read_gemma3(config: Config) -> ModelConfig:
    fields = Fields(config, "gemma3_text", UNUSED_HERE)
    fields.only("use_bidirectional_attention", None, False)
    fields.only("attn_logit_softcapping", None)  # transformers have the field, and never apply it
    decoder.whole_heads(fields)
    window = fields.take(int, "sliding_window", default=DEFAULT_WINDOW)
    pattern = fields.positive("sliding_window_pattern", "_sliding_window_pattern", default=6)
    layers = range(fields.positive("num_hidden_layers"))
    slides = [(i + 1) % pattern != 0 for i in layers]
    window, local = windows.read_windows(fields, slides, window)
    ropes = rotary.read_two_ropes(
        fields, ("rope_theta", 1_000_000.0), ("rope_local_base_freq", 10_000.0), scales_local=False
    )
    rope, local = rotary.shared_out(*ropes, window, local)
    return decoder.read_model(
        fields,
        read_stack(fields, rope, local, window=window, softcap=None, qk_norm="head"),
        tie_default=True,
        embed_scale=None,
        logit_softcap=fields.take(float, "final_logit_softcapping", default=None),
    )


def _write_gemma3(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "gemma3_text")
    written = write_stack(config, stack, "gemma3_text")
    fit.rope(stack.attention, "gemma3_text")
    written |= rotary.write_two_ropes(stack, "rope_theta", "rope_local_base_freq")
    written["final_logit_softcapping"] = config.logit_softcap
    if stack.local is not None:  # 6, if absent, whatever layer_types say
        written["sliding_window_pattern"] = stack.local.global_every
    return fit.confirm("gemma3_text", config, written, _read_gemma3)


def _tensors(config: ModelConfig) -> list[Tensor]:
    def mlp(name: str, path: str, feed: FeedForwardConfig) -> list[Tensor]:
        return feed_forward(f"{name}.mlp", f"{path}/feed_forward", feed, config.d_model)

    return decoder.tensors(config, NORMS, mlp)


GEMMA2 = Family(
    ("gemma2",),
    (fit.ARCHITECTURES["gemma2"],),
    _read_gemma2,
    _write_gemma2,
    _tensors,
    decoder.BUFFERS,
    decoder.TIED,
)
GEMMA3 = Family(
    ("gemma3_text",),
    (fit.ARCHITECTURES["gemma3_text"],),
    _read_gemma3,
    _write_gemma3,
    _tensors,
    decoder.BUFFERS,
    decoder.TIED,
)
