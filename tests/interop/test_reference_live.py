"""The reference's logits equal those of transformers, over random tiny models of each family."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanojaxlm.interop import reference
from nanojaxlm.interop.reference.encoder_decoders import relative_buckets

pytestmark = pytest.mark.interop

TOLERANCE = 1e-5  # of the logits' scale; transformers computes in float32
CLASSES = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM"),
    "gemma3_text": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM"),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM"),
    "qwen2_moe": ("Qwen2MoeConfig", "Qwen2MoeForCausalLM"),
    "qwen3_moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM"),
    "dots1": ("Dots1Config", "Dots1ForCausalLM"),
    "bert": ("BertConfig", "BertForMaskedLM"),
    "roberta": ("RobertaConfig", "RobertaForMaskedLM"),
    "modernbert": ("ModernBertConfig", "ModernBertForMaskedLM"),
    "t5": ("T5Config", "T5ForConditionalGeneration"),
    "t5gemma": ("T5GemmaConfig", "T5GemmaForConditionalGeneration"),
}

ENDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
SIZES = ENDS | dict(
    vocab_size=61,
    hidden_size=24,
    intermediate_size=44,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
GEMMA = SIZES | dict(head_dim=8, query_pre_attn_scalar=12, sliding_window=5)
EXPERTS = SIZES | dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=20)
QWEN2_MOE = EXPERTS | dict(shared_expert_intermediate_size=28)
DOTS1 = SIZES | dict(
    n_routed_experts=12, num_experts_per_tok=3, moe_intermediate_size=20, n_shared_experts=2
)
BERT = {name: SIZES[name] for name in SIZES if name != "num_key_value_heads"}
T5 = ENDS | dict(
    vocab_size=61,
    d_model=24,
    d_kv=10,
    d_ff=44,
    num_layers=2,
    num_decoder_layers=3,
    num_heads=3,
    decoder_start_token_id=0,
)
T5GEMMA = ENDS | dict(vocab_size=61, encoder=GEMMA | dict(sliding_window=3), decoder=GEMMA)
# Rows of these tests are 40 long.
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, original_max_position_embeddings=16)
LLAMA3 |= dict(low_freq_factor=1.0, high_freq_factor=4.0)
YARN = dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=16)

# family-what is special: fields
VARIANTS: dict[str, dict[str, Any]] = {
    "gpt2": BERT,
    "gpt2-inner": BERT | dict(n_inner=37, activation_function="relu"),
    "gpt2-untied": BERT | dict(tie_word_embeddings=False, activation_function="gelu"),
    "gpt2-scaled by layer": BERT | dict(scale_attn_by_inverse_layer_idx=True),
    "gpt2-unscaled": BERT | dict(scale_attn_weights=False),
    "llama": SIZES,
    "llama-tied": SIZES | dict(tie_word_embeddings=True, head_dim=10),
    "llama-biases": SIZES | dict(attention_bias=True, mlp_bias=True, hidden_act="gelu"),
    "llama-one kv head": SIZES | dict(num_key_value_heads=1),
    "llama-llama3": SIZES | dict(rope_parameters=LLAMA3, head_dim=16),
    "llama-linear": SIZES
    | dict(rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=3.0)),
    "llama-yarn": SIZES | dict(rope_parameters=YARN, head_dim=16),
    "llama-yarn, own numbers": SIZES
    | dict(
        rope_parameters=YARN | dict(beta_fast=8.0, beta_slow=0.5, attention_factor=1.3),
        head_dim=32,
    ),
    "llama-yarn, no longer": SIZES | dict(rope_parameters=YARN | dict(factor=1.0)),
    "llama-yarn, ramp within": SIZES
    | dict(rope_parameters=YARN | dict(original_max_position_embeddings=256), head_dim=32),
    "llama-yarn, no ramp": SIZES
    | dict(rope_parameters=YARN | dict(original_max_position_embeddings=4)),
    "mistral-window": SIZES | dict(sliding_window=5),
    "mistral-no window": SIZES | dict(sliding_window=None),
    "qwen2": SIZES,
    "qwen2-last layers slide": SIZES
    | dict(use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "qwen3": SIZES | dict(head_dim=10),
    "qwen3-biases": SIZES | dict(head_dim=10, attention_bias=True, tie_word_embeddings=True),
    "qwen3-window": SIZES | dict(use_sliding_window=True, sliding_window=4, max_window_layers=2),
    "gemma2": GEMMA,
    "gemma2-tight caps": GEMMA
    | dict(attn_logit_softcapping=2.0, final_logit_softcapping=3.0, attention_bias=True),
    "gemma2-no caps": GEMMA | dict(attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma3_text": GEMMA | dict(sliding_window_pattern=3, final_logit_softcapping=4.0),
    "gemma3_text-linear": GEMMA
    | dict(
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        tie_word_embeddings=False,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000.0),
            sliding_attention=dict(rope_type="default", rope_theta=50.0),
        ),
    ),
    "olmo2": SIZES,
    "olmo2-biases": SIZES | dict(attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-2),
    "mixtral": SIZES | dict(num_local_experts=5),
    "mixtral-window": SIZES
    | dict(num_local_experts=4, num_experts_per_tok=3, sliding_window=4, head_dim=10),
    "qwen2_moe": QWEN2_MOE,
    "qwen2_moe-dense layer": QWEN2_MOE
    | dict(norm_topk_prob=True, mlp_only_layers=[0], qkv_bias=False),
    "qwen2_moe-window": QWEN2_MOE | dict(use_sliding_window=True, sliding_window=4),
    "qwen3_moe": EXPERTS,
    "qwen3_moe-every second": EXPERTS
    | dict(head_dim=10, norm_topk_prob=True, decoder_sparse_step=2),
    "qwen3_moe-window": EXPERTS | dict(use_sliding_window=True, sliding_window=4),
    "dots1": DOTS1 | dict(first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=2.5),
    "dots1-groups": DOTS1 | dict(n_group=4, topk_group=2, sliding_window=4, max_window_layers=1),
    "bert": BERT,
    "bert-untied": BERT | dict(tie_word_embeddings=False, hidden_act="relu", layer_norm_eps=1e-2),
    "roberta": BERT | dict(pad_token_id=3),
    "roberta-untied": BERT
    | dict(pad_token_id=1, tie_word_embeddings=False, hidden_act="relu", type_vocab_size=1),
    "modernbert": BERT | dict(local_attention=8, num_hidden_layers=5),
    "modernbert-biases": BERT
    | dict(norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True)
    | dict(decoder_bias=False, tie_word_embeddings=False),
    "modernbert-odd window": BERT
    | dict(
        local_attention=5,
        classifier_activation="relu",
        hidden_activation="gelu_pytorch_tanh",
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "t5-original": T5,
    "t5-v1.1": T5 | dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "t5-few buckets": T5
    | dict(
        feed_forward_proj="gated-silu",
        relative_attention_num_buckets=8,
        relative_attention_max_distance=11,
    ),
    "t5gemma": T5GEMMA,
    "t5gemma-unlike stacks": T5GEMMA
    | dict(
        tie_word_embeddings=False,
        encoder=GEMMA
        | dict(hidden_size=32, num_key_value_heads=4, attn_logit_softcapping=None)
        | dict(layer_types=["full_attention", "sliding_attention", "sliding_attention"]),
        decoder=GEMMA
        | dict(num_hidden_layers=2, hidden_activation="silu", attention_bias=True)
        | dict(attn_logit_softcapping=3.0, final_logit_softcapping=None),
    ),
}


def make_model(family: str, fields: dict[str, Any], seed: int) -> Any:
    """A model with random weights that matter: sharp attention, no norm of ones, no zero bias."""
    import torch
    import transformers

    config_class, model_class = (getattr(transformers, name) for name in CLASSES[family])
    torch.manual_seed(seed)
    model = model_class(config_class(**fields)).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            spread = 0.3 if value.ndim == 1 else 1.2 * value.shape[-1] ** -0.5
            if "Attention.q." in name:  # T5 scales no scores
                spread *= model.config.d_kv**-0.5
            start = value.mean() if value.ndim == 1 else 0.0  # the 1 of a norm, the 0 of a bias
            value.copy_(start + spread * torch.randn(value.shape))
    return model


def rows(model: Any, seed: int, lowest: int = 4) -> tuple[np.ndarray, np.ndarray | None]:
    """(tokens, decoder's tokens or None), without the ids below `lowest`: no pads."""
    generator = np.random.default_rng(seed)
    tokens_BT = generator.integers(lowest, 61, (2, 40))
    is_pair = model.config.is_encoder_decoder
    return tokens_BT, generator.integers(lowest, 61, (2, 27)) if is_pair else None


def their_logits(model: Any, tokens_BT: np.ndarray, decoder_BT: np.ndarray | None) -> np.ndarray:
    import torch

    inputs = dict(input_ids=torch.tensor(tokens_BT), attention_mask=torch.ones(tokens_BT.shape))
    if decoder_BT is not None:
        inputs["decoder_input_ids"] = torch.tensor(decoder_BT)
    with torch.no_grad():
        return model(**inputs).logits.float().numpy()


def assert_same(model: Any, folder: Path, seed: int, lowest: int = 4) -> None:
    tokens_BT, decoder_BT = rows(model, seed, lowest)
    theirs = their_logits(model, tokens_BT, decoder_BT)
    ours = reference.logits(folder, tokens_BT, decoder_BT)
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def rewrite(folder: Path, fields: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(fields))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_those_of_transformers(variant: str, seed: int, tmp_path: Path):
    model = make_model(variant.split("-")[0], VARIANTS[variant], seed)
    model.save_pretrained(tmp_path)
    assert_same(model, tmp_path, seed)


LEAST = {
    **{family: SIZES for family in CLASSES},
    **{family: BERT for family in ("gpt2", "bert", "roberta", "modernbert")},
    "gpt2": dict(vocab_size=61, n_embd=24, n_head=4, n_layer=3, n_positions=64) | ENDS,
    "mixtral": SIZES | dict(num_local_experts=5, num_experts_per_tok=2),
    "qwen2_moe": QWEN2_MOE,
    "qwen3_moe": EXPERTS,
    "dots1": DOTS1,
    "t5": T5,
    "t5gemma": dict(vocab_size=61, encoder=SIZES, decoder=SIZES) | ENDS,
}


@pytest.mark.parametrize("family", CLASSES)
def test_absent_fields_have_the_defaults_of_transformers(family: str, tmp_path: Path):
    model = make_model(family, LEAST[family], seed=3)
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, LEAST[family] | dict(model_type=family))
    assert_same(model, tmp_path, seed=3)


