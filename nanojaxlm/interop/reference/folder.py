"""A Hugging Face folder as it lies on disk: the fields of config.json, and tensors by their names.

The safetensors format (huggingface.co/docs/safetensors): 8 bytes, the header's length, little
endian; the header, JSON, {name: {dtype, shape, data_offsets}}; the data, the offsets counted from
its start. Read here by hand, so that the exporter's library is not its own witness.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from nanojaxlm.errors import UserError

DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}


@dataclass(frozen=True)
class _Place:
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes from the file's beginning
    size: int  # bytes


class Fields:
    """The fields of a config.json (or of an object in it), with the defaults of a family.

    A field that is there and null is None; one that is absent takes the default. A field without
    default must be there.
    """

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._defaults = defaults
        self.where = where

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._defaults:
            return self._defaults[name]
        raise UserError(f"{self.where} lacks the field {name!r}; add it")

    def get(self, name: str, default: Any = None) -> Any:
        """The field, else the family's default, else `default`; null counts as absent."""
        value = self._values.get(name, self._defaults.get(name))
        return default if value is None else value

    def inner(self, name: str, defaults: Mapping[str, Any]) -> "Fields":
        """The fields of an object inside."""
        return Fields(self[name], defaults, f"{self.where} ({name})")

    def must_be(self, **expected: Any) -> None:
        """UserError for a field that is there with another value than the one implemented."""
        for name, value in expected.items():
            if self._values.get(name, value) not in (value, None):
                raise self.unknown(name, value)

    def unknown(self, name: str, *known: Any) -> UserError:
        """The error that says a field's value is none of those known."""
        names = ", ".join(repr(value) for value in known)
        return UserError(
            f"{self.where}: {name} = {self[name]!r} is not implemented here, only {names}"
        )


def is_local(fields: Fields, layer_type: str) -> bool:
    """Whether a value of the field layer_types says that the layer sees a window only."""
    if layer_type not in ("sliding_attention", "full_attention"):
        raise fields.unknown("layer_types", "sliding_attention", "full_attention")
    return layer_type == "sliding_attention"


class Folder:
    """config.json and *.safetensors of one folder; a tensor is read when it is asked for.

    Raises UserError where a file is missing or malformed, naming it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.values = _read_json(self.config)
        self._places: dict[str, _Place] = {}
        for file in _weight_files(path):
            self._places.update(_read_header(file))

    def fields(self, defaults: Mapping[str, Any]) -> Fields:
        return Fields(self.values, defaults, str(self.config))

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def tensor(self, name: str, *shape: int) -> np.ndarray:
        """The tensor of that name, float64. UserError if missing or of another shape."""
        place = self._places.get(name)
        if place is None:
            raise UserError(f"{self.path} lacks the tensor {name!r} of shape {list(shape)}")
        if place.shape != shape:
            raise UserError(
                f"{place.file}: {name} has shape {list(place.shape)}; config.json makes it "
                f"{list(shape)}"
            )
        data = np.fromfile(place.file, np.uint8, place.size, offset=place.start)
        if data.size != place.size:
            raise UserError(f"{place.file} ends within {name}; copy the file again")
        return data.view(DTYPES[place.dtype]).reshape(shape).astype(np.float64)


def _weight_files(path: Path) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        return sorted({path / name for name in _read_json(index)["weight_map"].values()})
    return [path / "model.safetensors"]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; name a Hugging Face folder") from None
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from None


def _read_header(file: Path) -> dict[str, _Place]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError(f"its first 8 bytes tell of {length} more")
            header = json.loads(stream.read(length))
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; weights are read from safetensors only") from None
    except ValueError as error:
        raise UserError(f"{file} has no safetensors header: {error}") from None
    places = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            continue  # a buffer of integers, say position_ids: no weight
        start, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if end - start != math.prod(shape) * np.dtype(DTYPES[entry["dtype"]]).itemsize:
            raise UserError(f"{file}: the bytes of {name} do not fit its shape {list(shape)}")
        places[name] = _Place(file, entry["dtype"], shape, 8 + length + start, end - start)
    return places
