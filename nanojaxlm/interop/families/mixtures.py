"""Decoders with experts: Mixtral, Qwen 2 and 3 MoE, dots.llm1 (DeepSeek-V3's router)."""

from collections.abc import Mapping
from typing import Any

from nanojaxlm.interop.families import decoder, fit, rotary, windows
from nanojaxlm.interop.families.fields import UNUSED, Fields
from nanojaxlm.interop.families.layout import experts, feed_forward, linear, vector
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.model.config import (
    FeedForwardConfig,
    MixtureConfig,
    ModelConfig,
    RMSNormConfig,
    StackConfig,
)

Config = Mapping[str, Any]
# jitter and the auxiliary losses' switches are of training alone
_UNUSED = UNUSED | {"attention_dropout", "output_router_logits", "router_jitter_noise"}


def _losses(fields: Fields) -> dict[str, Any]:
    """The weights of the auxiliary losses; transformers know only the first one's field."""
    return {
        "load_balance": fields.take(float, "router_aux_loss_coef", default=0.001),
        "router_z": fields.take(float, "router_z_loss_coef", default=0.001),
    }


def _write_losses(mixture: MixtureConfig) -> dict[str, float]:
    return {
        "router_aux_loss_coef": mixture.load_balance,
        "router_z_loss_coef": mixture.router_z,
    }


def _read_mixtral(config: Config) -> ModelConfig:
    fields = Fields(config, "mixtral", _UNUSED)
    window = fields.take(int, "sliding_window", default=None)
    rope = rotary.read_rope(fields, theta=1_000_000.0)
    mixture = MixtureConfig(
        num_experts=fields.positive("num_local_experts", "num_experts", default=8),
        top_k=fields.positive("num_experts_per_tok", default=2),
        expert=decoder.read_gated(fields),
        **_losses(fields),
    )
    stack = StackConfig(
        num_layers=fields.positive("num_hidden_layers"),
        attention=decoder.read_attention(fields, rope, window=window),
        feed_forward=mixture,
        norm=RMSNormConfig(epsilon=fields.take(float, "rms_norm_eps", default=1e-5)),
    )
    return decoder.read_model(fields, stack)


def _write_mixtral(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "mixtral")
    mixture = fit.mixture(stack, "mixtral")
    written = decoder.write_model(config, stack, mixture.expert, "mixtral")
    written |= rotary.write_rope(fit.rope(stack.attention, "mixtral")) | _write_losses(mixture)
    written |= {
        "num_experts_per_tok": mixture.top_k,
        "num_local_experts": mixture.num_experts,
        "sliding_window": stack.attention.window,
    }
    return fit.confirm("mixtral", config, written, _read_mixtral)


def _read_qwen_moe(config: Config, family: str) -> ModelConfig:
    """Qwen 2 MoE (a gated shared expert, biases) and 3 (norms of queries and keys)."""
    fields = Fields(config, family, _UNUSED)
    third = family == "qwen3_moe"
    num_layers = fields.positive("num_hidden_layers")
    window = fields.take(int, "sliding_window", default=4096)
    if not fields.take(bool, "use_sliding_window", default=False):
        window = None
    last = fields.take(int, "max_window_layers", default=28)
    local, shared, qk_norm = None, None, "head"
    if third:
        bias = fields.take(bool, "attention_bias", default=False)
    else:
        slides = [i % 2 == 0 and i < last and window is not None for i in range(num_layers)]
        window, local = windows.read_windows(fields, slides, window)
        bias, qk_norm = fields.take(bool, "qkv_bias", default=True), None
        shared = decoder.read_gated(fields, "shared_expert_intermediate_size")
    num_dense = decoder.dense_first(fields, num_layers)
    dense = decoder.read_gated(fields)  # of those layers; the field is there without them too
    mixture = MixtureConfig(
        num_experts=fields.positive("num_experts", "num_local_experts"),
        top_k=fields.positive("num_experts_per_tok"),
        expert=decoder.read_gated(fields, "moe_intermediate_size"),
        normalize=fields.take(bool, "norm_topk_prob", default=False),
        shared=shared,
        shared_gate=shared is not None,
        **_losses(fields),
    )
    attention = decoder.read_attention(
        fields,
        rotary.read_rope(fields),
        qkv_bias=bias,
        out_bias=bias and third,
        qk_norm=qk_norm,
        window=window,
    )
    stack = StackConfig(
        num_layers=num_layers,
        attention=attention,
        feed_forward=mixture,
        norm=RMSNormConfig(epsilon=fields.take(float, "rms_norm_eps", default=1e-6)),
        local=local,
        num_dense=num_dense,
        dense=dense if num_dense else None,
    )
    return decoder.read_model(fields, stack)


