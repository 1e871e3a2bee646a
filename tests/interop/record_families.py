"""Records what transformers compute, for the tests that run without them.

    python tests/interop/record_families.py     # from the checkout, with the extra `interop`

Weights are drawn from the tensor's name and a seed, so that only what transformers make of them is
kept: config.json, names and shapes as save_pretrained writes them, logits, and each gradient's
norm and product with a random direction. The drawing needs neither torch nor transformers.
"""

import json
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
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
    gemma = head_dim | local | {"query_pre_attn_scalar": pick(5, 13), "attention_bias": pick(0, 1)}
    gemma["attention_bias"] = bool(gemma["attention_bias"])
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
            "num_layers": pick(1, 2),
            "num_decoder_layers": pick(2, 3),
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


def load(family: str, folder: Path) -> Any:
    """The model of transformers in a folder, in float32 and with plain attention."""
    import transformers

    plain = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return getattr(transformers, CLASSES[family]).from_pretrained(folder, dtype="float32", **plain)


def make_folder(family: str, seed: int, folder: Path) -> None:
    """A tiny model as save_pretrained writes it, with the drawn weights."""
    import transformers
    from safetensors.numpy import save_file

    architecture = getattr(transformers, CLASSES[family])
    config = architecture.config_class(**draw_config(family, seed))
    model = architecture(config)
    model.save_pretrained(folder)
    shapes = shapes_in(folder)
    if family == "t5" and not config.scale_decoder_outputs:
        # made untied, which transformers 5 no longer does by itself, but reads and writes
        shapes["lm_head.weight"] = shapes["shared.weight"]
    weights = draw_weights(family, shapes, seed)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of the tensors in a folder."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def inputs(family: str, config: Mapping[str, Any], example: Example) -> dict[str, Any]:
    """What the model of transformers is called with."""
    import torch

    def tensor(array: np.ndarray) -> Any:
        return torch.from_numpy(array.astype(np.int64))

    def named(row: Row, prefix: str) -> dict[str, Any]:
        return {
            f"{prefix}input_ids": tensor(row.tokens_BT),
            f"{prefix}attention_mask": tensor(row.mask_BT),
            f"{prefix}position_ids": tensor(row.positions_BT + first_position(family, config)),
        }

    told: dict[str, Any] = {"use_cache": False} if family not in ENCODERS else {}
    if example.encoder is not None:
        told |= named(example.encoder, "")
    if example.decoder is not None:
        told |= named(example.decoder, "" if example.encoder is None else "decoder_")
    if family == "t5":  # its positions are relative
        told = {name: value for name, value in told.items() if not name.endswith("position_ids")}
    return told


def logits_and_gradients(
    family: str, model: Any, example: Example
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(logits_BTV, {name in the folder: gradient of the weighted mean cross-entropy})."""
    import torch
    from safetensors.numpy import load_file

    model.zero_grad()
    logits_BTV = model(**inputs(family, model.config.to_dict(), example)).logits
    losses = torch.nn.functional.cross_entropy(
        logits_BTV.transpose(1, 2),
        torch.from_numpy(example.targets_BT.astype(np.int64)),
        reduction="none",
    )
    weights_BT = torch.from_numpy(example.weights_BT)
    ((losses * weights_BT).sum() / weights_BT.sum()).backward()
    # Saving the gradients in the weights' place gives them the names and layouts of a folder.
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    parameters = {name for name, _ in model.named_parameters()}
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for p in model.parameters():
            p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
        model.save_pretrained(folder)
        for name, p in model.named_parameters():
            p.copy_(kept[name])
        gradients = load_file(Path(folder) / "model.safetensors")
    buffers = {name for name, _ in model.named_buffers()} - parameters
    return logits_BTV.detach().numpy(), {n: g for n, g in gradients.items() if n not in buffers}


def summaries(gradients: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """{name: [norm, product with the direction]}"""
    return {
        name: [float(np.linalg.norm(g)), float(np.vdot(g, direction(name, g.shape)))]
        for name, g in gradients.items()
    }


def main() -> None:
    import transformers

    FOLDER.mkdir(exist_ok=True)
    for family, seeds in RECORDED.items():
        cases, arrays = [], {}
        for seed in seeds:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                make_folder(family, seed, folder)
                model = load(family, folder)
                config = json.loads((folder / "config.json").read_text())
                shapes = shapes_in(folder)
            module = config.get("decoder", config)
            example = draw_example(family, module["vocab_size"], seed)
            arrays[f"logits_{seed}"], gradients = logits_and_gradients(family, model, example)
            cases.append(
                {
                    "config": config,
                    "gradients": summaries(gradients),
                    "seed": seed,
                    "shapes": shapes,
                    "transformers": transformers.__version__,
                }
            )
        (FOLDER / f"{family}.json").write_text(_compact(cases))
        np.savez_compressed(FOLDER / f"{family}.npz", **arrays)
        print(family, file=sys.stderr)


def _compact(cases: list[dict[str, Any]]) -> str:
    """JSON with one line for each entry of a case, so that a change shows."""

    def lines() -> Iterator[str]:
        for i, case in enumerate(cases):
            yield "[{" if i == 0 else "{"
            last = len(case) - 1
            for j, (key, value) in enumerate(case.items()):
                comma = "," if j < last else ""
                if not isinstance(value, dict):
                    yield f' "{key}": {json.dumps(value)}{comma}'
                    continue
                yield f' "{key}": {{'
                entries = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
                yield ",\n".join(entries)
                yield f" }}{comma}"
            yield "}]" if i == len(cases) - 1 else "},"

    return "\n".join(lines()) + "\n"


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


if __name__ == "__main__":
    main()
