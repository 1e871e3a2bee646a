"""Decoders whose feed-forwards are mixtures of experts, a tensor an expert in the folder."""

from collections.abc import Callable

import numpy as np

from nanojaxlm.interop.reference.decoders import Llama, Mistral, Qwen2, Qwen3
from nanojaxlm.interop.reference.pieces import (
    choose_by_sigmoid,
    choose_by_softmax,
    mixture,
    sigmoid,
)


class Mixtral(Mistral):
    """w1 is the gate, w3 what it gates, w2 the way back; weights always sum to 1."""

    defaults = Mistral.defaults | {"sliding_window": None, "rms_norm_eps": 1e-5}
    theta = 1_000_000.0

    def feed_forward(self, i: int, name: str, x_BTD: np.ndarray) -> np.ndarray:
        name = f"layers.{i}.block_sparse_moe."
        x_MD = x_BTD.reshape(-1, self.width)
        logits_ME = self.linear(f"{name}gate", x_MD, self.fields["num_local_experts"])
        chosen_MK, weights_MK = choose_by_softmax(
            logits_ME, self.fields["num_experts_per_tok"], normalize=True
        )
        names, hidden = ("w1", "w3", "w2"), self.fields["intermediate_size"]
        return mixture(
            x_MD,
            chosen_MK,
            weights_MK,
            lambda e, x: self.gated(f"{name}experts.{e}.", x, hidden, names=names),
        ).reshape(x_BTD.shape)


def _experts(model: Llama, name: str) -> Callable[[int, np.ndarray], np.ndarray]:
    hidden = model.fields["moe_intermediate_size"]
    return lambda e, x: model.gated(f"{name}experts.{e}.", x, hidden)


class Qwen3Moe(Qwen3):
    defaults = Qwen3.defaults | {
        "head_dim": None,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
    }

    def is_local(self, i: int) -> bool:
        return True

    def feed_forward(self, i: int, name: str, x_BTD: np.ndarray) -> np.ndarray:
        if is_dense(self, i):
            return super().feed_forward(i, name, x_BTD)
        x_MD = x_BTD.reshape(-1, self.width)
        chosen_MK, weights_MK = choose_experts(self, name, x_MD)
        return mixture(x_MD, chosen_MK, weights_MK, _experts(self, name)).reshape(x_BTD.shape)


class Qwen2Moe(Qwen2):
    """One more expert for all tokens, times the sigmoid of a learned product."""

    defaults = Qwen2.defaults | {
        "qkv_bias": True,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
    }

    def is_local(self, i: int) -> bool:
        if self.fields.get("layer_types") is not None:
            return super().is_local(i)
        return i % 2 == 0 and i < self.fields["max_window_layers"]

    def attention_biases(self) -> tuple[bool, bool]:
        return self.fields["qkv_bias"], False

    def feed_forward(self, i: int, name: str, x_BTD: np.ndarray) -> np.ndarray:
        if is_dense(self, i):
            return super().feed_forward(i, name, x_BTD)
        x_MD = x_BTD.reshape(-1, self.width)
        chosen_MK, weights_MK = choose_experts(self, name, x_MD)
        out_MD = mixture(x_MD, chosen_MK, weights_MK, _experts(self, name))
        hidden = self.fields["shared_expert_intermediate_size"]
        shared_MD = self.gated(f"{name}shared_expert.", x_MD, hidden)
        gate_M1 = sigmoid(self.linear(f"{name}shared_expert_gate", x_MD, 1))
        return (out_MD + gate_M1 * shared_MD).reshape(x_BTD.shape)


def is_dense(model: Llama, i: int) -> bool:
    """Whether layer i of a Qwen mixture has one feed-forward only."""
    sparse = (i + 1) % model.fields["decoder_sparse_step"] == 0
    return not sparse or i in model.fields.get("mlp_only_layers", ())


def choose_experts(model: Llama, name: str, x_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(experts, weights) of Qwen's router; old folders call the count of experts otherwise."""
    fields = model.fields
    num_experts = fields.get("num_experts") or fields["num_local_experts"]
    logits_ME = model.linear(f"{name}gate", x_MD, num_experts)
    return choose_by_softmax(logits_ME, fields["num_experts_per_tok"], fields["norm_topk_prob"])


class Dots1(Qwen3):
    """DeepSeek-V3's experts: sigmoid scores, a bias in the choice, some experts for all tokens."""

    defaults = Qwen3.defaults | {
        "head_dim": None,
        "max_window_layers": 62,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 0,
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
    }

    def window(self, i: int) -> int | None:
        return self.fields["sliding_window"] if self.is_local(i) else None

    def feed_forward(self, i: int, name: str, x_BTD: np.ndarray) -> np.ndarray:
        if i < self.fields["first_k_dense_replace"]:
            return super().feed_forward(i, name, x_BTD)
        x_MD = x_BTD.reshape(-1, self.width)
        num_experts = self.fields["n_routed_experts"]
        logits_ME = self.linear(f"{name}gate", x_MD, num_experts)
        bias_E = self.tensor(f"{name}gate.e_score_correction_bias", num_experts)
        chosen_MK, weights_MK = choose_by_sigmoid(logits_ME, bias_E, self.fields)
        out_MD = mixture(x_MD, chosen_MK, weights_MK, _experts(self, name))
        hidden = self.fields["moe_intermediate_size"] * self.fields["n_shared_experts"]
        return (out_MD + self.gated(f"{name}shared_experts.", x_MD, hidden)).reshape(x_BTD.shape)
