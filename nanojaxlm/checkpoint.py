"""Orbax checkpoints: model, optimizer, step, input position, config and tokenizer in one folder.

On disk each layer is a tree of its own, whatever `scan` does at run time, so a checkpoint of a
scanned stack restores into an unrolled one and the reverse.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding

from nanojaxlm.errors import UserError
from nanojaxlm.host_memory import is_on_host, to_device
from nanojaxlm.model.stack import LAYER, SCANNED
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
    tokenizer: bytes  # a SentencePiece model, or a tokenizer.json


class Checkpoints:
    """The checkpoints of one workdir written asynchronously.

    max_host_bytes: how much a save may hold in host memory at a time, no less than the largest
    array; None = all, so that the run goes on while it is written.

    Raises, on making it: UserError where the workdir cannot be written.
    """

    def __init__(
        self,
        workdir: str | Path,
        keep: int | None = None,
        read_only: bool = False,
        max_host_bytes: int | None = None,
    ):
        self.folder = Path(workdir).absolute() / FOLDER
        if read_only and not self.folder.exists():
            raise UserError(
                f"no checkpoint in {workdir}: there is no folder {FOLDER}/; "
                "name the --workdir of a training run"
            )
        json = {name: ocp.JsonCheckpointHandler() for name in ("input", "config", "tokenizer")}
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=not read_only, read_only=read_only
        )
        gigabytes: Any = None if max_host_bytes is None else max_host_bytes / 1e9
        state = ocp.PyTreeCheckpointHandler(
            save_concurrent_gb=gigabytes, save_device_host_concurrent_gb=gigabytes
        )
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_handlers={"state": state} | json
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
                tokenizer=ocp.args.JsonSave({"base64": base64.b64encode(saved.tokenizer).decode()}),
            ),
        )

    def describe(self, step: int | None = None) -> Saved:
        """Everything but the arrays, of the latest or the given step.

        Raises:
            UserError: there is no such checkpoint, or it is damaged.
        """
        step = self._step(step)
        json = ocp.args.JsonRestore()
        args = ocp.args.Composite(config=json, input=json, tokenizer=json)
        with self._reading(step):
            items = self._manager.restore(step, args=args)
            tokenizer = base64.b64decode(items["tokenizer"]["base64"])
            return Saved(step, items["config"], items["input"], tokenizer)

    def restore(self, abstract: Any, step: int | None = None) -> Any:
        """The state, or the part of it that `abstract` names, on the mesh of `abstract`.

        Args:
            abstract: a tree of ShapeDtypeStruct with shardings; a TrainState, or {"params": …}.

        Raises:
            UserError: an array is missing or of another shape; the first such array is named;
                or the checkpoint is damaged.
        """
        step = self._step(step)
        wanted = to_disk(abstract)
        with self._reading(step):
            found = self._manager.item_metadata(step)["state"]
            found = found.tree if hasattr(found, "tree") else found
            _check_shapes(wanted, found, self.folder / str(step))
            restore_args = jax.tree.map(
                lambda leaf: ocp.ArrayRestoreArgs(
                    sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype
                ),
                wanted,
            )
            state = ocp.args.PyTreeRestore(
                item=wanted, restore_args=restore_args, partial_restore=True
            )
            items = self._manager.restore(step, args=ocp.args.Composite(state=state))
            return from_disk(items["state"], abstract)

    def wait(self) -> None:
        """Until the last write is done; its error surfaces here."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the last write, and ends the threads that write."""
        try:
            self.wait()
        finally:
            self._manager.close()

    @contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Tells what Orbax raises on a checkpoint that is not whole as a UserError."""
        try:
            yield
        except (UserError, jax.errors.JaxRuntimeError):
            raise
        except (ValueError, OSError, KeyError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise UserError(
                f"checkpoint {self.folder / str(step)} cannot be read ({reason}): try again, and "
                "if it is damaged, move that folder away to go on from the checkpoint before it"
            ) from error

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


def disk_paths(tree: Any) -> dict[str, tuple[str, ...]]:
    """For each array of `tree`, by path, the paths on disk: its own, or, of an array under
    `layers`, those of the layers that its entries are of.

    With a period of two layers, decoder/layers/layer_1/q -> decoder/layer_1/q, decoder/layer_3/q, …
    """
    leaves = [
        (path_name(path).split("/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    periods: dict[tuple[str, ...], set[str]] = {}
    for keys, _ in leaves:
        if SCANNED in keys:
            at = keys.index(SCANNED)
            periods.setdefault(tuple(keys[:at]), set()).add(keys[at + 1])

    def of(keys: list[str], leaf: Any) -> tuple[str, ...]:
        if SCANNED not in keys:
            return ("/".join(keys),)
        at = keys.index(SCANNED)
        first = int(keys[at + 1].removeprefix(LAYER.format("")))
        period = len(periods[tuple(keys[:at])])
        layers = [LAYER.format(first + i * period) for i in range(leaf.shape[0])]
        return tuple("/".join([*keys[:at], layer, *keys[at + 2 :]]) for layer in layers)

    return {"/".join(keys): of(keys, leaf) for keys, leaf in leaves}


def to_disk(tree: Any) -> dict[str, Any]:
    """Nested dicts by path, with each array under `layers` cut into one of each layer."""
    nested: dict[str, Any] = {}
    stacked = []
    leaves = jax.tree.leaves(tree)
    for paths, leaf in zip(disk_paths(tree).items(), leaves, strict=True):
        if _is_stacked(paths[0]):
            stacked.append((paths[1], leaf))
        else:
            _put(nested, paths[0], leaf)
    layers_of = _unstack([leaf for _, leaf in stacked])
    for (paths, _), layers in zip(stacked, layers_of, strict=True):
        for path, layer in zip(paths, layers, strict=True):
            _put(nested, path, layer)
    return nested


def from_disk(nested: Mapping[str, Any], abstract: Any) -> Any:
    """The inverse of `to_disk`: `abstract` gives the tree and the shardings."""
    leaves, structure = jax.tree.flatten(abstract)
    found = disk_paths(abstract)
    stacked = {path: leaf for path, leaf in zip(found, leaves, strict=True) if _is_stacked(path)}
    arrays = _stack(
        [[_get(nested, layer) for layer in found[path]] for path in stacked],
        [leaf.sharding for leaf in stacked.values()],
    )
    by_path = dict(zip(stacked, arrays, strict=True))
    return structure.unflatten(
        [by_path[path] if path in by_path else _get(nested, path) for path in found]
    )


def _is_stacked(path: str) -> bool:
    return SCANNED in path.split("/")


def _unstack(stacked: Sequence[Any]) -> list[list[Any]]:
    """[L, …] arrays, or what stands for them, as L of them each."""
    where = tuple(without_first_axis(leaf.sharding) for leaf in stacked)
    if all(isinstance(leaf, jax.Array) for leaf in stacked):
        layers: list[list[Any]] = [[] for _ in stacked]
        for group in _passes(where):
            numbers = tuple(stacked[i].shape[0] for i in group)
            cut = _cutter(numbers, tuple(where[i] for i in group))([stacked[i] for i in group])
            for i, one in zip(group, cut, strict=True):
                layers[i] = one
        return layers
    return [
        [
            jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=to)
            for _ in range(leaf.shape[0])
        ]
        for leaf, to in zip(stacked, where, strict=True)
    ]


@cache
def _cutter(num_layers: tuple[int, ...], where: tuple[NamedSharding, ...]) -> Callable[..., Any]:
    """[L, …] arrays -> L of each; jitted once for all saves of a run."""

    def cut(stacked: list[jax.Array]) -> list[list[jax.Array]]:
        stacked = to_device(stacked, list(where))
        return [[a[i] for i in range(n)] for a, n in zip(stacked, num_layers, strict=True)]

    return jax.jit(cut, out_shardings=[[to] * n for to, n in zip(where, num_layers, strict=True)])


def _stack(layers: list[list[jax.Array]], where: list[NamedSharding]) -> list[jax.Array]:
    """The inverse of `_unstack`; `where`: the shardings of what comes out."""
    stacked: dict[int, jax.Array] = {}
    for group in _passes(where):
        to = [where[i] for i in group]

        def stack(each: list[list[jax.Array]], to: list[Any] = to) -> list[jax.Array]:
            pairs = zip(each, to, strict=True)
            return [jnp.stack(to_device(one, [where] * len(one))) for one, where in pairs]

        made = jax.jit(stack, out_shardings=to)([layers[i] for i in group])
        stacked |= dict(zip(group, made, strict=True))
    return [stacked[i] for i in range(len(where))]


def _passes(where: Sequence[NamedSharding]) -> list[list[int]]:
    """Which arrays to cut or stack at a time: all that lie on the devices, but those on the host
    one by one, since they pass through the devices and may not all fit there."""
    together = [i for i, to in enumerate(where) if not is_on_host(to)]
    alone = [[i] for i, to in enumerate(where) if is_on_host(to)]
    return [together, *alone] if together else alone


def _put(nested: dict[str, Any], path: str, leaf: Any) -> None:
    keys = path.split("/")
    for key in keys[:-1]:
        nested = nested.setdefault(key, {})
    nested[keys[-1]] = leaf


def _get(nested: Any, path: str) -> Any:
    for key in path.split("/"):
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