def _write_qwen_moe(config: ModelConfig, family: str) -> dict[str, Any]:
    stack = fit.only_decoder(config, family)
    mixture = fit.mixture(stack, family)
    written = decoder.write_model(config, stack, stack.dense or mixture.expert, family)
    written |= rotary.write_rope(fit.rope(stack.attention, family)) | _write_losses(mixture)
    written |= {
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(range(stack.num_dense)),
        "moe_intermediate_size": mixture.expert.hidden,
        "norm_topk_prob": mixture.normalize,
        "num_experts": mixture.num_experts,
        "num_experts_per_tok": mixture.top_k,
        "sliding_window": windows.window(stack),
        "use_sliding_window": any(windows.slides(stack)),
    }
    if family == "qwen3_moe":
        written["attention_bias"] = stack.attention.qkv_bias
    else:
        written |= windows.write_windows(stack) | {
            "max_window_layers": stack.num_layers,
            "qkv_bias": stack.attention.qkv_bias,
        }
        if mixture.shared is not None:
            written["shared_expert_intermediate_size"] = mixture.shared.hidden
    return fit.confirm(family, config, written, lambda told: _read_qwen_moe(told, family))


def _read_dots1(config: Config) -> ModelConfig:
    unused = {"aux_loss_alpha", "ep_size", "pretraining_tp", "seq_aux", "use_sliding_window"}
    fields = Fields(config, "dots1", _UNUSED | unused)
    fields.only("moe_layer_freq", None, 1)
    fields.only("scoring_func", None, "sigmoid", "noaux_tc")
    fields.only("topk_method", None, "noaux_tc")
    num_layers = fields.positive("num_hidden_layers")
    window = fields.take_or_null(int, "sliding_window", 4096)
    first = fields.take(int, "max_window_layers", default=62)
    slides = [window is not None and i >= first for i in range(num_layers)]
    window, local = windows.read_windows(fields, slides, window)
    expert = decoder.read_gated(fields, "moe_intermediate_size")
    num_dense = fields.take(int, "first_k_dense_replace", default=0)
    if not 0 <= num_dense < num_layers:
        fields.refuse("first_k_dense_replace", "only fewer than all layers are")
    dense = decoder.read_gated(fields)
    mixture = MixtureConfig(
        num_experts=fields.positive("n_routed_experts"),
        top_k=fields.positive("num_experts_per_tok"),
        expert=expert,
        scores="sigmoid",
        choice_bias=True,
        num_groups=fields.positive("n_group", default=1),
        top_groups=fields.positive("topk_group", default=1),
        normalize=fields.take(bool, "norm_topk_prob", default=False),
        scale=fields.take(float, "routed_scaling_factor", default=1.0),
        shared=FeedForwardConfig(
            hidden=expert.hidden * fields.positive("n_shared_experts"),
            activation=expert.activation,
        ),
        **_losses(fields),
    )
    bias = fields.take(bool, "attention_bias", default=False)
    attention = decoder.read_attention(
        fields,
        rotary.read_rope(fields),
        kv_heads_default=True,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="head",
        window=window,
    )
    stack = StackConfig(
        num_layers=num_layers,
        attention=attention,
        feed_forward=mixture,
        norm=RMSNormConfig(epsilon=fields.take(float, "rms_norm_eps", default=1e-6)),
        local=local,
        num_dense=num_dense,
        dense=dense if num_dense else None,
    )
    return decoder.read_model(fields, stack)


