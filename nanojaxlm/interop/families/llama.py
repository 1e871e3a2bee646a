"""Llama 2 and 3, Mistral, Qwen 2 and 3, OLMo 2: RMSNorm, rotary positions, SwiGLU."""

from collections.abc import Mapping
from typing import Any

from nanojaxlm.interop.families import decoder, fit, rotary, windows
from nanojaxlm.interop.families.fields import UNUSED, Fields
from nanojaxlm.interop.families.layout import feed_forward
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.model.config import ModelConfig, RMSNormConfig, StackConfig

Config = Mapping[str, Any]
_UNUSED = UNUSED | {"attention_dropout"}


def _read_llama(config: Config) -> ModelConfig:
    fields = Fields(config, "llama", _UNUSED | {"pretraining_tp"})
    decoder.whole_heads(fields)
    bias = fields.take(bool, "attention_bias", default=False)
    attention = decoder.read_attention(
        fields, rotary.read_rope(fields), kv_heads_default=True, qkv_bias=bias, out_bias=bias
    )
    stack = StackConfig(
        num_layers=fields.positive("num_hidden_layers"),
        attention=attention,
        feed_forward=decoder.read_gated(fields, bias=fields.take(bool, "mlp_bias", default=False)),
        norm=RMSNormConfig(epsilon=fields.take(float, "rms_norm_eps", default=1e-6)),
    )
    return decoder.read_model(fields, stack)


def _write_llama(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "llama")
    feed = fit.plain(stack, "llama")
    written = decoder.write_model(config, stack, feed, "llama")
    written |= rotary.write_rope(fit.rope(stack.attention, "llama"))
    written |= {"attention_bias": stack.attention.qkv_bias, "mlp_bias": feed.bias}
    return fit.confirm("llama", config, written, _read_llama)


def _read_mistral(config: Config) -> ModelConfig:
    fields = Fields(config, "mistral", _UNUSED)
    window = fields.take_or_null(int, "sliding_window", 4096)
    attention = decoder.read_attention(fields, rotary.read_rope(fields), window=window)
    stack = StackConfig(
        num_layers=fields.positive("num_hidden_layers"),
        attention=attention,
        feed_forward=decoder.read_gated(fields),
        norm=RMSNormConfig(epsilon=fields.take(float, "rms_norm_eps", default=1e-6)),
    )
    return decoder.read_model(fields, stack)


def _write_mistral(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "mistral")
    written = decoder.write_model(config, stack, fit.plain(stack, "mistral"), "mistral")
    written |= rotary.write_rope(fit.rope(stack.attention, "mistral"))
    written["sliding_window"] = stack.attention.window
    return fit.confirm("mistral", config, written, _read_mistral)


def _read_qwen(config: Config, family: str) -> ModelConfig:
    """Qwen 2, 2.5 (biases, always) and 3 (norms of queries and keys)."""
    fields = Fields(config, family, _UNUSED)
    third = family == "qwen3"
    num_layers = fields.positive("num_hidden_layers")
    window = fields.take(int, "sliding_window", default=4096)
    if not fields.take(bool, "use_sliding_window", default=False):
        window = None
    first = fields.take(int, "max_window_layers", default=28)
    slides = [window is not None and i >= first for i in range(num_layers)]
    window, local = windows.read_windows(fields, slides, window)
    bias = fields.take(bool, "attention_bias", default=False) if third else True
    attention = decoder.read_attention(
        fields,
        rotary.read_rope(fields),
        qkv_bias=bias,
        out_bias=bias and third,
        qk_norm="head" if third else None,
        window=window,
    )
    stack = StackConfig(
        num_layers=num_layers,
        attention=attention,
        feed_forward=decoder.read_gated(fields),
        norm=RMSNormConfig(epsilon=fields.take(float, "rms_norm_eps", default=1e-6)),
        local=local,
    )
    return decoder.read_model(fields, stack)


def _write_qwen(config: ModelConfig, family: str) -> dict[str, Any]:
    stack = fit.only_decoder(config, family)
    written = decoder.write_model(config, stack, fit.plain(stack, family), family)
    written |= rotary.write_rope(fit.rope(stack.attention, family))
    written |= windows.write_windows(stack)
    slides = windows.slides(stack)
    written |= {
        "max_window_layers": slides.index(True) if any(slides) else stack.num_layers,
        "sliding_window": windows.window(stack),
        "use_sliding_window": any(slides),
    }
    if family == "qwen3":
        written["attention_bias"] = stack.attention.qkv_bias
    return fit.confirm(family, config, written, lambda told: _read_qwen(told, family))


def _read_olmo2(config: Config) -> ModelConfig:
    fields = Fields(config, "olmo2", _UNUSED)
    bias = fields.take(bool, "attention_bias", default=False)
    attention = decoder.read_attention(
        fields,
        rotary.read_rope(fields),
        kv_heads_default=True,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="width",
    )
    stack = StackConfig(
        num_layers=fields.positive("num_hidden_layers"),
        attention=attention,
        feed_forward=decoder.read_gated(fields),
        norm=RMSNormConfig(epsilon=fields.take(float, "rms_norm_eps", default=1e-5)),
        pre_norm=False,
        post_norm=True,
    )
    return decoder.read_model(fields, stack)


def _write_olmo2(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "olmo2")
    written = decoder.write_model(config, stack, fit.plain(stack, "olmo2"), "olmo2")
    written |= rotary.write_rope(fit.rope(stack.attention, "olmo2"))
    written["attention_bias"] = stack.attention.qkv_bias
    return fit.confirm("olmo2", config, written, _read_olmo2)


def _tensors(config: ModelConfig, norms: Mapping[str, str]) -> list[Tensor]:
    def mlp(name: str, path: str, feed: Any) -> list[Tensor]:
        return feed_forward(f"{name}.mlp", f"{path}/feed_forward", feed, config.d_model)

    return decoder.tensors(config, norms, mlp)


def _pre_norm_tensors(config: ModelConfig) -> list[Tensor]:
    return _tensors(config, decoder.PRE_NORMS)


LLAMA = Family(
    ("llama",),
    (fit.ARCHITECTURES["llama"],),
    _read_llama,
    _write_llama,
    _pre_norm_tensors,
    decoder.BUFFERS,
    decoder.TIED,
)
MISTRAL = Family(
    ("mistral",),
    (fit.ARCHITECTURES["mistral"],),
    _read_mistral,
    _write_mistral,
    _pre_norm_tensors,
    decoder.BUFFERS,
    decoder.TIED,
)
QWEN2 = Family(
    ("qwen2",),
    (fit.ARCHITECTURES["qwen2"],),
    lambda config: _read_qwen(config, "qwen2"),
    lambda config: _write_qwen(config, "qwen2"),
    _pre_norm_tensors,
    decoder.BUFFERS,
    decoder.TIED,
)
QWEN3 = Family(
    ("qwen3",),
    (fit.ARCHITECTURES["qwen3"],),
    lambda config: _read_qwen(config, "qwen3"),
    lambda config: _write_qwen(config, "qwen3"),
    _pre_norm_tensors,
    decoder.BUFFERS,
    decoder.TIED,
)
OLMO2 = Family(
    ("olmo2",),
    (fit.ARCHITECTURES["olmo2"],),
    _read_olmo2,
    _write_olmo2,
    lambda config: _tensors(config, decoder.POST_NORMS),
    decoder.BUFFERS,
    decoder.TIED,
)
