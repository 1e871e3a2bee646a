"""Orbax checkpoints: model, optimizer, step, input position, config and tokenizer in one folder.

On disk each layer is a tree of its own, whatever `scan` does at run time, so a checkpoint of a
scanned stack restores into an unrolled one and the reverse.
"""

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from etils import epath

from nanojaxlm.errors import UserError
from nanojaxlm.model.stack import SCANNED, UNROLLED
from nanojaxlm.sharding import without_first_axis
from nanojaxlm.state import path_name

FOLDER = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    every: int = 500  # steps; the last step is always saved
    keep: int = 3  # newest ones

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be >= 1 step, got {self.every}")
        if self.keep < 1:
            raise ValueError(f"keep must be >= 1, got {self.keep}")


class Saved(NamedTuple):
    """What a checkpoint holds beside the arrays."""

    step: int
    config: dict[str, Any]
    input: dict[str, Any]  # the input iterator's state
    tokenizer: bytes  # the SentencePiece model


class Checkpoints:
    """The checkpoints of one workdir (local path or gs:// URL), written asynchronously.

    Raises, on making it: UserError where the workdir cannot be written.
    """

    def __init__(self, workdir: str | Path, keep: int | None = None, read_only: bool = False):
        self.folder = epath.Path(absolute(workdir)) / FOLDER
        if read_only and not self.folder.exists():
            raise UserError(
                f"no checkpoint in {workdir}: there is no folder {FOLDER}/; "
                "name the --workdir of a training run"
            )
        json = {name: ocp.JsonCheckpointHandler() for name in ("input", "config", "tokenizer")}
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax tells its every move
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=not read_only, read_only=read_only
        )
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=options,
            item_handlers={"state": ocp.PyTreeCheckpointHandler()} | json,
        )

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, state: Any, saved: Saved) -> None:
        """Starts to write; a step already there is left. Errors surface here or in `close`."""
        if saved.step in self._manager.all_steps():
            return
        self._manager.save(
            saved.step,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(to_disk(state)),
                input=ocp.args.JsonSave(saved.input),
                config=ocp.args.JsonSave(saved.config),
                tokenizer=ocp.args.JsonSave(
                    {"sentencepiece_base64": base64.b64encode(saved.tokenizer).decode()}
                ),
            ),
        )

    def describe(self, step: int | None = None) -> Saved:
        """Everything but the arrays, of the latest or the given step.

        Raises:
            UserError: there is no such checkpoint.
        """
        step = self._step(step)
        json = ocp.args.JsonRestore()
        args = ocp.args.Composite(config=json, input=json, tokenizer=json)
        items = self._manager.restore(step, args=args)
        tokenizer = base64.b64decode(items["tokenizer"]["sentencepiece_base64"])
        return Saved(step, items["config"], items["input"], tokenizer)

    def restore(self, abstract: Any, step: int | None = None) -> Any:
        """The state, or the part of it that `abstract` names, on the mesh of `abstract`.

        Args:
            abstract: a tree of ShapeDtypeStruct with shardings; a TrainState, or {"params": …}.

        Raises:
            UserError: an array is missing or of another shape; the first such array is named.
        """
        step = self._step(step)
        wanted = to_disk(abstract)
        found = self._manager.item_metadata(step)["state"]
        _check_shapes(
            wanted, found.tree if hasattr(found, "tree") else found, self.folder / str(step)
        )
        restore_args = jax.tree.map(
            lambda leaf: ocp.ArrayRestoreArgs(
                sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype
            ),
            wanted,
        )
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeRestore(
                    item=wanted, restore_args=restore_args, partial_restore=True
                )
            ),
        )
        return from_disk(items["state"], abstract)

    def close(self) -> None:
        """Waits for the last write."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _step(self, step: int | None) -> int:
        steps = self._manager.all_steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.folder}: the run has not saved one yet")
        if step is None:
            return max(steps)
        if step not in steps:
            raise UserError(
                f"no checkpoint of step {step} in {self.folder}; there are {sorted(steps)}"
            )
        return step


def to_disk(tree: Any) -> dict[str, Any]:
    """Nested dicts by path, with each array under `layers` cut into one of each layer."""
    nested: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = path_name(path).split("/")
        if SCANNED not in keys:
            _put(nested, keys, leaf)
            continue
        at = keys.index(SCANNED)
        for i in range(leaf.shape[0]):
            _put(nested, [*keys[:at], UNROLLED.format(i), *keys[at + 1 :]], _layer(leaf, i))
    return nested


def from_disk(nested: Mapping[str, Any], abstract: Any) -> Any:
    """The inverse of `to_disk`: `abstract` gives the tree and the shardings."""

    def build(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        keys = path_name(path).split("/")
        if SCANNED not in keys:
            return _get(nested, keys)
        at = keys.index(SCANNED)
        names = [UNROLLED.format(i) for i in range(leaf.shape[0])]
        layers = [_get(nested, [*keys[:at], name, *keys[at + 1 :]]) for name in names]
        return jax.jit(lambda *xs: jax.numpy.stack(xs), out_shardings=leaf.sharding)(*layers)

    return jax.tree_util.tree_map_with_path(build, abstract)


def absolute(workdir: str | Path) -> str:
    """A workdir as Orbax wants it: URLs as they are, local paths absolute."""
    text = str(workdir)
    return text if "://" in text else str(Path(text).absolute())


def _layer(leaf: Any, i: int) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        where = without_first_axis(leaf.sharding)
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=where)
    where = without_first_axis(leaf.sharding)
    return jax.jit(lambda a: a[i], out_shardings=where)(leaf)


def _put(nested: dict[str, Any], keys: list[str], leaf: Any) -> None:
    for key in keys[:-1]:
        nested = nested.setdefault(key, {})
    nested[keys[-1]] = leaf


def _get(nested: Mapping[str, Any], keys: list[str]) -> Any:
    for key in keys:
        nested = nested[key]
    return nested


def _check_shapes(wanted: Any, found: Any, folder: Any) -> None:
    shapes = {
        path_name(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        if hasattr(leaf, "shape")
    }
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        name = path_name(path)
        if name not in shapes:
            raise UserError(
                f"checkpoint {folder} has no array {name}: it is of another model or optimizer; "
                "use the config saved in it, or another --workdir"
            )
        if shapes[name] != tuple(leaf.shape):
            raise UserError(
                f"checkpoint {folder}: array {name} has shape {shapes[name]}, the config wants "
                f"{tuple(leaf.shape)}; use the config saved in it, or another --workdir"
            )