def _write_dots1(config: ModelConfig) -> dict[str, Any]:
    stack = fit.only_decoder(config, "dots1")
    mixture = fit.mixture(stack, "dots1")
    shared = mixture.shared.hidden if mixture.shared else 0
    written = decoder.write_model(config, stack, stack.dense or mixture.expert, "dots1")
    written |= rotary.write_rope(fit.rope(stack.attention, "dots1")) | _write_losses(mixture)
    written |= windows.write_windows(stack)
    slides = windows.slides(stack)
    written |= {
        "attention_bias": stack.attention.qkv_bias,
        "first_k_dense_replace": stack.num_dense,
        "max_window_layers": slides.index(True) if any(slides) else stack.num_layers,
        "moe_intermediate_size": mixture.expert.hidden,
        "n_group": mixture.num_groups,
        "n_routed_experts": mixture.num_experts,
        "n_shared_experts": max(1, shared // mixture.expert.hidden),
        "norm_topk_prob": mixture.normalize,
        "num_experts_per_tok": mixture.top_k,
        "routed_scaling_factor": mixture.scale,
        "sliding_window": windows.window(stack),
        "topk_group": mixture.top_groups,
    }
    return fit.confirm("dots1", config, written, _read_dots1)


def _mixtral_tensors(config: ModelConfig) -> list[Tensor]:
    def block(name: str, path: str, mixture: MixtureConfig) -> list[Tensor]:
        there, here = f"{name}.block_sparse_moe", f"{path}/feed_forward"
        width = config.d_model
        return [
            *linear(f"{there}.gate", f"{here}/router", (width,), (mixture.num_experts,)),
            *experts(f"{there}.experts", f"{here}/experts", mixture, width, ("w1", "w3", "w2")),
        ]

    return decoder.tensors(config, decoder.PRE_NORMS, block)


def _tensors(config: ModelConfig, shared: str) -> list[Tensor]:
    """shared: the name of the shared expert."""
    width = config.d_model

    def block(name: str, path: str, feed: FeedForwardConfig | MixtureConfig) -> list[Tensor]:
        there, here = f"{name}.mlp", f"{path}/feed_forward"
        if isinstance(feed, FeedForwardConfig):
            return feed_forward(there, here, feed, width)
        result = linear(f"{there}.gate", f"{here}/router", (width,), (feed.num_experts,))
        if feed.choice_bias:
            name = f"{there}.gate.e_score_correction_bias"
            result.append(vector(name, f"{here}/router/choice_bias", feed.num_experts))
        result += experts(f"{there}.experts", f"{here}/experts", feed, width)
        if feed.shared is not None:
            result += feed_forward(f"{there}.{shared}", f"{here}/shared", feed.shared, width)
        if feed.shared_gate:
            result += linear(f"{there}.{shared}_gate", f"{here}/shared_gate", (width,), (1,))
        return result

    return decoder.tensors(config, decoder.PRE_NORMS, block)


MIXTRAL = Family(
    ("mixtral",),
    (fit.ARCHITECTURES["mixtral"],),
    _read_mixtral,
    _write_mixtral,
    _mixtral_tensors,
    decoder.BUFFERS,
    decoder.TIED,
)
QWEN2_MOE = Family(
    ("qwen2_moe",),
    (fit.ARCHITECTURES["qwen2_moe"],),
    lambda config: _read_qwen_moe(config, "qwen2_moe"),
    lambda config: _write_qwen_moe(config, "qwen2_moe"),
    lambda config: _tensors(config, "shared_expert"),
    decoder.BUFFERS,
    decoder.TIED,
)
QWEN3_MOE = Family(
    ("qwen3_moe",),
    (fit.ARCHITECTURES["qwen3_moe"],),
    lambda config: _read_qwen_moe(config, "qwen3_moe"),
    lambda config: _write_qwen_moe(config, "qwen3_moe"),
    lambda config: _tensors(config, ""),  # it has none
    decoder.BUFFERS,
    decoder.TIED,
)
DOTS1 = Family(
    ("dots1",),
    (fit.ARCHITECTURES["dots1"],),
    _read_dots1,
    _write_dots1,
    lambda config: _tensors(config, "shared_experts"),
    decoder.BUFFERS,
    decoder.TIED,
)
