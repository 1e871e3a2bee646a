"""Where arrays live: tensorstore places, sharded zarr3 arrays, and storage errors told as ours.

A place is a local folder, a URL (gs://bucket/path, s3://bucket/path, memory://path) or a
tensorstore kvstore spec as JSON ('{"driver": "s3", "bucket": …, "endpoint": …}').
"""

import json
import os
from typing import Any, NoReturn

import numpy as np
import tensorstore as ts

from nanojaxlm.errors import RetryableError, UserError

_TRANSIENT = ("UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
_RETRIES = {"max_retries": 8, "initial_delay": "500ms", "max_delay": "16s"}  # about a minute
_CONTEXT = ts.Context(
    {
        "cache_pool": {"total_bytes_limit": 2**28},  # decoded chunks and shard indices, a process
        "s3_request_retries": _RETRIES,
        "gcs_request_retries": _RETRIES,
    }
)


def open_place(path: str) -> ts.KvStore:
    """The place that `path` names, opened but not touched; UserError if it names none."""
    try:
        if path.lstrip().startswith("{"):
            spec = json.loads(path)
            spec["path"] = spec.get("path", "").rstrip("/") + "/" if spec.get("path") else ""
        elif "://" in path:
            spec = path.rstrip("/") + "/"
        else:
            spec = {"driver": "file", "path": os.path.abspath(path) + "/"}
        return ts.KvStore.open(spec, context=_CONTEXT).result()
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} is no place for a token store: name a local folder, gs://BUCKET/PATH, "
            f"s3://BUCKET/PATH or a tensorstore kvstore as JSON ({first_line(error)})"
        ) from error


def open_array(folder: ts.KvStore, metadata: dict[str, Any] | None = None) -> ts.TensorStore:
    """Opens an array, or makes a new one where metadata is given."""
    spec: dict[str, Any] = {
        "driver": "zarr3",
        "store_data_equal_to_fill_value": True,
        "fill_missing_data_reads": False,
        "recheck_cached_data": "open",
    }
    if metadata is not None:
        spec |= {"metadata": metadata, "create": True, "delete_existing": True}
    return ts.open(spec, kvstore=folder, context=_CONTEXT).result()


class ArrayWriter:
    """Appends to a one-dimensional array, a whole shard at a time."""

    def __init__(self, folder: ts.KvStore, dtype: str, shard: int, chunk: int):
        """Makes the array below `folder`; shard and chunk are in elements."""
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        crc = {"name": "crc32c"}
        sharding = {
            "chunk_shape": [chunk],
            "codecs": [little, {"name": "zstd", "configuration": {"level": 3}}, crc],
            "index_codecs": [little, crc],
        }
        metadata = {
            "shape": [0],
            "data_type": dtype,
            "fill_value": 0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard]}},
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        }
        self._array = open_array(folder, metadata)
        self._shard, self.dtype = shard, np.dtype(dtype)
        self._buffer: list[np.ndarray] = []
        self._buffered = 0

    def append(self, values: np.ndarray) -> None:
        """Appends values [n]; writes each shard that they fill."""
        while len(values):
            part = values[: self._shard - self._buffered]
            self._buffer.append(part)
            self._buffered += len(part)
            values = values[len(part) :]
            if self._buffered == self._shard:
                self.flush()

    def flush(self) -> None:
        """Writes what is buffered; only the last shard may be short, so append no more after it."""
        if self._buffered:
            start = self._array.shape[0]
            stop = start + self._buffered
            self._array = self._array.resize(exclusive_max=[stop], expand_only=True).result()
            self._array[start:stop].write(np.concatenate(self._buffer)).result()
            self._buffer, self._buffered = [], 0


def fail_to_read(error: Exception, path: str, split: str | None) -> NoReturn:
    """Raises an error met in reading as a UserError or a RetryableError of one line."""
    _raise_if_surroundings(error, path, "read")
    place = path if split is None else f"{path}, split {split}"
    raise UserError(
        f"{place}: the store is damaged: {first_line(error)}; copy it again from where it is "
        "whole, or write it again"
    ) from error


def fail_to_write(error: Exception, path: str) -> NoReturn:
    """Raises an error met in writing as a UserError or a RetryableError of one line."""
    _raise_if_surroundings(error, path, "write")
    raise UserError(
        f"cannot write a token store at {path}: {first_line(error)}; name another path"
    ) from error


def _raise_if_surroundings(error: Exception, path: str, verb: str) -> None:
    """Raises what is not the store's fault; tensorstore says which only in its messages."""
    if isinstance(error, UserError):  # told already, further down
        raise error
    text = str(error)
    if "No space left" in text or "quota exceeded" in text.lower():
        raise RetryableError(
            f"the disk is full at {path}: free space and run the same command again"
        ) from error
    if text.startswith("PERMISSION_DENIED") or isinstance(error, PermissionError):
        raise UserError(
            f"no permission to {verb} {path}: {first_line(error)}; mend the permissions or the "
            "credentials, or name another path"
        ) from error
    if text.startswith(_TRANSIENT):
        raise RetryableError(
            f"cannot reach the storage of {path}: {first_line(error)}; run the same command again "
            "when it is back"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
