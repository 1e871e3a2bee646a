"""A family that can hold any model, for what does not depend on which family it is.

Its config.json holds our config; its tensors are our arrays in the manner of torch: kernels
transposed, q, k and v in one tensor, an expert a tensor.
"""

import io
import json
import runpy
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import sentencepiece
from jax.sharding import Mesh
from safetensors.numpy import save_file

from nanojaxlm.checkpoint import to_disk
from nanojaxlm.interop.arrays import leaves_by_path
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.interop.family import Family, Part, Tensor
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.typed_config import from_config_dict, to_plain

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("draw_families.py"))))
VOCABULARY = 303  # rows of the embeddings; the tokenizer has 290 ids


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """{path on disk: shape}"""
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    abstract = abstract_params(parameter_boxes(Transformer(config)), mesh)
    return {path: leaf.shape for path, leaf in leaves_by_path(to_disk(abstract)).items()}


def tensors_of(config: ModelConfig) -> list[Tensor]:
    tensors = []
    for path, shape in shapes_of(config).items():
        name = "model." + path.replace("/", ".")
        backwards = tuple(reversed(range(len(shape))))
        if "/experts/" in path:
            of_expert = tuple(reversed(shape[1:]))
            for e in range(shape[0]):
                part = Part(path, of_expert, (1, 0), expert=e)
                tensors.append(Tensor(f"{name}.{e}", of_expert, (part,)))
        elif path.endswith(("/attention/q/kernel", "/attention/k/kernel", "/attention/v/kernel")):
            if path.endswith("q/kernel"):
                tensors.append(fused(path.removesuffix("/q/kernel"), shapes_of(config)))
        else:
            there = tuple(reversed(shape))
            tensors.append(Tensor(name, there, (Part(path, there, backwards),)))
    return tensors


def fused(attention: str, shapes: Mapping[str, tuple[int, ...]]) -> Tensor:
    """[(N + 2 K) H, D]: the rows of q, of k, of v."""
    parts, row = [], 0
    for name in ("q", "k", "v"):
        path = f"{attention}/{name}/kernel"
        d, n, h = shapes[path]
        parts.append(Part(path, (n, h, d), (2, 0, 1), rows=slice(row, row + n * h)))
        row += n * h
    return Tensor("model." + attention.replace("/", ".") + ".qkv", (row, d), tuple(parts))


def plain_family(**changes: Any) -> Family:
    return Family(
        **{
            "model_types": ("plain",),
            "architectures": ("PlainForAnything",),
            "read_config": lambda fields: from_config_dict(ModelConfig, fields["ours"], "ours"),
            "write_config": lambda config: {
                "model_type": "plain", "architectures": ["PlainForAnything"],
                "ours": to_plain(config),
            },
            "tensors": tensors_of,
            "ignored": (r"model\.buffer",),
            "copies": {"head.weight": "model.embed.embedding"},
        }
        | changes
    )  # fmt: skip


@pytest.fixture
def plain() -> Family:
    return plain_family()


@pytest.fixture
def plain_changed() -> Callable[..., Family]:
    """plain_changed(copies={}): that family with other fields."""
    return plain_family


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, np.ndarray]]]:
    """make_folder(config, family, shards=2, dtype="float32") -> the folder and its tensors, with
    random numbers."""

    def make(
        config: ModelConfig,
        family: Family,
        *,
        shards: int = 1,
        dtype: str = "float32",
        name: str = "theirs",
    ) -> tuple[Path, dict[str, np.ndarray]]:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(0)
        values = {
            tensor.name: rng.standard_normal(tensor.shape, np.float32).astype(dtype)
            for tensor in family.tensors(config)
        }
        (folder / "config.json").write_text(json.dumps(family.write_config(config)))
        write_shards(folder, values, shards)
        return folder, values

    return make


def write_shards(folder: Path, values: Mapping[str, np.ndarray], shards: int) -> None:
    if shards == 1:
        save_file(dict(values), folder / "model.safetensors")
        return
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        piece = {name: values[name] for name in list(values)[i::shards]}
        save_file(piece, folder / file)
        weight_map |= dict.fromkeys(piece, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.fixture
def expected() -> Callable[..., Any]:
    """expected(config, values): {our path: the array}, element by element by another way than the
    importer's: as named axes."""

    def of(config: ModelConfig, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = {}
        for path, shape in shapes_of(config).items():
            name = "model." + path.replace("/", ".")
            attention, kernel, _ = (*path.rsplit("/", 2), "")[:3]
            if "/experts/" in path:
                arrays[path] = np.stack([values[f"{name}.{e}"].T for e in range(shape[0])])
            elif attention.endswith("/attention") and kernel in "qkv" and path.endswith("kernel"):
                _, n, h = shape
                whole = values["model." + attention.replace("/", ".") + ".qkv"]
                start = {"q": 0, "k": len(whole) - 2 * n * h, "v": len(whole) - n * h}[kernel]
                heads = [whole[start + i * h : start + (i + 1) * h] for i in range(n)]
                arrays[path] = np.stack([head.T for head in heads], axis=1)
            else:
                arrays[path] = values[name].T
        return {path: array.astype(np.float32) for path, array in arrays.items()}

    return of


@pytest.fixture(scope="session")
def sentencepiece_model() -> Callable[..., bytes]:
    """sentencepiece_model(pad_id=0): a lossless model of 290 ids; BOS, EOS, padding and unknown are
    0 to 3."""

    @cache
    def train(pad_id: int = 0) -> bytes:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the quick brown fox jumps over it"] * 9),
            model_writer=model,
            vocab_size=290,
            model_type="bpe",
            byte_fallback=True,
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            pad_id=pad_id,
            bos_id=1 - pad_id,
            eos_id=2,
            unk_id=3,
            minloglevel=2,
        )
        return model.getvalue()

    return train


class FolderOf(NamedTuple):
    path: Path
    family: Family
    values: dict[str, np.ndarray]  # the tensors


@pytest.fixture
def family_folder(
    tmp_path: Path, sentencepiece_model: Callable[..., bytes]
) -> Callable[..., FolderOf]:
    """family_folder("llama"): the recorded model of a family, with a table for a whole tokenizer,
    random numbers, and the tokenizer."""

    def make(name: str, dtype: str = "float32", shards: int = 1, **fields: Any) -> FolderOf:
        case = json.loads((DRAW.FOLDER / f"{name}.json").read_text())[0]
        config = {"vocab_size": VOCABULARY, **case["config"], **fields}
        for part in (config, config.get("encoder"), config.get("decoder")):
            if isinstance(part, dict) and "vocab_size" in part:
                part["vocab_size"] = VOCABULARY
        family = next(f for f in FAMILIES if name in f.model_types)
        shapes = {t.name: t.shape for t in family.tensors(family.read_config(config))}
        drawn = DRAW.draw_weights(name, shapes, seed=0)
        values = {tensor: value.astype(dtype) for tensor, value in drawn.items()}
        path = tmp_path / name
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config))
        write_shards(path, values, shards)
        pad_id = config.get("pad_token_id") or 0
        (path / "tokenizer.model").write_bytes(sentencepiece_model(pad_id))
        return FolderOf(path, family, values)

    return make


@pytest.fixture
def eight_devices() -> Mesh:
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
