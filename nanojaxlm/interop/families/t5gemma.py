"""T5Gemma: an encoder and a decoder of Gemma 2's layers, with cross-attention between."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nanojaxlm.errors import UserError
from nanojaxlm.interop.families import decoder as decoders
from nanojaxlm.interop.families import fit, gemma, rotary, windows
from nanojaxlm.interop.families.fields import FIXED, Fields, vocabulary
from nanojaxlm.interop.families.layout import attention, feed_forward, linear, norm, table
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.model.config import (
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    StackConfig,
)

_UNUSED = gemma.UNUSED_HERE | {"classifier_dropout_rate", "dropout_rate"}
# A module's tie_word_embeddings is not read: the model's is.
_UNUSED_IN_MODULE = _UNUSED | {"tie_word_embeddings"}
_NORMS = {
    "attention_norm": "pre_self_attn_layernorm",
    "attention_post_norm": "post_self_attn_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm",
    "feed_forward_post_norm": "post_feedforward_layernorm",
}
_CROSS_NORMS = {
    "cross_norm": "pre_cross_attn_layernorm",
    "cross_post_norm": "post_cross_attn_layernorm",
}


def _read(config: Mapping[str, Any]) -> ModelConfig:
    fields = Fields(config, "t5gemma", _UNUSED, FIXED | {"is_encoder_decoder": (True,)})
    encoder = _module(fields, "encoder", is_decoder=False)
    decoder = _module(fields, "decoder", is_decoder=True)
    width = decoder.positive("hidden_size")
    for name, own in (("hidden_size", width), ("vocab_size", decoder.positive("vocab_size"))):
        if encoder.positive(name) != own:
            encoder.refuse(name, f"only that of the decoder, {own}, is")
    softcap = decoder.take_or_null(float, "final_logit_softcapping", 30.0)
    encoder.take(float, "final_logit_softcapping", default=None)  # of no logits
    encoder.take(int, "bos_token_id", default=None)
    start = decoder.take(int, "bos_token_id", default=None)
    fields.only("vocab_size", None, decoder.positive("vocab_size"))
    model = ModelConfig(
        d_model=width,
        encoder=_read_stack(encoder, is_decoder=False),
        decoder=_read_stack(decoder, is_decoder=True),
        vocab_size=decoder.positive("vocab_size"),
        embed=EmbedConfig(scale=None),
        share_embeddings=False,
        tie_embeddings=fields.take(bool, "tie_word_embeddings", default=True),
        logit_softcap=softcap,
        start_id=fields.take(int, "decoder_start_token_id", default=start),
        dtype=fields.dtype(),
    )
    for each in (fields, encoder, decoder):
        each.take(str, "dtype", "torch_dtype", default=None)
        each.finish()
    return model


def _module(fields: Fields, name: str, is_decoder: bool) -> Fields:
    fixed = FIXED | {"is_decoder": (is_decoder,), "is_encoder_decoder": (False, True)}
    module = Fields(fields.take(dict, name), f"t5gemma's {name}", _UNUSED_IN_MODULE, fixed)
    if is_decoder:  # of the encoder's output
        module.only("cross_attention_hidden_size", None, module.positive("hidden_size"))
    module.take(str, "torch_dtype", "dtype", default=None)
    module.take(str, "dtype", default=None)
    return module


def _read_stack(fields: Fields, is_decoder: bool) -> StackConfig:
    decoders.whole_heads(fields)
    window = fields.take(int, "sliding_window", default=gemma.DEFAULT_WINDOW)
    if not is_decoder:  # transformers' bidirectional window does not count the token itself
        window += 1
    window, local = windows.read_windows(fields, gemma.alternating(fields), window)
    softcap = fields.take_or_null(float, "attn_logit_softcapping", 50.0)
    rope = rotary.read_rope(fields)
    return gemma.read_stack(fields, rope, local, window=window, softcap=softcap)


def _write(config: ModelConfig) -> dict[str, Any]:
    encoder, decoder = fit.both(config, "t5gemma")
    written = {
        "decoder": _write_stack(config, decoder, is_decoder=True),
        "dtype": config.dtype,
        "encoder": _write_stack(config, encoder, is_decoder=False),
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.tie_embeddings,
        "vocab_size": vocabulary(config),
    }
    if config.start_id is not None:
        written["decoder_start_token_id"] = config.start_id
        written["decoder"]["bos_token_id"] = config.start_id
    return fit.confirm("t5gemma", config, written, _read)


def _write_stack(config: ModelConfig, stack: StackConfig, is_decoder: bool) -> dict[str, Any]:
    if not is_decoder:
        stack = _exclusive(stack)
    written = gemma.write_stack(config, stack, "t5gemma")
    del written["dtype"]
    return (
        written
        | rotary.write_rope(fit.rope(stack.attention, "t5gemma"))
        | {
            "attn_logit_softcapping": stack.attention.softcap,
            "final_logit_softcapping": config.logit_softcap,
            "is_decoder": is_decoder,
            "model_type": "t5_gemma_module",
        }
    )


def _exclusive(stack: StackConfig) -> StackConfig:
    """An encoder's stack with its window as transformers count it."""
    window = windows.window(stack)
    if window is None:
        return stack
    if window < 2:
        raise UserError("model.encoder has a window of 1; t5gemma sees at least the neighbours")
    if stack.local is None:
        return replace(stack, attention=replace(stack.attention, window=window - 1))
    return replace(stack, local=replace(stack.local, window=window - 1))


def _tensors(config: ModelConfig) -> list[Tensor]:
    rows, width = vocabulary(config), config.d_model

    def mlp(name: str, path: str, feed: FeedForwardConfig) -> list[Tensor]:
        return feed_forward(f"{name}.mlp", f"{path}/feed_forward", feed, width)

    result = []
    encoder, decoder = fit.both(config, "t5gemma")
    for name, stack, embed in (
        ("encoder", encoder, "encoder_embed"),
        ("decoder", decoder, "embed"),
    ):
        there = f"model.{name}"
        result.append(table(f"{there}.embed_tokens.weight", f"{embed}/embedding", rows, width))
        result += decoders.layers(f"{there}.layers", name, stack, width, _NORMS, mlp)
        result += norm(f"{there}.norm", f"{name}/final_norm", stack.norm, width)
    for i in range(decoder.num_layers):
        there, here = f"model.decoder.layers.{i}", f"decoder/layer_{i}"
        cross = (f"{there}.cross_attn", f"{here}/cross_attention")
        result += attention(*cross, decoder.attention, width)
        for ours, theirs in _CROSS_NORMS.items():
            result += norm(f"{there}.{theirs}", f"{here}/{ours}", decoder.norm, width)
    if not config.tie_embeddings:
        result += linear("lm_head.out_proj", "head", (width,), (rows,))
    return result


T5GEMMA = Family(
    ("t5gemma",),
    (fit.ARCHITECTURES["t5gemma"],),
    _read,
    _write,
    _tensors,
    decoders.BUFFERS,
    {"lm_head.out_proj.weight": "model.decoder.embed_tokens.weight"},
)
