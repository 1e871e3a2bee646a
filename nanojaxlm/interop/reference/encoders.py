"""Encoders with a head for masked tokens: BERT and RoBERTa, and ModernBERT.

All tokens are real: no padding, one document a row, all of segment type 0.
"""

from typing import Any, ClassVar

import numpy as np

from nanojaxlm.interop.reference.folder import Folder, is_local
from nanojaxlm.interop.reference.pieces import (
    ACTIVATIONS,
    activation,
    attend,
    layer_norm,
    split_heads,
    two_sided_mask,
)
from nanojaxlm.interop.reference.rope import Rope, make_rope, rotate


class Bert:
    """Norms of each sum; learned positions; a transform before the logits."""

    defaults: ClassVar[dict[str, Any]] = {
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "tie_word_embeddings": True,
        "pad_token_id": 1,  # RoBERTa's; BERT reads no pad
    }
    prefix: ClassVar[str] = "bert."
    # The head's names: transform, norm, product with the vocabulary, bias of the logits.
    head: ClassVar[tuple[str, str, str, str]] = (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
        "cls.predictions.bias",
    )

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.fields = folder.fields(self.defaults)
        self.fields.must_be(
            is_decoder=False, add_cross_attention=False, position_embedding_type="absolute"
        )
        self.width: int = self.fields["hidden_size"]
        self.head_dim = self.width // self.fields["num_attention_heads"]
        self.activation = activation(self.fields, "hidden_act")
        self.head_activation = self.activation

    def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
        words_VD = self.folder.tensor(
            f"{self.prefix}embeddings.word_embeddings.weight",
            self.fields["vocab_size"],
            self.width,
        )
        x_BTD = self.embed(words_VD, tokens_BT)
        for i in range(self.fields["num_hidden_layers"]):
            x_BTD = self.layer(f"{self.prefix}encoder.layer.{i}.", x_BTD)
        transform, norm, decoder, bias = self.head
        x_BTD = self.head_activation(self.linear(transform, x_BTD, self.width))
        if not self.fields["tie_word_embeddings"]:
            words_VD = self.folder.tensor(f"{decoder}.weight", *words_VD.shape)
            bias = f"{decoder}.bias"
        return self.norm(norm, x_BTD) @ words_VD.T + self.folder.tensor(bias, len(words_VD))

    def embed(self, words_VD: np.ndarray, tokens_BT: np.ndarray) -> np.ndarray:
        name, fields = f"{self.prefix}embeddings.", self.fields
        limit, num_types = fields["max_position_embeddings"], fields["type_vocab_size"]
        places_PD = self.folder.tensor(f"{name}position_embeddings.weight", limit, self.width)
        types = self.folder.tensor(f"{name}token_type_embeddings.weight", num_types, self.width)
        x_BTD = words_VD[tokens_BT] + types[0] + places_PD[self.positions(tokens_BT)]
        return self.norm(f"{name}LayerNorm", x_BTD)

    def positions(self, tokens_BT: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(tokens_BT.shape[1]), tokens_BT.shape)

    def layer(self, name: str, x_BTD: np.ndarray) -> np.ndarray:
        q, k, v = (
            split_heads(
                self.linear(f"{name}attention.self.{part}", x_BTD, self.width), self.head_dim
            )
            for part in ("query", "key", "value")
        )
        out_BTD = attend(q, k, v, self.head_dim**-0.5)
        out_BTD = self.linear(f"{name}attention.output.dense", out_BTD, self.width)
        x_BTD = self.norm(f"{name}attention.output.LayerNorm", x_BTD + out_BTD)
        hidden = self.fields["intermediate_size"]
        out_BTD = self.activation(self.linear(f"{name}intermediate.dense", x_BTD, hidden))
        out_BTD = self.linear(f"{name}output.dense", out_BTD, self.width)
        return self.norm(f"{name}output.LayerNorm", x_BTD + out_BTD)

    def linear(self, name: str, x: np.ndarray, size: int) -> np.ndarray:
        weight = self.folder.tensor(f"{name}.weight", size, x.shape[-1])
        return x @ weight.T + self.folder.tensor(f"{name}.bias", size)

    def norm(self, name: str, x_BTD: np.ndarray) -> np.ndarray:
        # The first BERT's folders have TensorFlow's names.
        old = f"{name}.gamma" in self.folder
        scale = self.folder.tensor(f"{name}.gamma" if old else f"{name}.weight", self.width)
        bias = self.folder.tensor(f"{name}.beta" if old else f"{name}.bias", self.width)
        return layer_norm(x_BTD, scale, bias, self.fields["layer_norm_eps"])


