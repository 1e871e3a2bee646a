"""Files of trained models: arrays and what they are, as .npz; nothing in them is executed."""

import functools
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nanojaxlm.errors import UserError

_ABOUT = "about"
Model = TypeVar("Model")


def to_bytes(kind: str, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a model file; the same bytes for the same model.

    kind: what reads it. about: JSON values; arrays: of numbers.
    """
    text = json.dumps({"kind": kind, **about}, sort_keys=True)
    file = io.BytesIO()
    encoded = np.frombuffer(text.encode(), np.uint8)
    np.savez_compressed(file, **{_ABOUT: encoded, **arrays})
    return file.getvalue()


def from_bytes(content: bytes, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `to_bytes` was given.

    Raises:
        ValueError: not such a file, or one of another kind.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        found = about.pop("kind")
    except Exception as error:  # of zipfile, zlib, numpy and json, each has its own
        raise ValueError(f"is damaged, or no model file ({error})") from error
    if found != kind:
        raise ValueError(f"holds a model of {found}, not of {kind}")
    return about, arrays


def write(path: str, content: bytes) -> None:
    """Writes a model file, whole or not at all.

    Raises:
        UserError: the place cannot be written.
    """
    whole, part = Path(path).expanduser(), Path(f"{path}.part").expanduser()
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(whole)
    except OSError as error:
        raise UserError(f"--output={path} cannot be written ({error.strerror})") from error


def load(path: str, parse: Callable[[bytes], Model], field: str, command: str) -> Model:
    """The model in a file, kept for the next call in this process while the file stays the same.

    parse: makes it of the content, ValueError says what is wrong with that. field, command: the
    field of the config that named the file, and the module that makes such files.

    Raises:
        UserError: the file is missing, damaged or another's; it names the field.
    """
    try:
        state = os.stat(path)
        return _load(path, parse, (state.st_mtime_ns, state.st_size))
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    except ValueError as error:
        why = str(error)
    raise UserError(f"config.{field}: {path} {why}; make it with python -m {command}")


@functools.lru_cache(2)
def _load(path: str, parse: Callable[[bytes], Any], state: tuple[int, int]) -> Any:
    del state  # only part of the key
    return parse(Path(path).read_bytes())