OLD_SCALING = dict(type="linear", factor=4.0)
# Without layer_types.
OLD = {
    "qwen2": VARIANTS["qwen2-last layers slide"],
    "gemma2": GEMMA,
    "qwen2_moe": VARIANTS["qwen2_moe-window"],
    "dots1": VARIANTS["dots1-groups"],
    "t5gemma": T5GEMMA,
    "llama": SIZES | dict(rope_theta=200.0, rope_scaling=OLD_SCALING),
    "llama-scaling with rope_type": SIZES
    | dict(rope_theta=500.0, rope_scaling={k: v for k, v in LLAMA3.items() if k != "rope_theta"}),
    "gemma3_text": GEMMA
    | dict(rope_theta=300.0, rope_local_base_freq=20.0, sliding_window_pattern=2)
    | dict(rope_scaling=OLD_SCALING),
    "modernbert": BERT
    | dict(global_rope_theta=300.0, local_rope_theta=20.0, global_attn_every_n_layers=2)
    | dict(local_attention=6),
    "t5": T5 | dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "t5-tied": T5 | dict(tie_word_embeddings=True),
}


@pytest.mark.parametrize("variant", OLD)
def test_folders_of_older_releases_read_the_same(variant: str, tmp_path: Path):
    family = variant.split("-")[0]
    model = make_model(family, dict(OLD[variant]), seed=4)
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, OLD[variant] | dict(model_type=family))
    if OLD[variant].get("tie_word_embeddings") is False:  # then they stored one tensor twice
        append(tmp_path, "lm_head.weight", model.lm_head.weight)
    assert_same(model, tmp_path, seed=4)


