"""Encoder-decoders: T5 with its relative positions, and T5Gemma with rotary ones.

All tokens are real: no padding, one document a row. The decoder's tokens are what it reads, the
start token first.
"""

import math
from typing import Any, ClassVar

import numpy as np

from nanojaxlm.interop.reference.decoders import Gemma2
from nanojaxlm.interop.reference.folder import Folder
from nanojaxlm.interop.reference.pieces import (
    ACTIVATIONS,
    attend,
    causal_mask,
    rms_norm,
    softcap,
    split_heads,
    two_sided_mask,
)
from nanojaxlm.interop.reference.rope import Rope


class T5:
    """Unscaled queries, a bias for the bucket of each distance, the same in all layers."""

    defaults: ClassVar[dict[str, Any]] = {
        "feed_forward_proj": "relu",
        "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
    }

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.fields = folder.fields(self.defaults)
        self.width: int = self.fields["d_model"]
        self.heads: int = self.fields["num_heads"]
        self.head_dim: int = self.fields["d_kv"]
        kind = self.fields["feed_forward_proj"]
        self.gated = kind.startswith("gated-")
        # The name that T5 v1.1 gives the approximate one.
        kind = "gelu_new" if kind == "gated-gelu" else kind.removeprefix("gated-")
        if kind not in ACTIVATIONS:
            raise self.fields.unknown("feed_forward_proj", "relu", "gated-gelu", "gated-silu")
        self.activation = ACTIVATIONS[kind]

    def logits(self, tokens_BS: np.ndarray, decoder_tokens_BT: np.ndarray) -> np.ndarray:
        fields = self.fields
        words_VD = self.folder.tensor("shared.weight", fields["vocab_size"], self.width)
        memory_BSD = self.stack("encoder", fields["num_layers"], words_VD[tokens_BS], None)
        layers = fields.get("num_decoder_layers", fields["num_layers"])
        x_BTD = self.stack("decoder", layers, words_VD[decoder_tokens_BT], memory_BSD)
        # The original T5 ties and scales; v1.1 does neither. The first field is newer.
        tied = fields.get("tie_word_embeddings", True)
        if fields.get("scale_decoder_outputs", tied):
            x_BTD = x_BTD * self.width**-0.5
        if not tied or "lm_head.weight" in self.folder:
            words_VD = self.folder.tensor("lm_head.weight", *words_VD.shape)
        return x_BTD @ words_VD.T

    def stack(
        self, name: str, layers: int, x_BTD: np.ndarray, memory_BSD: np.ndarray | None
    ) -> np.ndarray:
        length = x_BTD.shape[1]
        mask_TS = two_sided_mask(length) if memory_BSD is None else causal_mask(length)
        bias_NTS = self.relative_bias(name, length, two_sided=memory_BSD is None)
        for i in range(layers):
            block = f"{name}.block.{i}.layer."
            read_BTD = self.norm(f"{block}0.layer_norm", x_BTD)
            x_BTD = x_BTD + self.attention(
                f"{block}0.SelfAttention.", read_BTD, read_BTD, mask_TS, bias_NTS
            )
            place = 1
            if memory_BSD is not None:
                read_BTD = self.norm(f"{block}1.layer_norm", x_BTD)
                x_BTD = x_BTD + self.attention(f"{block}1.EncDecAttention.", read_BTD, memory_BSD)
                place = 2
            read_BTD = self.norm(f"{block}{place}.layer_norm", x_BTD)
            x_BTD = x_BTD + self.feed_forward(f"{block}{place}.DenseReluDense.", read_BTD)
        return self.norm(f"{name}.final_layer_norm", x_BTD)

    def relative_bias(self, name: str, length: int, two_sided: bool) -> np.ndarray:
        buckets = self.fields["relative_attention_num_buckets"]
        name = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        table = self.folder.tensor(name, buckets, self.heads)
        relative_TS = np.arange(length) - np.arange(length)[:, None]  # key less query
        furthest = self.fields["relative_attention_max_distance"]
        return table[relative_buckets(relative_TS, buckets, furthest, two_sided)].transpose(2, 0, 1)

    def attention(
        self,
        name: str,
        x_BTD: np.ndarray,
        memory_BSD: np.ndarray,
        mask_TS: np.ndarray | None = None,
        bias_NTS: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        inner = self.heads * self.head_dim
        q_BTNH = split_heads(self.linear(f"{name}q", x_BTD, inner), self.head_dim)
        k_BSNH = split_heads(self.linear(f"{name}k", memory_BSD, inner), self.head_dim)
        v_BSNH = split_heads(self.linear(f"{name}v", memory_BSD, inner), self.head_dim)
        out_BTX = attend(q_BTNH, k_BSNH, v_BSNH, 1.0, mask_TS, bias_NTS=bias_NTS)
        return self.linear(f"{name}o", out_BTX, self.width)

    def feed_forward(self, name: str, x_BTD: np.ndarray) -> np.ndarray:
        hidden = self.fields["d_ff"]
        x_BTF = self.activation(
            self.linear(f"{name}wi_0" if self.gated else f"{name}wi", x_BTD, hidden)
        )
        if self.gated:
            x_BTF = x_BTF * self.linear(f"{name}wi_1", x_BTD, hidden)
        return self.linear(f"{name}wo", x_BTF, self.width)

    def linear(self, name: str, x: np.ndarray, size: int) -> np.ndarray:
        return x @ self.folder.tensor(f"{name}.weight", size, x.shape[-1]).T

    def norm(self, name: str, x_BTD: np.ndarray) -> np.ndarray:
        scale = self.folder.tensor(f"{name}.weight", self.width)
        return rms_norm(x_BTD, scale, self.fields["layer_norm_epsilon"])


def relative_buckets(
    relative_TS: np.ndarray, num_buckets: int, max_distance: int, two_sided: bool
) -> np.ndarray:
    """The bucket of key position less query position, in [0, num_buckets) (Raffel et al. 2020).

    Two-sided: the upper half of the buckets is for keys after the query. One-sided: those are all
    in bucket 0. Within: half of the buckets for each near distance, half for ranges that grow.
    The logarithm is float32's, as it was where the weights were trained: another precision puts
    some distances at an edge into the next bucket.
    """
    bucket_TS = np.zeros_like(relative_TS)
    distance_TS = np.maximum(-relative_TS, 0)
    if two_sided:
        num_buckets //= 2
        bucket_TS = num_buckets * (relative_TS > 0)
        distance_TS = np.abs(relative_TS)
    near = num_buckets // 2
    ratio_TS = np.maximum(distance_TS, near).astype(np.float32) / np.float32(near)
    steps_TS = np.log(ratio_TS) / np.float32(math.log(max_distance / near))
    far_TS = near + (steps_TS * np.float32(num_buckets - near)).astype(np.int64)
    far_TS = np.minimum(far_TS, num_buckets - 1)
    return bucket_TS + np.where(distance_TS < near, distance_TS, far_TS)


class _T5GemmaStack(Gemma2):
    """One stack: Gemma 2's layers under other names, with attention to `memory` where given."""

    def __init__(self, folder: Folder, name: str) -> None:
        fields = folder.fields({}).inner(name, self.defaults)
        super().__init__(folder, fields, f"model.{name}.")
        self.memory_BSE: np.ndarray | None = None

    def layer(
        self, i: int, name: str, x_BTD: np.ndarray, mask_TS: np.ndarray, rope: Rope
    ) -> np.ndarray:
        out_BTD = self.norm(f"{name}pre_self_attn_layernorm", x_BTD)
        out_BTD = self.attention(f"{name}self_attn.", out_BTD, mask_TS, rope)
        x_BTD = x_BTD + self.norm(f"{name}post_self_attn_layernorm", out_BTD)
        if self.memory_BSE is not None:
            out_BTD = self.norm(f"{name}pre_cross_attn_layernorm", x_BTD)
            out_BTD = self.attention(f"{name}cross_attn.", out_BTD, None, None, self.memory_BSE)
            x_BTD = x_BTD + self.norm(f"{name}post_cross_attn_layernorm", out_BTD)
        out_BTD = self.norm(f"{name}pre_feedforward_layernorm", x_BTD)
        out_BTD = self.feed_forward(i, f"{name}mlp.", out_BTD)
        return x_BTD + self.norm(f"{name}post_feedforward_layernorm", out_BTD)

    def mask(self, i: int, length: int) -> np.ndarray:
        if self.memory_BSE is None:
            # Here the window counts the tokens on one side; a causal one counts the token itself.
            return two_sided_mask(length, self.window(i))
        return causal_mask(length, self.window(i))

    def run(self, tokens_BT: np.ndarray, memory_BSE: np.ndarray | None = None) -> np.ndarray:
        self.memory_BSE = memory_BSE
        return self.norm("norm", self.layers(self.embed(tokens_BT)))


class T5Gemma:
    """Two stacks with embeddings of their own; the logits are tied to the decoder's."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.fields = folder.fields({"tie_word_embeddings": True})
        self.fields.must_be(is_encoder_decoder=True)
        self.encoder = _T5GemmaStack(folder, "encoder")
        self.decoder = _T5GemmaStack(folder, "decoder")

    def logits(self, tokens_BS: np.ndarray, decoder_tokens_BT: np.ndarray) -> np.ndarray:
        x_BTD = self.decoder.run(decoder_tokens_BT, self.encoder.run(tokens_BS))
        name = "lm_head.out_proj.weight"
        if self.fields["tie_word_embeddings"] and name not in self.folder:
            name = "model.decoder.embed_tokens.weight"
        head_VD = self.folder.tensor(name, self.decoder.fields["vocab_size"], self.decoder.width)
        return softcap(x_BTD @ head_VD.T, self.decoder.fields["final_logit_softcapping"])
