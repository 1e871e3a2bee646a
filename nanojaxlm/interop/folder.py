"""A folder of the ecosystem, read: config.json and *.safetensors, never a pickle.

Names, shapes and types come from the headers; a tensor's bytes are read when they are asked for,
with pread, so that no page of a file stays mapped.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  (numpy knows bfloat16 from its import on)
import numpy as np
from safetensors import SafetensorError, safe_open

from nanojaxlm.errors import UserError
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.model.config import ModelConfig

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
CHUNK = 2**22  # numbers compared at a time
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # as headers and numpy say it


class Entry(NamedTuple):
    """What a header says of one tensor."""

    file: Path
    stored: str  # its name there
    shape: tuple[int, ...]
    dtype: str  # as the header says it: "F32", "BF16", …


class Folder:
    """One folder: `config` (config.json as it is) and the `entries` of its tensors by name."""

    def __init__(self, path: str | Path):
        """Reads config.json and all headers.

        Raises:
            UserError: the folder, config.json, the index or a header is missing or damaged; or
                there are pickled weights only.
        """
        self.path = Path(path)
        self.config = read_json(self.path / CONFIG, "the config of a Hugging Face folder")
        self._weight_map: dict[str, str] = {}  # what the index says; empty without one
        self._opened = {file: _open(file) for file in self._files()}
        self.entries = {
            name: entry
            for file, opened in self._opened.items()
            for name, entry in _header(file, opened).items()
        }
        self._check_index()

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        """A tensor, or a block of it, in the type in which it is stored.

        Raises:
            UserError: the file cannot be read.
        """
        entry = self.entries[name]
        opened = self._opened[entry.file]
        try:
            if index:
                return opened.get_slice(entry.stored)[index]
            return opened.get_tensor(entry.stored)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{entry.file}: tensor {name} cannot be read ({error}); copy the file again"
            ) from None

    def check(self, family: Family, config: ModelConfig) -> list[Tensor]:
        """The tensors of this model, all of them here with their shapes and nothing besides.

        A folder of a base model, whose names lack the prefix that all but the head's have
        ("transformer.", "model."), is taken too.

        Raises:
            UserError: a tensor is missing, of another shape or type, or of no use; it is named.
        """
        tensors = family.tensors(config)
        self._rename(family, tensors)
        for tensor in tensors:
            self._check_tensor(tensor)
        wanted = {tensor.name for tensor in tensors}
        for name, entry in self.entries.items():
            if name in wanted or any(re.fullmatch(i, name) for i in family.ignored):
                continue
            if name not in family.copies or family.copies[name] not in wanted:
                raise UserError(
                    f"{entry.file}: tensor {name} of shape {entry.shape} has no place in a "
                    f"{self.config.get('model_type')} model of this {CONFIG}; the folder is of "
                    "another model, or this version does not know that tensor"
                )
            if not self._equal(name, family.copies[name]):
                raise UserError(
                    f"{entry.file}: {CONFIG} says that tensor {name} is the same as "
                    f"{family.copies[name]}, and their numbers differ; say there that the "
                    "embeddings are not tied, or save the model again"
                )
        return tensors

    def dtypes(self, tensors: Sequence[Tensor]) -> dict[str, str]:
        """{tensor name: "float32", "float16" or "bfloat16"}"""
        return {tensor.name: DTYPES[self.entries[tensor.name].dtype] for tensor in tensors}

    def _files(self) -> list[Path]:
        if (self.path / WEIGHTS).is_file():
            return [self.path / WEIGHTS]
        if (self.path / INDEX).is_file():
            self._weight_map = self._read_index()
            return sorted({self.path / file for file in self._weight_map.values()})
        found = sorted(self.path.glob("*.safetensors"))
        if len(found) == 1:
            return found
        if found:
            raise UserError(
                f"{self.path} has {len(found)} *.safetensors files but no {INDEX} that says which "
                "tensor is where; copy the folder whole"
            )
        pickled = sorted(p.name for p in self.path.glob("*.bin")) or sorted(
            p.name for p in self.path.glob("*.pt*")
        )
        if pickled:
            raise UserError(
                f"{self.path} has {pickled[0]} but no *.safetensors: pickled weights are never "
                "read here, for a pickle runs whatever it holds; save the model again with "
                "transformers' save_pretrained, which writes safetensors"
            )
        raise UserError(f"{self.path} has no {WEIGHTS} and no {INDEX}: no weights to read")

    def _read_index(self) -> dict[str, str]:
        weight_map = read_json(self.path / INDEX, "the index of the weights").get("weight_map")
        if (
            not isinstance(weight_map, dict)
            or not weight_map
            or not all(isinstance(file, str) for file in weight_map.values())
        ):
            raise UserError(f"{self.path / INDEX}: weight_map must map tensors to files")
        for name, file in weight_map.items():
            if Path(file).name != file or not (self.path / file).is_file():
                raise UserError(
                    f"{self.path / INDEX} says that tensor {name} is in {file}, and there is no "
                    "such file in the folder; copy the folder whole"
                )
        return weight_map

    def _check_index(self) -> None:
        for name, file in self._weight_map.items():
            entry = self.entries.get(name)
            if entry is None or entry.file.name != file:
                raise UserError(
                    f"{self.path / INDEX} says that tensor {name} is in {file}, and it is "
                    f"{'not there' if entry is None else 'in ' + entry.file.name}; the files and "
                    "the index are not of one model"
                )

    def _rename(self, family: Family, tensors: Sequence[Tensor]) -> None:
        """Spells the names as the family does, and adds the prefix that a base model's lack."""
        renamed = self.entries
        for pattern, replacement in family.renamed:
            renamed = {re.sub(pattern, replacement, n): entry for n, entry in renamed.items()}
        if len(renamed) < len(self.entries):
            raise UserError(f"{self.path} holds a tensor under its old and its new name; keep one")
        firsts = [tensor.name.partition(".")[0] for tensor in tensors]
        prefix = max(set(firsts), key=firsts.count) + "."
        if not any(name.startswith(prefix) for name in renamed):
            outside = {t.name for t in tensors if not t.name.startswith(prefix)} | {*family.copies}
            renamed = {n if n in outside else prefix + n: entry for n, entry in renamed.items()}
        self.entries = renamed

    def _equal(self, a: str, b: str) -> bool:
        """Read some rows at a time."""
        one, other = self.entries[a], self.entries[b]
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return False
        rows = max(1, CHUNK // max(1, math.prod(one.shape[1:])))
        size = one.shape[0]
        pieces = [(slice(i, min(i + rows, size)),) for i in range(0, size, rows)]
        return all(
            self.read(a, piece).tobytes() == self.read(b, piece).tobytes() for piece in pieces
        )

    def _check_tensor(self, tensor: Tensor) -> None:
        entry = self.entries.get(tensor.name)
        if entry is None:
            raise UserError(
                f"{self.path}: tensor {tensor.name} of shape {tensor.shape} is missing: "
                f"{CONFIG} tells of a model that has it, and no *.safetensors file holds it"
            )
        if entry.shape != tensor.shape:
            raise UserError(
                f"{entry.file}: tensor {tensor.name} has shape {entry.shape}, {CONFIG} asks for "
                f"{tensor.shape}; the weights and {CONFIG} are not of one model"
            )
        if entry.dtype not in DTYPES:
            raise UserError(
                f"{entry.file}: tensor {tensor.name} is of type {entry.dtype}; only "
                f"{', '.join(DTYPES.values())} are read, so save the model unquantized"
            )


def family_of(folder: Folder, families: Sequence[Family]) -> Family:
    """The family that config.json names.

    Raises:
        UserError: none has that model_type, or not that architecture.
    """
    model_type = folder.config.get("model_type")
    family = next((f for f in families if model_type in f.model_types), None)
    if family is None:
        known = sorted({name for f in families for name in f.model_types})
        raise UserError(
            f"{folder.path / CONFIG}: model_type {model_type!r} is not one that can be imported: "
            f"{', '.join(known)}"
        )
    architectures = folder.config.get("architectures")
    if architectures and not set(architectures) & set(family.architectures):
        raise UserError(
            f"{folder.path / CONFIG}: architectures is {', '.join(map(str, architectures))}; of "
            f"{model_type}, only {', '.join(family.architectures)} can be imported"
        )
    return family


def read_config(folder: Folder, family: Family) -> ModelConfig:
    """config.json as ours.

    Raises:
        UserError: a field is unknown, missing or impossible.
    """
    return _told(folder.path / CONFIG, lambda: family.read_config(folder.config))


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object; UserError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}, {what}: {error.strerror}") from None
    except ValueError as error:  # of JSON and of UTF-8
        raise UserError(f"{path}, {what}, is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}, {what}, must be a JSON object, got {type(value).__name__}")
    return value


def _told(path: Path, read: Callable[[], ModelConfig]) -> ModelConfig:
    """What `read` gives, its complaints with the file's name before them."""
    try:
        return read()
    except KeyError as error:
        raise UserError(f"{path}: field {error} is missing") from None
    except ValueError as error:  # a UserError, or a relation that ModelConfig refuses
        raise UserError(f"{path}: {error}") from None


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="numpy", backend="pread")
    except SafetensorError as error:
        raise UserError(
            f"{file} is no whole safetensors file ({error}); copy or download it again"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error}") from None


def _header(file: Path, opened: Any) -> dict[str, Entry]:
    entries = {}
    for name in opened.keys():  # noqa: SIM118  (it is no mapping)
        piece = opened.get_slice(name)
        entries[name] = Entry(file, name, tuple(piece.get_shape()), piece.get_dtype())
    return entries
