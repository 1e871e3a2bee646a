"""The reference's logits equal those of transformers, over random tiny models of each family."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanojaxlm.interop import reference

pytestmark = pytest.mark.interop

TOLERANCE = 1e-5  # of the logits' scale; transformers computes in float32
SIZES = dict(
    vocab_size=61,
    hidden_size=24,
    intermediate_size=44,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
YARN = dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=16)
EXPERTS = dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=20)
GEMMA = dict(head_dim=8, query_pre_attn_scalar=12, sliding_window=5)
BERT = {key: SIZES[key] for key in SIZES if key != "num_key_value_heads"} | dict(
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
)
T5 = dict(
    vocab_size=61,
    d_model=24,
    d_kv=10,
    d_ff=44,
    num_layers=2,
    num_decoder_layers=3,
    num_heads=3,
    decoder_start_token_id=0,
)
STACK = SIZES | GEMMA

# (class of the config, class of the model, fields)
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {}),
    "gpt2-inner-scales": (
        "GPT2Config",
        "GPT2LMHeadModel",
        dict(n_inner=37, scale_attn_by_inverse_layer_idx=True, activation_function="relu"),
    ),
    "gpt2-untied-unscaled": (
        "GPT2Config",
        "GPT2LMHeadModel",
        dict(tie_word_embeddings=False, scale_attn_weights=False, activation_function="gelu"),
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "llama-tied-biases": (
        "LlamaConfig",
        "LlamaForCausalLM",
        dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=10),
    ),
    "llama-llama3": ("LlamaConfig", "LlamaForCausalLM", dict(rope_parameters=LLAMA3, head_dim=16)),
    "llama-linear": (
        "LlamaConfig",
        "LlamaForCausalLM",
        dict(rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=3.0)),
    ),
    "llama-yarn": ("LlamaConfig", "LlamaForCausalLM", dict(rope_parameters=YARN, head_dim=16)),
    "llama-yarn-own-numbers": (
        "LlamaConfig",
        "LlamaForCausalLM",
        dict(
            head_dim=32,
            rope_parameters=YARN | dict(beta_fast=8.0, beta_slow=0.5, attention_factor=1.3),
        ),
    ),
    "llama-yarn-no-longer": (
        "LlamaConfig",
        "LlamaForCausalLM",
        dict(rope_parameters=YARN | dict(factor=1.0)),
    ),
    "mistral-window": ("MistralConfig", "MistralForCausalLM", dict(sliding_window=5)),
    "mistral-no-window": ("MistralConfig", "MistralForCausalLM", dict(sliding_window=None)),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {}),
    "qwen2-last-layers-slide": (
        "Qwen2Config",
        "Qwen2ForCausalLM",
        dict(use_sliding_window=True, sliding_window=4, max_window_layers=1),
    ),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", dict(head_dim=10)),
    "qwen3-biases-window": (
        "Qwen3Config",
        "Qwen3ForCausalLM",
        dict(
            head_dim=10,
            attention_bias=True,
            tie_word_embeddings=True,
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=2,
        ),
    ),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", GEMMA),
    "gemma2-tight-caps": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        GEMMA | dict(attn_logit_softcapping=2.0, final_logit_softcapping=3.0, attention_bias=True),
    ),
    "gemma2-no-caps": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        GEMMA | dict(attn_logit_softcapping=None, final_logit_softcapping=None),
    ),
    "gemma3": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        GEMMA | dict(sliding_window_pattern=3, final_logit_softcapping=4.0),
    ),
    "gemma3-global-linear": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        GEMMA
        | dict(
            layer_types=["full_attention", "sliding_attention", "full_attention"],
            tie_word_embeddings=False,
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000.0),
                sliding_attention=dict(rope_type="default", rope_theta=50.0),
            ),
        ),
    ),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", {}),
    "olmo2-biases-tied": (
        "Olmo2Config",
        "Olmo2ForCausalLM",
        dict(attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-2),
    ),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", dict(num_local_experts=5)),
    "mixtral-window": (
        "MixtralConfig",
        "MixtralForCausalLM",
        dict(num_local_experts=4, num_experts_per_tok=3, sliding_window=4, head_dim=10),
    ),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        EXPERTS | dict(shared_expert_intermediate_size=28),
    ),
    "qwen2_moe-dense-layers-window": (
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        EXPERTS
        | dict(
            shared_expert_intermediate_size=28,
            norm_topk_prob=True,
            mlp_only_layers=[0],
            qkv_bias=False,
            use_sliding_window=True,
            sliding_window=4,
        ),
    ),
    "qwen3_moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", EXPERTS),
    "qwen3_moe-every-second": (
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        EXPERTS
        | dict(
            head_dim=10,
            norm_topk_prob=True,
            decoder_sparse_step=2,
            use_sliding_window=True,
            sliding_window=4,
        ),
    ),
    "dots1": (
        "Dots1Config",
        "Dots1ForCausalLM",
        dict(
            n_routed_experts=6,
            num_experts_per_tok=2,
            moe_intermediate_size=20,
            n_shared_experts=2,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
        ),
    ),
    "dots1-groups-window": (
        "Dots1Config",
        "Dots1ForCausalLM",
        dict(
            n_routed_experts=12,
            num_experts_per_tok=3,
            moe_intermediate_size=20,
            n_shared_experts=1,
            n_group=4,
            topk_group=2,
            sliding_window=4,
            max_window_layers=1,
        ),
    ),
    "bert": ("BertConfig", "BertForMaskedLM", BERT),
    "bert-untied": (
        "BertConfig",
        "BertForMaskedLM",
        BERT | dict(tie_word_embeddings=False, hidden_act="relu", layer_norm_eps=1e-2),
    ),
    "roberta": ("RobertaConfig", "RobertaForMaskedLM", BERT | dict(pad_token_id=3)),
    "roberta-untied": (
        "RobertaConfig",
        "RobertaForMaskedLM",
        BERT | dict(tie_word_embeddings=False, hidden_act="relu", type_vocab_size=1),
    ),
    "modernbert": (
        "ModernBertConfig",
        "ModernBertForMaskedLM",
        dict(local_attention=8, num_hidden_layers=5),
    ),
    "modernbert-biases": (
        "ModernBertConfig",
        "ModernBertForMaskedLM",
        dict(
            local_attention=5,
            norm_bias=True,
            attention_bias=True,
            mlp_bias=True,
            classifier_bias=True,
            decoder_bias=False,
            tie_word_embeddings=False,
            classifier_activation="relu",
            hidden_activation="gelu_pytorch_tanh",
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
    "t5-original": ("T5Config", "T5ForConditionalGeneration", T5),
    "t5-v1.1": (
        "T5Config",
        "T5ForConditionalGeneration",
        T5
        | dict(
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=11,
        ),
    ),
    "t5-silu": (
        "T5Config",
        "T5ForConditionalGeneration",
        T5 | dict(feed_forward_proj="gated-silu", relative_attention_max_distance=20),
    ),
    "t5gemma": (
        "T5GemmaConfig",
        "T5GemmaForConditionalGeneration",
        dict(
            encoder=STACK | dict(sliding_window=3),
            decoder=STACK | dict(num_hidden_layers=2),
            vocab_size=61,
        ),
    ),
    "t5gemma-unlike-stacks": (
        "T5GemmaConfig",
        "T5GemmaForConditionalGeneration",
        dict(
            encoder=STACK
            | dict(
                hidden_size=32,
                num_key_value_heads=4,
                layer_types=["full_attention", "sliding_attention", "sliding_attention"],
                attn_logit_softcapping=None,
            ),
            decoder=STACK
            | dict(
                hidden_activation="silu",
                attn_logit_softcapping=3.0,
                final_logit_softcapping=None,
                attention_bias=True,
            ),
            vocab_size=61,
            tie_word_embeddings=False,
        ),
    ),
}


def make_model(variant: str, seed: int) -> Any:
    """A model with random weights that matter: sharp attention, no norm of ones, no zero bias."""
    import torch
    import transformers

    config_class, model_class, fields = VARIANTS[variant]
    if config_class not in ("T5Config", "T5GemmaConfig") and fields.keys() != BERT.keys():
        fields = SIZES | fields
    torch.manual_seed(seed)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**fields)).eval()
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, value in state.items():
            if not value.is_floating_point() or "inv_freq" in name or "embed_scale" in name:
                continue
            spread = 0.3 if value.ndim == 1 else 1.2 * value.shape[-1] ** -0.5
            if "Attention.q." in name:  # T5 scales no scores
                spread *= model.config.d_kv**-0.5
            ones = 1.0 if value.ndim == 1 and "norm" in name.lower() and "bias" not in name else 0.0
            value.copy_(ones + spread * torch.randn(value.shape))
    return model


def both_logits(model: Any, folder: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(the reference's, transformers') for random rows without pads."""
    import torch

    model.save_pretrained(folder)
    generator = np.random.default_rng(seed)
    tokens_BT = generator.integers(4, 61, (2, 40))
    inputs = dict(input_ids=torch.tensor(tokens_BT), attention_mask=torch.ones(2, 40))
    decoder_tokens_BT = None
    if model.config.is_encoder_decoder:
        decoder_tokens_BT = generator.integers(4, 61, (2, 27))
        inputs["decoder_input_ids"] = torch.tensor(decoder_tokens_BT)
    with torch.no_grad():
        theirs = model(**inputs, use_cache=False).logits.numpy()
    return reference.logits(folder, tokens_BT, decoder_tokens_BT), theirs


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_those_of_transformers(variant: str, seed: int, tmp_path: Path):
    ours, theirs = both_logits(make_model(variant, seed), tmp_path, seed)
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()
