"""T5: the tied original with ReLU, and v1.1 and Flan, untied with a gated GELU."""

from collections.abc import Mapping
from typing import Any

from nanojaxlm.errors import UserError
from nanojaxlm.interop.families import fit
from nanojaxlm.interop.families.fields import ACTIVATIONS, FIXED, UNUSED, Fields, vocabulary
from nanojaxlm.interop.families.layout import attention, feed_forward, linear, norm, table
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    RelativeBiasConfig,
    RMSNormConfig,
    StackConfig,
)

_UNUSED = UNUSED | {"dropout_rate", "initializer_factor", "n_positions"}
_FIXED = FIXED | {"is_encoder_decoder": (True,)}
_NAMES = ("q", "k", "v", "o")


def _read(config: Mapping[str, Any]) -> ModelConfig:
    """Version 5 of transformers writes tie_word_embeddings: true for all, and tells v1.1 by
    scale_decoder_outputs, which the tied original alone has."""
    fields = Fields(config, "t5", _UNUSED, _FIXED)
    width = fields.positive("d_model")
    heads = fields.positive("num_heads")
    feed = _read_feed_forward(fields)
    buckets = RelativeBiasConfig(
        num_buckets=fields.positive("relative_attention_num_buckets", default=32),
        max_distance=fields.positive("relative_attention_max_distance", default=128),
    )
    num_layers = fields.positive("num_layers")

    def stack(layers: int) -> StackConfig:
        return StackConfig(
            num_layers=layers,
            attention=AttentionConfig(
                num_heads=heads,
                num_kv_heads=heads,
                head_dim=fields.positive("d_kv"),
                rope=None,
                scale=1.0,
            ),
            feed_forward=feed,
            norm=RMSNormConfig(epsilon=fields.take(float, "layer_norm_epsilon", default=1e-6)),
            relative_bias=buckets,
        )

    tied = fields.take(bool, "tie_word_embeddings", default=True)
    tied = fields.take(bool, "scale_decoder_outputs", default=tied)
    model = ModelConfig(
        d_model=width,
        encoder=stack(num_layers),
        decoder=stack(fields.positive("num_decoder_layers", default=num_layers)),
        vocab_size=fields.positive("vocab_size"),
        embed=EmbedConfig(scale=1.0),
        tie_embeddings=tied,
        logit_scale=width**-0.5 if tied else 1.0,
        start_id=fields.take(int, "decoder_start_token_id", default=None),
        dtype=fields.dtype(),
    )
    fields.finish()
    return model


def _read_feed_forward(fields: Fields) -> FeedForwardConfig:
    told = fields.take(str, "feed_forward_proj", default="relu")
    kind, _, name = told.rpartition("-")
    if kind not in ("", "gated") or name not in ACTIVATIONS:
        fields.refuse("feed_forward_proj", f"only {', '.join(ACTIVATIONS)} are, gated- or not")
    if told == "gated-gelu":
        name = "gelu_new"
    fields.only("dense_act_fn", None, name)
    fields.only("is_gated_act", None, kind == "gated")
    return FeedForwardConfig(
        hidden=fields.positive("d_ff"), activation=ACTIVATIONS[name], gated=kind == "gated"
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    encoder, decoder = fit.both(config, "t5")
    feed = fit.plain(encoder, "t5")
    if encoder.relative_bias is None:
        raise UserError("model.encoder.relative_bias is None, and t5 has no other positions")
    activation = "gelu_new" if feed.activation == "gelu_tanh" else fit.NAMES[feed.activation]
    if feed.gated:
        activation = "gated-gelu" if activation == "gelu_new" else f"gated-{activation}"
    written = {
        "d_ff": feed.hidden,
        "d_kv": encoder.attention.head_dim,
        "d_model": config.d_model,
        "dtype": config.dtype,
        "feed_forward_proj": activation,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": fit.rms_norm(encoder, "t5").epsilon,
        "num_decoder_layers": decoder.num_layers,
        "num_heads": encoder.attention.num_heads,
        "num_layers": encoder.num_layers,
        "relative_attention_max_distance": encoder.relative_bias.max_distance,
        "relative_attention_num_buckets": encoder.relative_bias.num_buckets,
        "scale_decoder_outputs": config.tie_embeddings,
        "tie_word_embeddings": config.tie_embeddings,
        "vocab_size": vocabulary(config),
    }
    if config.start_id is not None:
        written["decoder_start_token_id"] = config.start_id
    return fit.confirm("t5", config, written, _read)


def _layers(name: str, stack: StackConfig, width: int) -> list[Tensor]:
    result, feed = [], fit.plain(stack, "t5")
    mlp = ("wi_0", "wi_1", "wo") if feed.gated else ("", "wi", "wo")

    def branch(there: str, here: str, what: str, tensors: list[Tensor]) -> list[Tensor]:
        return [*tensors, *norm(f"{there}.layer_norm", f"{here}/{what}_norm", stack.norm, width)]

    for i in range(stack.num_layers):
        there, here = f"{name}.block.{i}.layer", f"{name}/layer_{i}"
        own = f"{there}.0.SelfAttention"
        tensors = attention(own, f"{here}/attention", stack.attention, width, _NAMES)
        if i == 0 and stack.relative_bias is not None:
            rows, heads = stack.relative_bias.num_buckets, stack.attention.num_heads
            bias, path = f"{own}.relative_attention_bias.weight", f"{name}/relative_bias/table"
            tensors.append(table(bias, path, rows, heads))
        result += branch(f"{there}.0", here, "attention", tensors)
        last = 1
        if name == "decoder":
            cross, path = f"{there}.1.EncDecAttention", f"{here}/cross_attention"
            tensors = attention(cross, path, stack.attention, width, _NAMES)
            result += branch(f"{there}.1", here, "cross", tensors)
            last = 2
        dense, path = f"{there}.{last}.DenseReluDense", f"{here}/feed_forward"
        tensors = feed_forward(dense, path, feed, width, mlp)
        result += branch(f"{there}.{last}", here, "feed_forward", tensors)
    return result + norm(f"{name}.final_layer_norm", f"{name}/final_norm", stack.norm, width)


def _tensors(config: ModelConfig) -> list[Tensor]:
    encoder, decoder = fit.both(config, "t5")
    rows, width = vocabulary(config), config.d_model
    result = [
        table("shared.weight", "embed/embedding", rows, width),
        *_layers("encoder", encoder, width),
        *_layers("decoder", decoder, width),
    ]
    if not config.tie_embeddings:
        result += linear("lm_head", "head", (width,), (rows,))
    return result


T5 = Family(
    ("t5",),
    (fit.ARCHITECTURES["t5"], "T5WithLMHeadModel"),
    _read,
    _write,
    _tensors,
    # of some of the first checkpoints; transformers pass over it too
    (r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
    },
)
