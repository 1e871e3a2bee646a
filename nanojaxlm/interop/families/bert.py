"""BERT and RoBERTa for masked tokens: learned positions, LayerNorm after each addition."""

from collections.abc import Mapping
from typing import Any

from nanojaxlm.interop.families import fit
from nanojaxlm.interop.families.fields import UNUSED, Fields, vocabulary, words
from nanojaxlm.interop.families.layout import attention, feed_forward, linear, norm, table, vector
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    HeadTransformConfig,
    LayerNormConfig,
    ModelConfig,
    StackConfig,
)

# The pooler is of the sentence heads, which are not read.
_UNUSED = UNUSED | words(
    "attention_probs_dropout_prob directionality hidden_dropout_prob pooler_fc_size "
    "pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type"
)
# The first BERTs were made with TensorFlow, which names a norm's weight and bias so.
_TENSORFLOW = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
_NAMES = ("self.query", "self.key", "self.value", "output.dense")


def _read(config: Mapping[str, Any], family: str) -> ModelConfig:
    fields = Fields(config, family, _UNUSED)
    fields.only("position_embedding_type", None, "absolute")
    fields.only("tie_word_embeddings", True)  # untied, transformers write a bias that nothing reads
    width, heads = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    if width % heads:
        fields.refuse("hidden_size", f"only a multiple of num_attention_heads={heads} is")
    activation = fields.activation("hidden_act", default="gelu")
    feed = FeedForwardConfig(
        hidden=fields.positive("intermediate_size"), activation=activation, gated=False, bias=True
    )
    stack = StackConfig(
        num_layers=fields.positive("num_hidden_layers"),
        attention=AttentionConfig(
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=width // heads,
            rope=None,
            qkv_bias=True,
            out_bias=True,
        ),
        feed_forward=feed,
        norm=LayerNormConfig(epsilon=fields.take(float, "layer_norm_eps", default=1e-12)),
        pre_norm=False,
        sum_norm=True,
        final_norm=False,
    )
    first = 0
    if family == "roberta":  # positions begin after the padding's row, and the head is always gelu
        first, activation = 1 + fields.take(int, "pad_token_id", default=1), "gelu"
    if first < 0 or (family == "roberta" and first == 0):
        fields.refuse("pad_token_id", "only an id of the vocabulary is")
    positions = fields.positive("max_position_embeddings", default=512)
    embed = EmbedConfig(
        scale=1.0,
        num_positions=positions,
        first_position=first,
        num_types=fields.positive("type_vocab_size", default=2),
        norm=True,
    )
    model = ModelConfig(
        d_model=width,
        encoder=stack,
        vocab_size=fields.positive("vocab_size"),
        embed=embed,
        head_transform=HeadTransformConfig(activation=activation),
        head_bias=True,
        dtype=fields.dtype(),
    )
    fields.finish()
    return model


def _write(config: ModelConfig, family: str) -> dict[str, Any]:
    stack = fit.only_encoder(config, family)
    feed = fit.plain(stack, family)
    written: dict[str, Any] = {
        "dtype": config.dtype,
        "hidden_act": fit.NAMES[feed.activation],
        "hidden_size": config.d_model,
        "intermediate_size": feed.hidden,
        "layer_norm_eps": fit.layer_norm(stack, family).epsilon,
        "max_position_embeddings": config.embed.num_positions,
        "num_attention_heads": stack.attention.num_heads,
        "num_hidden_layers": stack.num_layers,
        "tie_word_embeddings": config.tie_embeddings,
        "type_vocab_size": config.embed.num_types,
        "vocab_size": vocabulary(config),
    }
    if family == "roberta":
        written["pad_token_id"] = config.embed.first_position - 1
    return fit.confirm(family, config, written, lambda told: _read(told, family))


def _tensors(config: ModelConfig, family: str) -> list[Tensor]:
    stack, width, embed = fit.only_encoder(config, family), config.d_model, config.embed
    assert embed.num_positions is not None and embed.num_types is not None
    rows, feed = vocabulary(config), fit.plain(stack, family)
    there = f"{family}.embeddings"
    result = [
        table(f"{there}.word_embeddings.weight", "embed/embedding", rows, width),
        table(f"{there}.position_embeddings.weight", "embed/positions", embed.num_positions, width),
        table(f"{there}.token_type_embeddings.weight", "embed/types", embed.num_types, width),
        *norm(f"{there}.LayerNorm", "embed/norm", stack.norm, width),
    ]
    for i in range(stack.num_layers):
        there, here = f"{family}.encoder.layer.{i}", f"encoder/layer_{i}"
        first, last = f"{here}/attention_sum_norm", f"{here}/feed_forward_sum_norm"
        mlp = ("", "intermediate.dense", "output.dense")
        result += [
            *attention(f"{there}.attention", f"{here}/attention", stack.attention, width, _NAMES),
            *norm(f"{there}.attention.output.LayerNorm", first, stack.norm, width),
            *feed_forward(there, f"{here}/feed_forward", feed, width, mlp),
            *norm(f"{there}.output.LayerNorm", last, stack.norm, width),
        ]
    if family == "bert":
        bias, dense = "cls.predictions.bias", "cls.predictions.transform.dense"
        head_norm = "cls.predictions.transform.LayerNorm"
    else:
        bias, dense, head_norm = "lm_head.bias", "lm_head.dense", "lm_head.layer_norm"
    return [
        *result,
        vector(bias, "head/bias", rows),
        *linear(dense, "head/transform", (width,), (width,), bias=True),
        *norm(head_norm, "head/norm", stack.norm, width),
    ]


BERT = Family(
    ("bert",),
    (fit.ARCHITECTURES["bert"], "BertForPreTraining"),
    lambda config: _read(config, "bert"),
    lambda config: _write(config, "bert"),
    lambda config: _tensors(config, "bert"),
    (
        r"bert\.embeddings\.(position_ids|token_type_ids)",
        r"bert\.pooler\..*",
        r"cls\.seq_relationship\..*",
    ),
    {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    _TENSORFLOW,
)
ROBERTA = Family(
    ("roberta",),
    (fit.ARCHITECTURES["roberta"],),
    lambda config: _read(config, "roberta"),
    lambda config: _write(config, "roberta"),
    lambda config: _tensors(config, "roberta"),
    (
        r"roberta\.embeddings\.(position_ids|token_type_ids)",
        r"roberta\.pooler\..*",
    ),
    {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    _TENSORFLOW,
)
