"""GPT-2: learned positions, LayerNorm, biases everywhere, and kernels stored [in, out]."""

from collections.abc import Mapping
from typing import Any

from nanojaxlm.interop.families import fit
from nanojaxlm.interop.families.fields import UNUSED, Fields, vocabulary, words
from nanojaxlm.interop.families.layout import norm, table, vector
from nanojaxlm.interop.family import Family, Part, Tensor
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    LayerNormConfig,
    ModelConfig,
    StackConfig,
)

# reorder_and_upcast_attn is how transformers keep half precision exact; softmax is float32 here
_UNUSED = UNUSED | words(
    "attn_pdrop embd_pdrop n_ctx reorder_and_upcast_attn resid_pdrop summary_activation "
    "summary_first_dropout summary_proj_to_labels summary_type summary_use_proj"
)


def _read(config: Mapping[str, Any]) -> ModelConfig:
    fields = Fields(config, "gpt2", _UNUSED)
    fields.only("scale_attn_by_inverse_layer_idx", False)
    width, heads = fields.positive("n_embd"), fields.positive("n_head")
    if width % heads:
        fields.refuse("n_embd", f"only a multiple of n_head={heads} is")
    attention = AttentionConfig(
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=width // heads,
        rope=None,
        qkv_bias=True,
        out_bias=True,
        scale=None if fields.take(bool, "scale_attn_weights", default=True) else 1.0,
    )
    feed = FeedForwardConfig(
        hidden=fields.positive("n_inner", default=4 * width),
        activation=fields.activation("activation_function", default="gelu_new"),
        gated=False,
        bias=True,
    )
    stack = StackConfig(
        num_layers=fields.positive("n_layer"),
        attention=attention,
        feed_forward=feed,
        norm=LayerNormConfig(epsilon=fields.take(float, "layer_norm_epsilon", default=1e-5)),
    )
    model = ModelConfig(
        d_model=width,
        decoder=stack,
        vocab_size=fields.positive("vocab_size"),
        embed=EmbedConfig(scale=1.0, num_positions=fields.positive("n_positions", default=1024)),
        tie_embeddings=fields.take(bool, "tie_word_embeddings", default=True),
        dtype=fields.dtype(),
    )
    fields.finish()
    return model


def _write(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "gpt2")
    feed = fit.plain(stack, "gpt2")
    activation = "gelu_new" if feed.activation == "gelu_tanh" else fit.NAMES[feed.activation]
    written = {
        "activation_function": activation,
        "dtype": config.dtype,
        "layer_norm_epsilon": fit.layer_norm(stack, "gpt2").epsilon,
        "n_embd": config.d_model,
        "n_head": stack.attention.num_heads,
        "n_inner": feed.hidden,
        "n_layer": stack.num_layers,
        "n_positions": config.embed.num_positions,
        "scale_attn_weights": stack.attention.scale != 1.0,
        "tie_word_embeddings": config.tie_embeddings,
        "vocab_size": vocabulary(config),
    }
    return fit.confirm("gpt2", config, written, _read)


def _product(name: str, path: str, inputs: tuple[int, ...], outputs: tuple[int, ...]):
    """A Conv1D of transformers: [in, out], as ours, and a bias."""
    split = inputs + outputs
    shape = (_size(inputs), _size(outputs))
    kernel = Part(f"{path}/kernel", split, tuple(range(len(split))))
    return [
        Tensor(f"{name}.weight", shape, (kernel,)),
        vector(f"{name}.bias", f"{path}/bias", *outputs),
    ]


def _size(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) == 2 else 1)


def _queries_keys_values(name: str, path: str, width: int, heads: tuple[int, int]) -> list[Tensor]:
    """One product for all three, side by side."""
    out = heads[0] * heads[1]
    kernels, biases = [], []
    for i, which in enumerate("qkv"):
        block = slice(i * out, (i + 1) * out)
        kernels.append(Part(f"{path}/{which}/kernel", (width, *heads), (0, 1, 2), columns=block))
        biases.append(Part(f"{path}/{which}/bias", heads, (0, 1), rows=block))
    return [
        Tensor(f"{name}.weight", (width, 3 * out), tuple(kernels)),
        Tensor(f"{name}.bias", (3 * out,), tuple(biases)),
    ]


def _tensors(config: ModelConfig) -> list[Tensor]:
    stack, width = fit.only_decoder(config, "gpt2"), config.d_model
    heads = (stack.attention.num_heads, stack.attention.head_dim)
    hidden = fit.plain(stack, "gpt2").hidden
    assert config.embed.num_positions is not None
    result = [
        table("transformer.wte.weight", "embed/embedding", vocabulary(config), width),
        table("transformer.wpe.weight", "embed/positions", config.embed.num_positions, width),
    ]
    for i in range(stack.num_layers):
        there, here = f"transformer.h.{i}", f"decoder/layer_{i}"
        result += [
            *norm(f"{there}.ln_1", f"{here}/attention_norm", stack.norm, width),
            *_queries_keys_values(f"{there}.attn.c_attn", f"{here}/attention", width, heads),
            *_product(f"{there}.attn.c_proj", f"{here}/attention/out", heads, (width,)),
            *norm(f"{there}.ln_2", f"{here}/feed_forward_norm", stack.norm, width),
            *_product(f"{there}.mlp.c_fc", f"{here}/feed_forward/up", (width,), (hidden,)),
            *_product(f"{there}.mlp.c_proj", f"{here}/feed_forward/down", (hidden,), (width,)),
        ]
    result += norm("transformer.ln_f", "decoder/final_norm", stack.norm, width)
    if not config.tie_embeddings:
        head = Part("head/kernel", (vocabulary(config), width), (1, 0))
        result.append(Tensor("lm_head.weight", (vocabulary(config), width), (head,)))
    return result


GPT2 = Family(
    ("gpt2",),
    (fit.ARCHITECTURES["gpt2"],),
    _read,
    _write,
    _tensors,
    (r".*\.attn\.(bias|masked_bias)",),  # the causal mask, as a buffer
    {"lm_head.weight": "transformer.wte.weight"},
)
