"""The llama-likes, each saying in what it differs from a llama.

Written from the published architectures and their field names in config.json (transformers
5.24), not from our own model. All tokens are real: no padding, one document a row.
"""

from typing import Any, ClassVar

import numpy as np

from nanojaxlm.interop.reference.folder import Fields, Folder, is_local
from nanojaxlm.interop.reference.pieces import (
    activation,
    attend,
    causal_mask,
    rms_norm,
    softcap,
    split_heads,
)
from nanojaxlm.interop.reference.rope import Rope, make_rope, rope_parameters, rotate


class Llama:
    """A llama; `logits` is the whole forward pass, the rest its parts, a name each."""

    # Fields that a folder may leave out, and what they are then.
    defaults: ClassVar[dict[str, Any]] = {
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "final_logit_softcapping": None,
    }
    # Fields that change what is computed, in ways not computed here.
    fixed: ClassVar[dict[str, Any]] = {}
    theta: ClassVar[float] = 10_000.0
    activation_field: ClassVar[str] = "hidden_act"

    def __init__(
        self, folder: Folder, fields: Fields | None = None, prefix: str = "model."
    ) -> None:
        self.folder = folder
        self.fields = folder.fields(self.defaults) if fields is None else fields
        self.fields.must_be(**self.fixed)
        self.prefix = prefix
        self.width: int = self.fields["hidden_size"]
        self.heads: int = self.fields["num_attention_heads"]
        self.kv_heads: int = self.fields.get("num_key_value_heads", self.heads)
        self.head_dim: int = self.fields.get("head_dim", self.width // self.heads)
        self.scale = self.head_dim**-0.5
        self.cap: float | None = None
        self.activation = activation(self.fields, self.activation_field)

    def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
        x_BTD = self.norm("norm", self.layers(self.embed(tokens_BT)))
        name = "lm_head.weight"
        if self.fields["tie_word_embeddings"] and name not in self.folder:
            name = f"{self.prefix}embed_tokens.weight"
        head_VD = self.folder.tensor(name, self.fields["vocab_size"], self.width)
        return softcap(x_BTD @ head_VD.T, self.fields["final_logit_softcapping"])

    def embed(self, tokens_BT: np.ndarray) -> np.ndarray:
        return self.tensor("embed_tokens.weight", self.fields["vocab_size"], self.width)[tokens_BT]

    def layers(self, x_BTD: np.ndarray) -> np.ndarray:
        for i in range(self.fields["num_hidden_layers"]):
            mask_TS, rope = self.mask(i, x_BTD.shape[1]), self.rope(i, x_BTD.shape[1])
            x_BTD = self.layer(i, f"layers.{i}.", x_BTD, mask_TS, rope)
        return x_BTD

    def layer(
        self, i: int, name: str, x_BTD: np.ndarray, mask_TS: np.ndarray, rope: Rope
    ) -> np.ndarray:
        read_BTD = self.norm(f"{name}input_layernorm", x_BTD)
        x_BTD = x_BTD + self.attention(f"{name}self_attn.", read_BTD, mask_TS, rope)
        read_BTD = self.norm(f"{name}post_attention_layernorm", x_BTD)
        return x_BTD + self.feed_forward(i, f"{name}mlp.", read_BTD)

    def mask(self, i: int, length: int) -> np.ndarray:
        return causal_mask(length, self.window(i))

    def window(self, i: int) -> int | None:
        """Tokens that layer i sees, itself included; None = all."""
        return None

    def rope(self, i: int, length: int) -> Rope:
        parameters = rope_parameters(self.fields, self.theta)
        return make_rope(parameters, self.fields, self.head_dim, length)

    def attention(
        self,
        name: str,
        x_BTD: np.ndarray,
        mask_TS: np.ndarray | None,
        rope: Rope | None,
        memory_BSE: np.ndarray | None = None,
    ) -> np.ndarray:
        """Self-attention, or attention to `memory`."""
        memory_BSE = x_BTD if memory_BSE is None else memory_BSE
        qkv_bias, out_bias = self.attention_biases()
        inner, kv_inner = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q_BTX = self.linear(f"{name}q_proj", x_BTD, inner, qkv_bias)
        k_BSX = self.linear(f"{name}k_proj", memory_BSE, kv_inner, qkv_bias)
        v_BSX = self.linear(f"{name}v_proj", memory_BSE, kv_inner, qkv_bias)
        q_BTNH, k_BSKH = (
            self.heads_of(f"{name}q_norm", q_BTX),
            self.heads_of(f"{name}k_norm", k_BSX),
        )
        if rope is not None:
            q_BTNH, k_BSKH = rotate(q_BTNH, rope), rotate(k_BSKH, rope)
        v_BSKH = split_heads(v_BSX, self.head_dim)
        out_BTX = attend(q_BTNH, k_BSKH, v_BSKH, self.scale, mask_TS, self.cap)
        return self.linear(f"{name}o_proj", out_BTX, self.width, out_bias)

    def attention_biases(self) -> tuple[bool, bool]:
        """Whether q, k, v have one, and whether the output has."""
        return self.fields["attention_bias"], self.fields["attention_bias"]

    def heads_of(self, norm: str, x_BTX: np.ndarray) -> np.ndarray:
        """Queries or keys, a head each; `norm` is the name of their norm, where there is one."""
        return split_heads(x_BTX, self.head_dim)

    def feed_forward(self, i: int, name: str, x_BTD: np.ndarray) -> np.ndarray:
        return self.gated(name, x_BTD, self.fields["intermediate_size"], self.mlp_bias())

    def mlp_bias(self) -> bool:
        return self.fields["mlp_bias"]

    def gated(
        self,
        name: str,
        x_BTD: np.ndarray,
        hidden: int,
        bias: bool = False,
        names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
    ) -> np.ndarray:
        gate, up, down = names
        gate_BTF = self.activation(self.linear(name + gate, x_BTD, hidden, bias))
        up_BTF = self.linear(name + up, x_BTD, hidden, bias)
        return self.linear(name + down, gate_BTF * up_BTF, x_BTD.shape[-1], bias)

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        scale = self.tensor(f"{name}.weight", x.shape[-1])
        return rms_norm(x, scale, self.fields["rms_norm_eps"])

    def linear(self, name: str, x: np.ndarray, size: int, bias: bool = False) -> np.ndarray:
        x = x @ self.tensor(f"{name}.weight", size, x.shape[-1]).T
        return x + self.tensor(f"{name}.bias", size) if bias else x

    def tensor(self, name: str, *shape: int) -> np.ndarray:
        return self.folder.tensor(self.prefix + name, *shape)


class Mistral(Llama):
    defaults = Llama.defaults | {"sliding_window": 4096}

    def window(self, i: int) -> int | None:
        return self.fields["sliding_window"]

    def attention_biases(self) -> tuple[bool, bool]:
        return False, False

    def mlp_bias(self) -> bool:
        return False


class Qwen2(Llama):
    defaults = Llama.defaults | {
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
    }

    def window(self, i: int) -> int | None:
        if not self.fields["use_sliding_window"]:
            return None
        return self.fields["sliding_window"] if self.is_local(i) else None

    def is_local(self, i: int) -> bool:
        """Layer types win over the numbers that they once were made of."""
        types = self.fields.get("layer_types")
        if types is not None:
            return is_local(self.fields, types[i])
        return i >= self.fields["max_window_layers"]

    def attention_biases(self) -> tuple[bool, bool]:
        return True, False

    def mlp_bias(self) -> bool:
        return False


class Qwen3(Qwen2):
    defaults = Qwen2.defaults | {"head_dim": 128}

    def attention_biases(self) -> tuple[bool, bool]:
        return self.fields["attention_bias"], self.fields["attention_bias"]

    def heads_of(self, norm: str, x_BTX: np.ndarray) -> np.ndarray:
        return self.norm(norm, split_heads(x_BTX, self.head_dim))


class Olmo2(Llama):
    """Norms of what the branches give, not of what they read."""

    defaults = Llama.defaults | {"rms_norm_eps": 1e-5}

    def layer(
        self, i: int, name: str, x_BTD: np.ndarray, mask_TS: np.ndarray, rope: Rope
    ) -> np.ndarray:
        out_BTD = self.attention(f"{name}self_attn.", x_BTD, mask_TS, rope)
        x_BTD = x_BTD + self.norm(f"{name}post_attention_layernorm", out_BTD)
        out_BTD = self.feed_forward(i, f"{name}mlp.", x_BTD)
        return x_BTD + self.norm(f"{name}post_feedforward_layernorm", out_BTD)

    def heads_of(self, norm: str, x_BTX: np.ndarray) -> np.ndarray:
        return split_heads(self.norm(norm, x_BTX), self.head_dim)

    def mlp_bias(self) -> bool:
        return False


class Gemma2(Llama):
    """Norms before and after each branch, their stored scale added to 1; soft-caps; GeGLU."""

    defaults = Llama.defaults | {
        "hidden_activation": "gelu_pytorch_tanh",
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "tie_word_embeddings": True,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 4096,
    }
    fixed: ClassVar[dict[str, Any]] = {"use_bidirectional_attention": False}
    activation_field = "hidden_activation"

    def __init__(
        self, folder: Folder, fields: Fields | None = None, prefix: str = "model."
    ) -> None:
        super().__init__(folder, fields, prefix)
        self.scale = self.fields["query_pre_attn_scalar"] ** -0.5
        self.cap = self.fields["attn_logit_softcapping"]

    def embed(self, tokens_BT: np.ndarray) -> np.ndarray:
        return super().embed(tokens_BT) * self.width**0.5

    def layer(
        self, i: int, name: str, x_BTD: np.ndarray, mask_TS: np.ndarray, rope: Rope
    ) -> np.ndarray:
        out_BTD = self.norm(f"{name}input_layernorm", x_BTD)
        out_BTD = self.attention(f"{name}self_attn.", out_BTD, mask_TS, rope)
        x_BTD = x_BTD + self.norm(f"{name}post_attention_layernorm", out_BTD)
        out_BTD = self.norm(f"{name}pre_feedforward_layernorm", x_BTD)
        out_BTD = self.feed_forward(i, f"{name}mlp.", out_BTD)
        return x_BTD + self.norm(f"{name}post_feedforward_layernorm", out_BTD)

    def window(self, i: int) -> int | None:
        return self.fields["sliding_window"] if self.is_local(i) else None

    def is_local(self, i: int) -> bool:
        types = self.fields.get("layer_types")
        return is_local(self.fields, types[i]) if types is not None else i % 2 == 0

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        scale = 1 + self.tensor(f"{name}.weight", x.shape[-1])
        return rms_norm(x, scale, self.fields["rms_norm_eps"])

    def mlp_bias(self) -> bool:
        return False


class Gemma3(Gemma2):
    """Norms of queries and keys in place of their soft-cap; rotary positions by layer type."""

    defaults = Gemma2.defaults | {"final_logit_softcapping": None, "attn_logit_softcapping": None}
    fixed = Gemma2.fixed | {"attn_logit_softcapping": None}

    def heads_of(self, norm: str, x_BTX: np.ndarray) -> np.ndarray:
        return self.norm(norm, split_heads(x_BTX, self.head_dim))

    def is_local(self, i: int) -> bool:
        types = self.fields.get("layer_types")
        if types is not None:
            return is_local(self.fields, types[i])
        return (i + 1) % self.fields.get("sliding_window_pattern", 6) != 0

    def rope(self, i: int, length: int) -> Rope:
        nested = self.fields.get("rope_parameters", {})
        if self.is_local(i):
            theta = self.fields.get("rope_local_base_freq", 10_000.0)
            parameters = {"rope_theta": theta, **(nested.get("sliding_attention") or {})}
        else:
            theta = self.fields.get("rope_theta", 1_000_000.0)
            scaling = self.fields.get("rope_scaling", {})
            parameters = {"rope_theta": theta, **(nested.get("full_attention") or {}), **scaling}
        return make_rope(parameters, self.fields, self.head_dim, length)
