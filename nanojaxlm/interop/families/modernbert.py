"""ModernBERT for masked tokens: rotary positions, local and global layers, GeGLU."""

from collections.abc import Mapping
from typing import Any

from nanojaxlm.interop.families import decoder, fit, rotary, windows
from nanojaxlm.interop.families.fields import UNUSED, Fields, vocabulary, words
from nanojaxlm.interop.families.layout import linear, norm, table, vector
from nanojaxlm.interop.family import Family, Part, Tensor
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    HeadTransformConfig,
    LayerNormConfig,
    ModelConfig,
    StackConfig,
)

# layer_norm_eps is written by the publishers beside norm_eps, and nothing reads it
_UNUSED = UNUSED | words(
    "attention_dropout classifier_pooling deterministic_flash_attn embedding_dropout "
    "initializer_cutoff_factor layer_norm_eps mlp_dropout position_embedding_type "
    "reference_compile repad_logits_with_grad sparse_pred_ignore_index sparse_prediction"
)
_THETAS = ("global_rope_theta", "local_rope_theta")


def _read(config: Mapping[str, Any]) -> ModelConfig:
    fields = Fields(config, "modernbert", _UNUSED)
    width, heads = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    if width % heads:
        fields.refuse("hidden_size", f"only a multiple of num_attention_heads={heads} is")
    num_layers = fields.positive("num_hidden_layers")
    every = fields.positive("global_attn_every_n_layers", default=3)
    # the window's both sides, itself not counted
    window = fields.positive("local_attention", default=128) // 2 + 1
    slides = [i % every != 0 for i in range(num_layers)]
    window, local = windows.read_windows(fields, slides, window)
    ropes = rotary.read_two_ropes(
        fields, (_THETAS[0], 160_000.0), (_THETAS[1], 10_000.0), scales_local=True
    )
    rope, local = rotary.shared_out(*ropes, window, local)
    bias = fields.take(bool, "attention_bias", default=False)
    stack = StackConfig(
        num_layers=num_layers,
        attention=AttentionConfig(
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=width // heads,
            rope=rope,
            qkv_bias=bias,
            out_bias=bias,
            window=window,
        ),
        feed_forward=FeedForwardConfig(
            hidden=fields.positive("intermediate_size"),
            activation=fields.activation("hidden_activation", default="gelu"),
            bias=fields.take(bool, "mlp_bias", default=False),
        ),
        norm=LayerNormConfig(
            epsilon=fields.take(float, "norm_eps", default=1e-5),
            bias=fields.take(bool, "norm_bias", default=False),
        ),
        first_attention_norm=False,
        local=local,
    )
    model = ModelConfig(
        d_model=width,
        encoder=stack,
        vocab_size=fields.positive("vocab_size"),
        embed=EmbedConfig(scale=1.0, norm=True),
        tie_embeddings=fields.take(bool, "tie_word_embeddings", default=True),
        head_transform=HeadTransformConfig(
            activation=fields.activation("classifier_activation", default="gelu"),
            bias=fields.take(bool, "classifier_bias", default=False),
        ),
        head_bias=fields.take(bool, "decoder_bias", default=True),
        dtype=fields.dtype(),
    )
    fields.finish()
    return model