class Roberta(Bert):
    """Positions count tokens that are no pad, from the row after the pad's."""

    prefix = "roberta."
    head = ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias")

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self.head_activation = ACTIVATIONS["gelu"]  # whatever the layers' is

    def positions(self, tokens_BT: np.ndarray) -> np.ndarray:
        pad = self.fields["pad_token_id"]
        is_real_BT = tokens_BT != pad
        return pad + np.cumsum(is_real_BT, axis=1) * is_real_BT


class ModernBert:
    """Rotary positions, windows in most layers, GeGLU, norms before each branch but the first."""

    defaults: ClassVar[dict[str, Any]] = {
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "norm_eps": 1e-5,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "decoder_bias": True,
        "classifier_bias": False,
        "local_attention": 128,
        "tie_word_embeddings": True,
    }

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.fields = folder.fields(self.defaults)
        self.width: int = self.fields["hidden_size"]
        self.head_dim = self.width // self.fields["num_attention_heads"]
        self.activation = activation(self.fields, "hidden_activation")
        self.head_activation = activation(self.fields, "classifier_activation")

    def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
        fields = self.fields
        words_VD = self.folder.tensor(
            "model.embeddings.tok_embeddings.weight", fields["vocab_size"], self.width
        )
        x_BTD = self.norm("model.embeddings.norm", words_VD[tokens_BT])
        for i in range(fields["num_hidden_layers"]):
            x_BTD = self.layer(i, f"model.layers.{i}.", x_BTD)
        x_BTD = self.norm("model.final_norm", x_BTD)
        x_BTD = self.linear("head.dense", x_BTD, self.width, fields["classifier_bias"])
        x_BTD = self.norm("head.norm", self.head_activation(x_BTD))
        if not fields["tie_word_embeddings"] or "decoder.weight" in self.folder:
            words_VD = self.folder.tensor("decoder.weight", *words_VD.shape)
        logits_BTV = x_BTD @ words_VD.T
        if fields["decoder_bias"]:
            logits_BTV += self.folder.tensor("decoder.bias", len(words_VD))
        return logits_BTV

    def layer(self, i: int, name: str, x_BTD: np.ndarray) -> np.ndarray:
        read_BTD = x_BTD if i == 0 else self.norm(f"{name}attn_norm", x_BTD)
        x_BTD = x_BTD + self.attention(i, f"{name}attn.", read_BTD)
        read_BTD = self.norm(f"{name}mlp_norm", x_BTD)
        hidden, bias = self.fields["intermediate_size"], self.fields["mlp_bias"]
        gate_BTF, up_BTF = np.split(
            self.linear(f"{name}mlp.Wi", read_BTD, 2 * hidden, bias), 2, axis=-1
        )
        return x_BTD + self.linear(
            f"{name}mlp.Wo", self.activation(gate_BTF) * up_BTF, self.width, bias
        )

    def attention(self, i: int, name: str, x_BTD: np.ndarray) -> np.ndarray:
        bias, length = self.fields["attention_bias"], x_BTD.shape[1]
        qkv_BTX = self.linear(f"{name}Wqkv", x_BTD, 3 * self.width, bias)
        q, k, v = (split_heads(part, self.head_dim) for part in np.split(qkv_BTX, 3, axis=-1))
        # local_attention is the width on both sides together.
        reach = self.fields["local_attention"] // 2 if self.is_local(i) else None
        rope = self.rope(i, length)
        mask_TS = two_sided_mask(length, reach)
        out_BTX = attend(rotate(q, rope), rotate(k, rope), v, self.head_dim**-0.5, mask_TS)
        return self.linear(f"{name}Wo", out_BTX, self.width, bias)

    def is_local(self, i: int) -> bool:
        types = self.fields.get("layer_types")
        if types is None:
            return i % self.fields.get("global_attn_every_n_layers", 3) != 0
        return is_local(self.fields, types[i])

    def rope(self, i: int, length: int) -> Rope:
        local = self.is_local(i)
        theta = self.fields.get(
            "local_rope_theta" if local else "global_rope_theta", 10_000.0 if local else 160_000.0
        )
        nested = self.fields.get("rope_parameters", {})
        own = nested.get("sliding_attention" if local else "full_attention") or {}
        parameters = {"rope_theta": theta, **own, **self.fields.get("rope_scaling", {})}
        return make_rope(parameters, self.fields, self.head_dim, length)

    def linear(self, name: str, x: np.ndarray, size: int, bias: bool) -> np.ndarray:
        x = x @ self.folder.tensor(f"{name}.weight", size, x.shape[-1]).T
        return x + self.folder.tensor(f"{name}.bias", size) if bias else x

    def norm(self, name: str, x_BTD: np.ndarray) -> np.ndarray:
        scale = self.folder.tensor(f"{name}.weight", self.width)
        bias = self.folder.tensor(f"{name}.bias", self.width) if self.fields["norm_bias"] else 0.0
        return layer_norm(x_BTD, scale, bias, self.fields["norm_eps"])
