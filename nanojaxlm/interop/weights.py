"""*.safetensors written: one file, or shards and an index, each tensor in its type."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from nanojaxlm.errors import UserError
from nanojaxlm.interop.family import Tensor, block_shape, to_theirs
from nanojaxlm.interop.folder import DTYPES, INDEX, WEIGHTS

MAX_SHARD_BYTES = 5_000_000_000
METADATA = {"format": "pt"}  # transformers asks for it
Arrays = Callable[[Sequence[str]], Mapping[str, np.ndarray]]


def write_weights(
    folder: Path,
    tensors: Sequence[Tensor],
    arrays: Arrays,
    dtypes: Mapping[str, str],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Writes all tensors; no more than one shard's is in memory at a time.

    Args:
        arrays: our arrays, float32, for our paths as a checkpoint spells them; called once a shard.
        dtypes: of each tensor by name: float32, float16 or bfloat16.
        max_shard_bytes: of the tensors in a file; one larger than that has a file of its own.

    Raises:
        UserError: a number is too large for float16.
    """
    shards = split(tensors, dtypes, max_shard_bytes)
    weight_map = {}
    for i, shard in enumerate(shards):
        file = WEIGHTS
        if len(shards) > 1:
            file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        paths = sorted({part.path for tensor in shard for part in tensor.parts})
        ours = arrays(paths)
        save_file({t.name: theirs(t, ours, dtypes[t.name]) for t in shard}, folder / file, METADATA)
        weight_map |= {tensor.name: file for tensor in shard}
    if len(shards) > 1:
        metadata = {
            "total_parameters": sum(math.prod(tensor.shape) for tensor in tensors),
            "total_size": sum(num_bytes(tensor, dtypes) for tensor in tensors),
        }
        index = {"metadata": metadata, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def theirs(tensor: Tensor, ours: Mapping[str, np.ndarray], dtype: str) -> np.ndarray:
    """One tensor out of our arrays; contiguous.

    Raises:
        UserError: a number is too large for float16.
    """
    value = np.empty(tensor.shape, np.float32)
    for part in tensor.parts:
        array = ours[part.path] if part.expert is None else ours[part.path][part.expert]
        value[part.index] = to_theirs(part, array, block_shape(tensor, part))
    with np.errstate(over="ignore"):
        narrow = value.astype(dtype)
    if not np.array_equal(np.isfinite(narrow), np.isfinite(value)):
        raise UserError(
            f"tensor {tensor.name} has numbers too large for {dtype}; export with --dtype=bfloat16 "
            "or --dtype=float32"
        )
    return narrow


def split(
    tensors: Sequence[Tensor], dtypes: Mapping[str, str], max_shard_bytes: int
) -> list[list[Tensor]]:
    """The tensors of each file, in their order."""
    shards: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        size = num_bytes(tensor, dtypes)
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += size
    return shards


def num_bytes(tensor: Tensor, dtypes: Mapping[str, str]) -> int:
    assert dtypes[tensor.name] in DTYPES.values(), dtypes[tensor.name]
    return math.prod(tensor.shape) * np.dtype(dtypes[tensor.name]).itemsize
