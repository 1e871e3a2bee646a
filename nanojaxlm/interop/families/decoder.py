"""What the families with rotary positions, RMSNorm and gated feed-forwards have in common."""

from collections.abc import Callable, Mapping
from typing import Any

from nanojaxlm.interop.families import fit
from nanojaxlm.interop.families.fields import Fields, vocabulary
from nanojaxlm.interop.families.layout import attention, linear, norm, table
from nanojaxlm.interop.family import Tensor
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    ModelConfig,
    Rope,
    StackConfig,
)

# Our norms by the names that most families give theirs.
PRE_NORMS = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
POST_NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "feed_forward_post_norm": "post_feedforward_layernorm",
}
TIED = {"lm_head.weight": "model.embed_tokens.weight"}
BUFFERS = (r".*\.rotary_emb\.inv_freq",)

FeedForwardTensors = Callable[[str, str, Any], list[Tensor]]


def read_attention(
    fields: Fields, rope: Rope, *, kv_heads_default: bool = False, **rest: Any
) -> AttentionConfig:
    """kv_heads_default: num_key_value_heads may be absent. rest: AttentionConfig's other fields."""
    num_heads = fields.positive("num_attention_heads")
    width = fields.positive("hidden_size")
    if kv_heads_default:
        num_kv_heads = fields.positive("num_key_value_heads", default=num_heads)
    else:
        num_kv_heads = fields.positive("num_key_value_heads")
    head_dim = fields.positive("head_dim", default=width // num_heads)
    return AttentionConfig(
        num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, rope=rope, **rest
    )


def read_gated(fields: Fields, hidden: str = "intermediate_size", **rest: Any) -> FeedForwardConfig:
    """rest: FeedForwardConfig's other fields."""
    return FeedForwardConfig(
        hidden=fields.positive(hidden),
        activation=fields.activation("hidden_act", default="silu"),
        **rest,
    )


def read_model(
    fields: Fields,
    stack: StackConfig,
    *,
    tie_default: bool = False,
    embed_scale: float | None = 1.0,
    logit_softcap: float | None = None,
) -> ModelConfig:
    """The model of a decoder. All fields are taken by now, or refused."""
    config = ModelConfig(
        d_model=fields.positive("hidden_size"),
        decoder=stack,
        vocab_size=fields.positive("vocab_size"),
        embed=EmbedConfig(scale=embed_scale),
        tie_embeddings=fields.take(bool, "tie_word_embeddings", default=tie_default),
        logit_softcap=logit_softcap,
        dtype=fields.dtype(),
    )
    fields.finish()
    return config


def write_model(
    config: ModelConfig, stack: StackConfig, feed_forward: FeedForwardConfig, family: str
) -> dict[str, Any]:
    """The fields that all these families have, but for the rotary positions."""
    attention = stack.attention
    return {
        "dtype": config.dtype,
        "head_dim": attention.head_dim,
        "hidden_act": fit.NAMES[feed_forward.activation],
        "hidden_size": config.d_model,
        "intermediate_size": feed_forward.hidden,
        "num_attention_heads": attention.num_heads,
        "num_hidden_layers": stack.num_layers,
        "num_key_value_heads": attention.num_kv_heads,
        "rms_norm_eps": fit.rms_norm(stack, family).epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "vocab_size": vocabulary(config),
    }


def tensors(
    config: ModelConfig, norms: Mapping[str, str], feed_forward: FeedForwardTensors
) -> list[Tensor]:
    """model.embed_tokens, model.layers.N, model.norm and, untied, lm_head.

    norms: the name there of each of our norms. feed_forward: (name and path of the layer, config
    of its feed-forward or mixture) to its tensors.
    """
    assert config.decoder is not None
    rows = (vocabulary(config), config.d_model)
    result = [table("model.embed_tokens.weight", "embed/embedding", *rows)]
    result += layers("model.layers", "decoder", config.decoder, config.d_model, norms, feed_forward)
    final = config.decoder.norm
    result += norm("model.norm", "decoder/final_norm", final, config.d_model)
    if not config.tie_embeddings:
        result += linear("lm_head", "head", (config.d_model,), (rows[0],))
    return result


def layers(
    name: str,
    path: str,
    stack: StackConfig,
    width: int,
    norms: Mapping[str, str],
    feed_forward: FeedForwardTensors,
) -> list[Tensor]:
    """`name`.0 to the last: norms, self_attn and the feed-forward."""
    result = []
    for i in range(stack.num_layers):
        theirs, ours = f"{name}.{i}", f"{path}/layer_{i}"
        layer = stack.layer(i)
        result += attention(f"{theirs}.self_attn", f"{ours}/attention", layer.attention, width)
        result += feed_forward(theirs, ours, layer.feed_forward)
        for our_norm, their_norm in norms.items():
            result += norm(f"{theirs}.{their_norm}", f"{ours}/{our_norm}", stack.norm, width)
    return result


def whole_heads(fields: Fields) -> None:
    """Refuses what transformers refuses: a width that is no multiple of the heads."""
    width, heads = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    if width % heads:
        fields.refuse("hidden_size", f"only a multiple of num_attention_heads={heads} is")


def dense_first(fields: Fields, num_layers: int) -> int:
    """How many layers, the first ones, have no mixture (Qwen-MoE's way of saying it)."""
    if fields.take(int, "decoder_sparse_step", default=1) != 1:
        fields.refuse("decoder_sparse_step", "only 1 is")
    which = fields.take(list, "mlp_only_layers", default=[])
    if sorted(which) != list(range(len(which))) or len(which) >= num_layers:
        fields.refuse("mlp_only_layers", "only the first layers, not all, are")
    return len(which)
