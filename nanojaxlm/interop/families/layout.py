"""Where the tensors of a torch module lie in ours: [out, in] there is [in…, out…] here."""

import math
from dataclasses import replace

from nanojaxlm.interop.family import Part, Tensor
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    MixtureConfig,
    NormConfig,
    RMSNormConfig,
)

Shape = tuple[int, ...]


def vector(name: str, path: str, *shape: int) -> Tensor:
    """A bias or a scale: [N, H] here is [N*H] there."""
    return Tensor(name, (math.prod(shape),), (Part(path, shape, tuple(range(len(shape)))),))


def table(name: str, path: str, rows: int, columns: int) -> Tensor:
    """An embedding: [rows, columns] here and there."""
    return Tensor(name, (rows, columns), (Part(path, (rows, columns), (0, 1)),))


def linear(name: str, path: str, inputs: Shape, outputs: Shape, bias: bool = False) -> list[Tensor]:
    """A torch Linear: `name`.weight, [out, in] there, and `name`.bias."""
    split, n = outputs + inputs, len(outputs)
    axes = (*range(n, len(split)), *range(n))
    shape = (math.prod(outputs), math.prod(inputs))
    tensors = [Tensor(f"{name}.weight", shape, (Part(f"{path}/kernel", split, axes),))]
    if bias:
        tensors.append(vector(f"{name}.bias", f"{path}/bias", *outputs))
    return tensors


def norm(name: str, path: str, config: NormConfig, width: int) -> list[Tensor]:
    """`name`.weight and, of a LayerNorm with one, `name`.bias."""
    tensors = [vector(f"{name}.weight", f"{path}/scale", width)]
    if not isinstance(config, RMSNormConfig) and config.bias:
        tensors.append(vector(f"{name}.bias", f"{path}/bias", width))
    return tensors


def attention(
    name: str,
    path: str,
    config: AttentionConfig,
    width: int,
    names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "o_proj"),
) -> list[Tensor]:
    """Queries, keys, values and the output as four Linears; q_norm and k_norm where it has them."""
    c, (q, k, v, out) = config, names
    heads, kv_heads = (c.num_heads, c.head_dim), (c.num_kv_heads, c.head_dim)
    tensors = [
        *linear(f"{name}.{q}", f"{path}/q", (width,), heads, c.qkv_bias),
        *linear(f"{name}.{k}", f"{path}/k", (width,), kv_heads, c.qkv_bias),
        *linear(f"{name}.{v}", f"{path}/v", (width,), kv_heads, c.qkv_bias),
        *linear(f"{name}.{out}", f"{path}/out", heads, (width,), c.out_bias),
    ]
    if c.qk_norm is not None:
        shapes = (heads, kv_heads) if c.qk_norm == "width" else ((c.head_dim,), (c.head_dim,))
        for which, shape in zip("qk", shapes, strict=True):
            tensors.append(
                vector(f"{name}.{which}_norm.weight", f"{path}/{which}_norm/scale", *shape)
            )
    return tensors


def feed_forward(
    name: str,
    path: str,
    config: FeedForwardConfig,
    width: int,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> list[Tensor]:
    """Gate, up and down as Linears; no gate where there is none."""
    gate, up, down = names
    hidden, bias = (config.hidden,), config.bias
    tensors = linear(f"{name}.{gate}", f"{path}/gate", (width,), hidden, bias)
    return [
        *(tensors if config.gated else []),
        *linear(f"{name}.{up}", f"{path}/up", (width,), hidden, bias),
        *linear(f"{name}.{down}", f"{path}/down", hidden, (width,), bias),
    ]


def experts(
    name: str,
    path: str,
    config: MixtureConfig,
    width: int,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> list[Tensor]:
    """Each expert's three Linears, `name`.0 to the last: one index of our arrays each."""
    tensors = []
    for expert in range(config.num_experts):
        for tensor in feed_forward(f"{name}.{expert}", path, config.expert, width, names):
            parts = tuple(replace(part, expert=expert) for part in tensor.parts)
            tensors.append(replace(tensor, parts=parts))
    return tensors
