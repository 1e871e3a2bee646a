"""Random tiny models of each family: their config.json, their weights by name, what they read.

Drawn from a family's name and a seed, with nothing but numpy: what record_families.py records in
one environment is drawn again in another.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).with_name("recorded")
ROWS, LENGTH, ENCODER_LENGTH = 2, 24, 20  # tokens; the decoders' rows and the encoders'
FIRST_ID = 3  # tokens below are special and do not occur in the rows

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "dots1": "Dots1ForCausalLM",
    "bert": "BertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
    "modernbert": "ModernBertForMaskedLM",
    "t5": "T5ForConditionalGeneration",
    "t5gemma": "T5GemmaForConditionalGeneration",
}
# Of T5, the one as v1.1 and the one as the original.
RECORDED = {family: (0, 1) if family == "t5" else (0,) for family in CLASSES}
ENCODERS = ("bert", "roberta", "modernbert")
ENCODER_DECODERS = ("t5", "t5gemma")
CENTERED = ("gemma2", "gemma3_text", "t5gemma")  # norms that add 1 to their weight


class Row(NamedTuple):
    """One stack's part of a batch; each row one document, with padding on one side.

    tokens_BT, positions_BT, mask_BT: int32; mask is 1 on the document.
    """

    tokens_BT: np.ndarray
    positions_BT: np.ndarray
    mask_BT: np.ndarray


class Example(NamedTuple):
    """What both models read, and what the last stack is to predict.

    targets_BT: int32. weights_BT: float32, 0 on padding.
    """

    encoder: Row | None
    decoder: Row | None
    targets_BT: np.ndarray
    weights_BT: np.ndarray


def draw_config(family: str, seed: int) -> dict[str, Any]:
    """The fields of a tiny model's config.json, no two sizes equal where they need not be."""
    rng = _generator(family, seed)

    def pick(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    heads = pick(2, 4)
    sizes = {
        "vocab_size": int(rng.integers(41, 64)),
        "hidden_size": heads * pick(7, 9, 10),
        "intermediate_size": int(rng.integers(20, 40)),
        "num_hidden_layers": pick(2, 3),
        "num_attention_heads": heads,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": "float32",
    }
    layers = sizes["num_hidden_layers"]
    decoder = sizes | {
        "num_key_value_heads": pick(1, 2),
        "max_position_embeddings": 64,
        "rms_norm_eps": pick(1e-6, 1e-3),
        "tie_word_embeddings": pick(True, False),
    }
    rope = {"rope_parameters": _draw_rope(pick)}
    window = {"sliding_window": pick(3, 5)}
    local = window | {"layer_types": _draw_layers(pick, layers)}
    head_dim = {"head_dim": pick(4, 6, 8)}
    experts = {"num_experts_per_tok": pick(1, 2, 3), "moe_intermediate_size": 11}
    gemma = head_dim | local | {"query_pre_attn_scalar": pick(5, 13)}
    gemma["attention_bias"] = pick(False, True)
    softcaps = {
        "attn_logit_softcapping": pick(None, 2.0),
        "final_logit_softcapping": pick(None, 3.0),
    }
    norms = {"layer_norm_eps": pick(1e-12, 1e-3), "hidden_act": pick("gelu", "relu", "gelu_new")}
    if family == "gpt2":
        return {
            "vocab_size": sizes["vocab_size"],
            "n_embd": sizes["hidden_size"],
            "n_layer": layers,
            "n_head": heads,
            "n_positions": 30,
            "n_inner": pick(None, 37),
            "activation_function": pick("gelu_new", "gelu", "relu"),
            "scale_attn_weights": pick(True, False),
            "tie_word_embeddings": decoder["tie_word_embeddings"],
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
    if family == "llama":
        biases = {"attention_bias": pick(True, False), "mlp_bias": pick(True, False)}
        return decoder | rope | head_dim | biases | {"hidden_act": pick("silu", "gelu")}
    if family == "mistral":
        return decoder | rope | head_dim | {"sliding_window": pick(None, 4, 6)}
    if family in ("qwen2", "qwen3"):
        slides = {
            "use_sliding_window": True,
            "sliding_window": window["sliding_window"],
            "max_window_layers": pick(0, 1),
        }
        own = {"use_sliding_window": False} if pick(0, 0, 1) else slides
        if family == "qwen3":
            own |= head_dim | {"attention_bias": pick(True, False)}
        if decoder["hidden_size"] // heads % 2 and "head_dim" not in own:
            own |= {"hidden_size": heads * 8}
        return decoder | rope | own
    if family == "gemma2":
        return decoder | rope | gemma | softcaps
    if family == "gemma3_text":
        ropes = {"full_attention": _draw_rope(pick), "sliding_attention": _draw_rope(pick, "")}
        return (
            decoder
            | gemma
            | {
                "rope_parameters": ropes,
                "final_logit_softcapping": softcaps["final_logit_softcapping"],
            }
        )
    if family == "olmo2":
        return decoder | rope | head_dim | {"attention_bias": pick(True, False)}
    if family == "mixtral":
        return (
            decoder
            | rope
            | head_dim
            | {
                "num_local_experts": pick(4, 5),
                "num_experts_per_tok": experts["num_experts_per_tok"],
                "sliding_window": pick(None, 4),
            }
        )
    if family == "qwen2_moe":
        return (
            decoder
            | rope
            | head_dim
            | experts
            | {
                "num_experts": pick(4, 5),
                "shared_expert_intermediate_size": 13,
                "norm_topk_prob": pick(True, False),
                "qkv_bias": pick(True, False),
                "mlp_only_layers": pick([], [0]),
                "use_sliding_window": pick(True, False),
                "max_window_layers": layers,
            }
            | window
        )
    if family == "qwen3_moe":
        return (
            decoder
            | rope
            | head_dim
            | experts
            | {
                "num_experts": pick(4, 5),
                "norm_topk_prob": pick(True, False),
                "attention_bias": pick(True, False),
                "mlp_only_layers": pick([], [0]),
                "use_sliding_window": pick(True, False),
            }
            | window
        )
    if family == "dots1":
        groups = pick(1, 2, 4)
        return (
            decoder
            | rope
            | head_dim
            | experts
            | local
            | {
                "n_routed_experts": 8,
                "n_shared_experts": pick(1, 2),
                "n_group": groups,
                "topk_group": max(1, groups // 2),
                "first_k_dense_replace": pick(0, 1),
                "norm_topk_prob": pick(True, False),
                "routed_scaling_factor": pick(1.0, 2.5),
                "attention_bias": pick(True, False),
            }
        )
    if family in ("bert", "roberta"):
        own = {"max_position_embeddings": 33, "type_vocab_size": pick(1, 2, 3)}
        if family == "roberta":
            own["pad_token_id"], own["bos_token_id"] = 1, 0
        return sizes | norms | own
    if family == "modernbert":
        own = {"hidden_size": heads * pick(6, 8), "intermediate_size": 19, "num_hidden_layers": 4}
        return sizes | own | {
            "global_attn_every_n_layers": pick(2, 3),
            "local_attention": pick(4, 6),
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 300.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
            },
            "norm_eps": pick(1e-5, 1e-3),
            "tie_word_embeddings": pick(True, False),
            **{
                name: pick(True, False)
                for name in (
                    "attention_bias", "classifier_bias", "decoder_bias", "mlp_bias", "norm_bias"
                )
            },
        }  # fmt: skip
    if family == "t5":
        tied = bool(seed % 2)  # 0: as v1.1, 1: as the original
        return {
            "vocab_size": sizes["vocab_size"],
            "d_model": sizes["hidden_size"],
            "d_kv": head_dim["head_dim"],
            "d_ff": sizes["intermediate_size"],
            "num_layers": pick(2, 3),  # in generate, no fewer than of the decoder
            "num_decoder_layers": pick(1, 2),
            "num_heads": heads,
            "relative_attention_num_buckets": pick(8, 12),
            "relative_attention_max_distance": pick(12, 20),
            "feed_forward_proj": "relu" if tied else pick("gated-gelu", "gated-silu"),
            "tie_word_embeddings": tied,
            "pad_token_id": 0,
            "eos_token_id": 2,
            "decoder_start_token_id": 0,
        }
    assert family == "t5gemma", family
    module = decoder | head_dim | softcaps | {"final_logit_softcapping": None}
    module["attention_bias"] = pick(True, False)
    del module["dtype"]
    modules = {
        name: module
        | {
            "rope_parameters": _draw_rope(pick),
            "num_hidden_layers": layers,
            "layer_types": _draw_layers(pick, layers),
            "sliding_window": pick(2, 4),
            "query_pre_attn_scalar": pick(5, 13),
        }
        for name, layers in (("encoder", pick(1, 2)), ("decoder", pick(2, 3)))
    }
    modules["decoder"]["final_logit_softcapping"] = softcaps["final_logit_softcapping"]
    return {
        **modules,
        "vocab_size": sizes["vocab_size"],
        "tie_word_embeddings": decoder["tie_word_embeddings"],
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }


def draw_weights(
    family: str, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, np.ndarray]:
    """float32 weights by the names of the folder; no norm at 1, no bias at 0."""
    return {name: _draw_weight(family, name, shape, seed) for name, shape in shapes.items()}


def draw_example(family: str, vocab_size: int, seed: int) -> Example:
    """Rows of which the first is padded on the right and the second on the left."""
    rng = _generator(f"rows of {family}", seed)

    def row(length: int) -> Row:
        mask_BT = np.zeros((ROWS, length), np.int32)
        mask_BT[0, : length - 3] = 1
        mask_BT[1, 5:] = 1
        tokens_BT = rng.integers(FIRST_ID, vocab_size, mask_BT.shape) * mask_BT
        positions_BT = np.maximum(np.cumsum(mask_BT, axis=1) - 1, 0)
        return Row(tokens_BT.astype(np.int32), positions_BT.astype(np.int32), mask_BT)

    encoder = None
    if family in ENCODERS or family in ENCODER_DECODERS:
        encoder = row(LENGTH if family in ENCODERS else ENCODER_LENGTH)
    decoder = None if family in ENCODERS else row(LENGTH)
    last = decoder or encoder
    assert last is not None
    targets_BT = rng.integers(FIRST_ID, vocab_size, last.mask_BT.shape).astype(np.int32)
    weights_BT = rng.random(last.mask_BT.shape).astype(np.float32) * last.mask_BT
    return Example(encoder, decoder, targets_BT, weights_BT)


def direction(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32, random by the tensor's name; what a gradient's product with is recorded."""
    return _generator(f"direction of {name}", 0).standard_normal(shape).astype(np.float32)


def first_position(family: str, config: Mapping[str, Any]) -> int:
    """What transformers want added to a position."""
    return 1 + config["pad_token_id"] if family == "roberta" else 0


def summaries(gradients: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """{name: [norm, product with the direction]}"""
    return {
        name: [float(np.linalg.norm(g)), float(np.vdot(g, direction(name, g.shape)))]
        for name, g in gradients.items()
    }


def _draw_rope(pick: Any, kinds: str = "linear llama3 yarn") -> dict[str, Any]:
    """Rows are longer than the original lengths."""
    kind = pick("default", *kinds.split())
    rope = {"rope_type": kind, "rope_theta": pick(50.0, 1000.0)}
    if kind == "linear":
        return rope | {"factor": 3.0}
    if kind == "llama3":
        return rope | {
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    if kind == "yarn":
        own = pick({}, {"attention_factor": 1.2}, {"beta_fast": 4.0, "beta_slow": 0.5})
        return rope | {"factor": 4.0, "original_max_position_embeddings": 16} | own
    return rope


def _draw_layers(pick: Any, num_layers: int) -> list[str]:
    """One of the patterns that ours have: all, none, every other, beginning with either."""
    full, sliding = "full_attention", "sliding_attention"
    first, second = pick((full, full), (sliding, sliding), (full, sliding), (sliding, full))
    return [(first, second)[i % 2] for i in range(num_layers)]


def _draw_weight(family: str, name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    normal = _generator(name, seed).standard_normal(shape).astype(np.float32)
    lower = name.lower()
    if len(shape) == 1 and name.endswith(".weight"):
        assert "norm" in lower or ".ln_" in lower, name
        return 0.2 * normal if family in CENTERED else 1 + 0.2 * normal
    if len(shape) == 1 or "relative_attention_bias" in name:
        return 0.3 * normal
    if "embed" in lower or name in ("shared.weight",) or ".wte." in name or ".wpe." in name:
        return 0.5 * normal
    return normal * np.float32(min(shape) ** -0.5)


def _generator(word: str, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(word.encode())]))
