"""GPT-2. All tokens are real: no padding, one document a row."""

from typing import Any, ClassVar

import numpy as np

from nanojaxlm.interop.reference.folder import Folder
from nanojaxlm.interop.reference.pieces import (
    activation,
    attend,
    causal_mask,
    layer_norm,
    split_heads,
)


class GPT2:
    """Learned positions, LayerNorm, products stored [in, out], no gate."""

    defaults: ClassVar[dict[str, Any]] = {
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
    }

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.fields = folder.fields(self.defaults)
        self.fields.must_be(add_cross_attention=False)
        # The folder of the first GPT-2 was written from a model without its head.
        self.prefix = "transformer." if "transformer.wte.weight" in folder else ""
        self.width: int = self.fields["n_embd"]
        self.head_dim = self.width // self.fields["n_head"]
        self.activation = activation(self.fields, "activation_function")

    def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
        length, limit = tokens_BT.shape[1], self.fields["n_positions"]
        words_VD = self.tensor("wte.weight", self.fields["vocab_size"], self.width)
        x_BTD = words_VD[tokens_BT] + self.tensor("wpe.weight", limit, self.width)[:length]
        mask_TS = causal_mask(length)
        for i in range(self.fields["n_layer"]):
            x_BTD = x_BTD + self.attention(i, self.norm(f"h.{i}.ln_1", x_BTD), mask_TS)
            x_BTD = x_BTD + self.feed_forward(i, self.norm(f"h.{i}.ln_2", x_BTD))
        x_BTD = self.norm("ln_f", x_BTD)
        if not self.fields["tie_word_embeddings"] or "lm_head.weight" in self.folder:
            words_VD = self.folder.tensor("lm_head.weight", *words_VD.shape)
        return x_BTD @ words_VD.T

    def attention(self, i: int, x_BTD: np.ndarray, mask_TS: np.ndarray) -> np.ndarray:
        scale = self.head_dim**-0.5 if self.fields["scale_attn_weights"] else 1.0
        if self.fields["scale_attn_by_inverse_layer_idx"]:
            scale /= i + 1
        qkv_BTX = self.product(f"h.{i}.attn.c_attn", x_BTD, 3 * self.width)
        q, k, v = (split_heads(part, self.head_dim) for part in np.split(qkv_BTX, 3, axis=-1))
        return self.product(f"h.{i}.attn.c_proj", attend(q, k, v, scale, mask_TS), self.width)

    def feed_forward(self, i: int, x_BTD: np.ndarray) -> np.ndarray:
        hidden = self.fields.get("n_inner", 4 * self.width)
        x_BTF = self.activation(self.product(f"h.{i}.mlp.c_fc", x_BTD, hidden))
        return self.product(f"h.{i}.mlp.c_proj", x_BTF, self.width)

    def product(self, name: str, x: np.ndarray, size: int) -> np.ndarray:
        weight = self.tensor(f"{name}.weight", x.shape[-1], size)
        return x @ weight + self.tensor(f"{name}.bias", size)

    def norm(self, name: str, x_BTD: np.ndarray) -> np.ndarray:
        scale = self.tensor(f"{name}.weight", self.width)
        bias = self.tensor(f"{name}.bias", self.width)
        return layer_norm(x_BTD, scale, bias, self.fields["layer_norm_epsilon"])

    def tensor(self, name: str, *shape: int) -> np.ndarray:
        return self.folder.tensor(self.prefix + name, *shape)
