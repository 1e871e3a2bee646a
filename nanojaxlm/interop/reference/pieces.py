"""What transformers are made of, in numpy and float64. Weights lie as torch's Linear: [out, in]."""

import math
from collections.abc import Callable

import numpy as np

from nanojaxlm.interop.reference.folder import Fields

_erf = np.frompyfunc(math.erf, 1, 1)


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.asarray(_erf(x / math.sqrt(2)), np.float64)) / 2


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2  # no overflow at either end


def _silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


Activation = Callable[[np.ndarray], np.ndarray]
# By the names that config.json uses (transformers/activations.py).
ACTIVATIONS: dict[str, Activation] = {
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "silu": _silu,
    "swish": _silu,
    "relu": _relu,
    "relu2": lambda x: _relu(x) ** 2,
}


def activation(fields: Fields, name: str) -> Activation:
    """The activation that the field of that name says."""
    if fields[name] not in ACTIVATIONS:
        raise fields.unknown(name, *ACTIVATIONS)
    return ACTIVATIONS[fields[name]]


def rms_norm(x: np.ndarray, scale: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + epsilon) * scale


def layer_norm(
    x: np.ndarray, scale: np.ndarray, bias: np.ndarray | float, epsilon: float
) -> np.ndarray:
    x = x - np.mean(x, axis=-1, keepdims=True)
    return rms_norm(x, scale, epsilon) + bias


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return x / np.sum(x, axis=-1, keepdims=True)


def softcap(x: np.ndarray, cap: float | None) -> np.ndarray:
    """Gemma 2: x between -cap and cap; None leaves it."""
    return x if cap is None else cap * np.tanh(x / cap)


def causal_mask(length: int, window: int | None = None) -> np.ndarray:
    """True = row may attend to column. Window 2: [[1,0,0],[1,1,0],[0,1,1]]."""
    distance_TS = np.arange(length)[:, None] - np.arange(length)
    return (distance_TS >= 0) & (distance_TS < (window or length))


def two_sided_mask(length: int, reach: int | None = None) -> np.ndarray:
    """True = row may attend to column. Reach 1, inclusive: [[1,1,0],[1,1,1],[0,1,1]]."""
    distance_TS = np.abs(np.arange(length)[:, None] - np.arange(length))
    return distance_TS <= (length if reach is None else reach)


def split_heads(x_BTX: np.ndarray, head_dim: int) -> np.ndarray:
    """[B, T, N * H] to [B, T, N, H]."""
    return x_BTX.reshape(*x_BTX.shape[:-1], -1, head_dim)


def attend(
    q_BTNH: np.ndarray,
    k_BSKH: np.ndarray,
    v_BSKH: np.ndarray,
    scale: float,
    mask_TS: np.ndarray | None = None,
    cap: float | None = None,
    bias_NTS: np.ndarray | float = 0.0,
) -> np.ndarray:
    """softmax(q k · scale + bias) v, [B, T, N * H]; query head n reads kv head n // (N / K)."""
    repeats = q_BTNH.shape[2] // k_BSKH.shape[2]
    q_BNTH = q_BTNH.transpose(0, 2, 1, 3)
    k_BNHS = k_BSKH.repeat(repeats, axis=2).transpose(0, 2, 3, 1)
    v_BNSH = v_BSKH.repeat(repeats, axis=2).transpose(0, 2, 1, 3)
    scores_BNTS = softcap(q_BNTH @ k_BNHS * scale, cap) + bias_NTS
    if mask_TS is not None:
        scores_BNTS = np.where(mask_TS, scores_BNTS, -np.inf)
    out_BNTH = softmax(scores_BNTS) @ v_BNSH
    return out_BNTH.transpose(0, 2, 1, 3).reshape(*q_BTNH.shape[:2], -1)


def choose_by_softmax(
    logits_ME: np.ndarray, top_k: int, normalize: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(experts, their weights), [M, top_k] both (Mixtral, Qwen)."""
    scores_ME = softmax(logits_ME)
    chosen_MK = np.argsort(-scores_ME, axis=-1)[:, :top_k]
    weights_MK = np.take_along_axis(scores_ME, chosen_MK, axis=-1)
    if normalize:
        weights_MK /= weights_MK.sum(axis=-1, keepdims=True)
    return chosen_MK, weights_MK


def choose_by_sigmoid(
    logits_ME: np.ndarray, bias_E: np.ndarray, fields: Fields
) -> tuple[np.ndarray, np.ndarray]:
    """(experts, their weights), [M, top_k] both (DeepSeek-V3).

    The bias counts in the choice, not in the weights. Experts come from the topk_group groups
    whose two best experts have the largest sum.
    """
    scores_ME = sigmoid(logits_ME)
    groups_MGE = (scores_ME + bias_E).reshape(len(scores_ME), fields["n_group"], -1)
    strength_MG = np.sort(groups_MGE, axis=-1)[..., -2:].sum(axis=-1)
    out_MG = np.argsort(-strength_MG, axis=-1)[:, fields["topk_group"] :]
    np.put_along_axis(groups_MGE, out_MG[..., None], -np.inf, axis=1)
    order_ME = np.argsort(-groups_MGE.reshape(scores_ME.shape), axis=-1)
    chosen_MK = order_ME[:, : fields["num_experts_per_tok"]]
    weights_MK = np.take_along_axis(scores_ME, chosen_MK, axis=-1)
    if fields["norm_topk_prob"]:
        weights_MK /= weights_MK.sum(axis=-1, keepdims=True) + 1e-20
    return chosen_MK, weights_MK * fields["routed_scaling_factor"]


def mixture(
    x_MD: np.ndarray,
    chosen_MK: np.ndarray,
    weights_MK: np.ndarray,
    expert: Callable[[int, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Sum over each token's experts: weight · expert(index, token)."""
    out_MD = np.zeros_like(x_MD)
    for index in np.unique(chosen_MK):
        rows, places = np.nonzero(chosen_MK == index)
        out_MD[rows] += weights_MK[rows, places, None] * expert(int(index), x_MD[rows])
    return out_MD