def _write(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_encoder(config, "modernbert")
    feed, normed = fit.plain(stack, "modernbert"), fit.layer_norm(stack, "modernbert")
    fit.rope(stack.attention, "modernbert")
    transform = config.head_transform or HeadTransformConfig()
    window = windows.window(stack)
    written = rotary.write_two_ropes(stack, *_THETAS) | windows.write_windows(stack)
    written |= {
        "attention_bias": stack.attention.qkv_bias,
        "classifier_activation": fit.NAMES[transform.activation],
        "classifier_bias": transform.bias,
        "decoder_bias": config.head_bias,
        "dtype": config.dtype,
        "hidden_activation": fit.NAMES[feed.activation],
        "hidden_size": config.d_model,
        "intermediate_size": feed.hidden,
        "local_attention": 128 if window is None else 2 * (window - 1),
        "mlp_bias": feed.bias,
        "norm_bias": normed.bias,
        "norm_eps": normed.epsilon,
        "num_attention_heads": stack.attention.num_heads,
        "num_hidden_layers": stack.num_layers,
        "tie_word_embeddings": config.tie_embeddings,
        "vocab_size": vocabulary(config),
    }
    return fit.confirm("modernbert", config, written, _read)


def _layer(there: str, here: str, config: ModelConfig, is_first: bool) -> list[Tensor]:
    stack, width = fit.only_encoder(config, "modernbert"), config.d_model
    c, feed = stack.attention, fit.plain(stack, "modernbert")
    heads, hidden = (c.num_heads, c.head_dim), feed.hidden
    out = c.num_heads * c.head_dim

    def block(i: int, size: int) -> slice:
        return slice(i * size, (i + 1) * size)

    qkv = [(f"{here}/attention/{which}", block(i, out)) for i, which in enumerate("qkv")]
    # what goes through the activation comes first
    wi = [(f"{here}/feed_forward/{w}", block(i, hidden)) for i, w in enumerate(("gate", "up"))]
    kernels = [Part(f"{p}/kernel", (*heads, width), (2, 0, 1), rows=rows) for p, rows in qkv]
    tensors = (
        [] if is_first else norm(f"{there}.attn_norm", f"{here}/attention_norm", stack.norm, width)
    )
    tensors.append(Tensor(f"{there}.attn.Wqkv.weight", (3 * out, width), tuple(kernels)))
    if c.qkv_bias:
        biases = [Part(f"{p}/bias", heads, (0, 1), rows=rows) for p, rows in qkv]
        tensors.append(Tensor(f"{there}.attn.Wqkv.bias", (3 * out,), tuple(biases)))
    tensors += linear(f"{there}.attn.Wo", f"{here}/attention/out", heads, (width,), c.out_bias)
    tensors += norm(f"{there}.mlp_norm", f"{here}/feed_forward_norm", stack.norm, width)
    kernels = [Part(f"{p}/kernel", (hidden, width), (1, 0), rows=rows) for p, rows in wi]
    tensors.append(Tensor(f"{there}.mlp.Wi.weight", (2 * hidden, width), tuple(kernels)))
    if feed.bias:
        biases = [Part(f"{p}/bias", (hidden,), (0,), rows=rows) for p, rows in wi]
        tensors.append(Tensor(f"{there}.mlp.Wi.bias", (2 * hidden,), tuple(biases)))
    down = f"{here}/feed_forward/down"
    return tensors + linear(f"{there}.mlp.Wo", down, (hidden,), (width,), feed.bias)


def _tensors(config: ModelConfig) -> list[Tensor]:
    stack, width, rows = fit.only_encoder(config, "modernbert"), config.d_model, vocabulary(config)
    assert config.head_transform is not None
    result = [
        table("model.embeddings.tok_embeddings.weight", "embed/embedding", rows, width),
        *norm("model.embeddings.norm", "embed/norm", stack.norm, width),
    ]
    for i in range(stack.num_layers):
        result += _layer(f"model.layers.{i}", f"encoder/layer_{i}", config, is_first=i == 0)
    bias = config.head_transform.bias
    result += [
        *norm("model.final_norm", "encoder/final_norm", stack.norm, width),
        *linear("head.dense", "head/transform", (width,), (width,), bias),
        *norm("head.norm", "head/norm", stack.norm, width),
    ]
    if not config.tie_embeddings:
        result += linear("decoder", "head", (width,), (rows,))
    if config.head_bias:
        result.append(vector("decoder.bias", "head/bias", rows))
    return result


MODERNBERT = Family(
    ("modernbert",),
    (fit.ARCHITECTURES["modernbert"],),
    _read,
    _write,
    _tensors,
    decoder.BUFFERS,
    {"decoder.weight": "model.embeddings.tok_embeddings.weight"},
)
