"""A second opinion on a Hugging Face folder: its logits by numpy alone.

Reads config.json and the tensors by the folder's own names, and shares nothing with the models,
the importer or the exporter here. What an exporter mistakes (a name, a permutation, a norm, a
position) therefore shows up as different logits. Written for clarity and float64, not for speed.
"""

from pathlib import Path
from typing import Any

import numpy as np

from nanojaxlm.errors import UserError
from nanojaxlm.interop.reference.decoders import (
    Gemma2,
    Gemma3,
    Llama,
    Mistral,
    Olmo2,
    Qwen2,
    Qwen3,
)
from nanojaxlm.interop.reference.encoder_decoders import T5, T5Gemma
from nanojaxlm.interop.reference.encoders import Bert, ModernBert, Roberta
from nanojaxlm.interop.reference.folder import Folder
from nanojaxlm.interop.reference.gpt2 import GPT2
from nanojaxlm.interop.reference.mixtures import Dots1, Mixtral, Qwen2Moe, Qwen3Moe

# model_type of config.json -> what computes it
ONE_STACK: dict[str, Any] = {
    "gpt2": GPT2,
    "llama": Llama,
    "mistral": Mistral,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "gemma2": Gemma2,
    "gemma3_text": Gemma3,
    "olmo2": Olmo2,
    "mixtral": Mixtral,
    "qwen2_moe": Qwen2Moe,
    "qwen3_moe": Qwen3Moe,
    "dots1": Dots1,
    "bert": Bert,
    "roberta": Roberta,
    "modernbert": ModernBert,
}
TWO_STACKS: dict[str, Any] = {"t5": T5, "t5gemma": T5Gemma}


def logits(
    folder: Path, tokens_BT: np.ndarray, decoder_tokens_BT: np.ndarray | None = None
) -> np.ndarray:
    """Float32 logits [B, T, V] of the last stack's tokens, from a folder with safetensors.

    tokens_BT: whole rows, no padding, at positions 0, 1, …; the encoder's where there is one.
    decoder_tokens_BT: for an encoder-decoder, what its decoder reads, the start token first.

    Raises UserError, naming the field, tensor or value, for a model_type or a field's value that
    is not implemented here, a missing or misshapen tensor, and tokens out of the vocabulary.
    """
    source = Folder(Path(folder))
    model_type = source.values.get("model_type")
    if model_type in TWO_STACKS:
        if decoder_tokens_BT is None:
            raise UserError(f"{folder}: {model_type} has a decoder; give decoder_tokens_BT too")
        model = TWO_STACKS[model_type](source)
        _check(source, tokens_BT, decoder_tokens_BT)
        return model.logits(tokens_BT, decoder_tokens_BT).astype(np.float32)
    if model_type not in ONE_STACK:
        known = ", ".join([*ONE_STACK, *TWO_STACKS])
        raise UserError(f"{source.config}: model_type {model_type!r} is not one of {known}")
    if decoder_tokens_BT is not None:
        raise UserError(f"{folder}: {model_type} has one stack; give no decoder_tokens_BT")
    model = ONE_STACK[model_type](source)
    _check(source, tokens_BT)
    return model.logits(tokens_BT).astype(np.float32)


def _check(source: Folder, *rows: np.ndarray) -> None:
    size = source.fields({})["vocab_size"]
    for tokens_BT in rows:
        if tokens_BT.ndim != 2 or tokens_BT.size == 0:
            raise UserError(f"tokens must be rows [B, T], got shape {list(tokens_BT.shape)}")
        if tokens_BT.min() < 0 or tokens_BT.max() >= size:
            raise UserError(
                f"{source.config}: tokens must be in [0, vocab_size={size}), "
                f"got {tokens_BT.min()} … {tokens_BT.max()}"
            )