def append(folder: Path, name: str, value: Any) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file({**load_file(file), name: value.detach().clone()}, file)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "t5"])
def test_half_precision_weights_are_read_exactly(family: str, dtype: str, tmp_path: Path):
    import torch

    model = make_model(family, VARIANTS.get(family, T5), seed=5)
    for value in model.parameters():
        value.data = value.data.to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    for value in model.parameters():
        value.data = value.data.float()
    assert_same(model, tmp_path, seed=5)


def test_shards_are_read_by_their_index(tmp_path: Path):
    model = make_model("llama", SIZES, seed=6)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same(model, tmp_path, seed=6)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("gpt2", {"transformer.": ""}),
        ("bert", {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}),
    ],
)
def test_the_first_folders_of_a_family_have_other_names(
    family: str, names: dict[str, str], tmp_path: Path
):
    """Which transformers read, too."""
    from safetensors.numpy import load_file, save_file

    model = make_model(family, BERT, seed=8)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for new, old in names.items():
        tensors = {name.replace(new, old): value for name, value in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    assert_same(type(model).from_pretrained(tmp_path), tmp_path, seed=8)


def test_pads_take_no_position_in_roberta(tmp_path: Path):
    model = make_model("roberta", BERT | dict(pad_token_id=3), seed=7)
    model.save_pretrained(tmp_path)
    assert (rows(model, 7, lowest=0)[0] == 3).any()
    assert_same(model, tmp_path, seed=7, lowest=0)


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("numbers", [(32, 128), (8, 11), (20, 320), (64, 256), (4, 20)])
def test_every_distance_is_in_the_bucket_of_transformers(numbers: tuple[int, int], two_sided: bool):
    import torch
    from transformers.models.t5.modeling_t5 import T5Attention

    relative = np.arange(-3000, 3000)
    theirs = T5Attention._relative_position_bucket(torch.tensor(relative), two_sided, *numbers)
    np.testing.assert_array_equal(relative_buckets(relative, *numbers, two_sided), theirs.numpy())
