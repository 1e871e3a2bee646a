"""A folder of the ecosystem becomes a workdir that generates, evaluates and trains on.

All is checked before the first byte is written; the workdir appears whole or not at all.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from nanojaxlm.checkpoint import Checkpoints, Saved, to_disk
from nanojaxlm.config import Config
from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop.arrays import (
    Places,
    check_places,
    places_of,
    read_on_disk_layout,
    read_params,
)
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.interop.fine_tuning import whole_config
from nanojaxlm.interop.folder import Folder, family_of, read_config
from nanojaxlm.interop.origin import Origin, write_origin
from nanojaxlm.interop.tokenizer_files import read_tokenizer
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, make_mesh, use_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.typed_config import dump_json, to_plain

CONFIG = "config.json"
MIN_HOST_BYTES = 2**26  # that may be on the way to the disk at a time
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)


class Opened(NamedTuple):
    """A folder that has been checked whole, with nothing of its weights read yet."""

    folder: Folder
    family: Family
    config: ModelConfig
    tensors: list[Tensor]

    @property
    def places(self) -> Places:
        return places_of(self.tensors)


class Imported(NamedTuple):
    config: ModelConfig
    params: Any  # on the mesh, as Transformer(config) takes them
    tokenizer: bytes | None  # for data.tokenizer.load_tokenizer; None where the folder has none


def open_folder(folder: str | Path, families: Sequence[Family] = FAMILIES) -> Opened:
    """Checks config.json, and every tensor's name, shape and type.

    Raises:
        UserError: what is wrong, with the field or the tensor, and the file.
    """
    opened = Folder(folder)
    family = family_of(opened, families)
    config = read_config(opened, family)
    return Opened(opened, family, config, opened.check(family, config))


def load_folder(folder: str | Path, mesh: Mesh, families: Sequence[Family] = FAMILIES) -> Imported:
    """The model of a folder on a mesh; the host never holds more than one array of it besides.

    Raises:
        UserError: as of `open_folder`, or the model does not split over the mesh.
    """
    opened = open_folder(folder, families)
    tokenizer = read_tokenizer(opened.folder.path) if has_tokenizer(opened.folder.path) else None
    if tokenizer is not None:
        check_vocabulary(opened, load_tokenizer(tokenizer))
    abstract = _abstract(opened, mesh)
    return Imported(opened.config, read_params(opened.folder, opened.places, abstract), tokenizer)


def import_folder(
    folder: str | Path,
    workdir: str | Path,
    mesh: MeshConfig | None = None,
    families: Sequence[Family] = FAMILIES,
) -> Config:
    """Makes `workdir`, with a checkpoint of step 0 that holds the parameters only.

    Returns the config that is saved in it: the folder's model, with data, objective and optimizer
    to fine-tune from.

    Raises:
        UserError: as of `load_folder`; or the folder has no tokenizer; or `workdir` holds
            something already, or cannot be written.
    """
    workdir = Path(workdir)
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"--workdir={workdir} is there already; name one that is not")
    opened = open_folder(folder, families)
    if not has_tokenizer(opened.folder.path):
        raise UserError(
            f"{folder} has no tokenizer ({', '.join(TOKENIZERS)}): copy the model's tokenizer "
            "files into it"
        )
    tokenizer = load_tokenizer(read_tokenizer(opened.folder.path))
    check_vocabulary(opened, tokenizer)
    mesh = mesh or MeshConfig()
    config = whole_config(opened.config, tokenizer, mesh)
    on_mesh = make_mesh(mesh)
    abstract = to_disk(_abstract(opened, on_mesh))
    part = workdir.with_name(f"{workdir.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of an import that was killed
        part.mkdir(parents=True)
        with use_mesh(on_mesh):
            params = read_on_disk_layout(opened.folder, opened.places, abstract)
            largest = max(leaf.nbytes for leaf in jax.tree.leaves(params))
            checkpoints = Checkpoints(part, max_host_bytes=max(MIN_HOST_BYTES, largest))
            try:
                saved = Saved(0, to_plain(config), {}, tokenizer.model)
                checkpoints.save({"params": params}, saved)
            finally:
                checkpoints.close()
        (part / CONFIG).write_text(dump_json(config), encoding="utf-8")
        write_origin(part, Origin.of(opened.folder, opened.tensors))
        if workdir.exists():
            workdir.rmdir()
        part.rename(workdir)
    except PermissionError as error:
        raise UserError(
            f"cannot write to --workdir={workdir} ({error.strerror}): name a folder that you may "
            "write to"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return config


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZERS)


def check_vocabulary(opened: Opened, tokenizer: Tokenizer) -> None:
    """Raises UserError where the tokenizer cannot be the model's.

    A table with some more rows than the tokenizer has ids is usual: its height is rounded up so
    that it splits over devices. More than a tenth (and 128) is not.
    """
    rows, size = opened.config.vocab_size, tokenizer.vocab_size
    assert rows is not None, "a family's read_config gives the vocabulary's size"
    if size > rows or rows - size > max(128, size // 10):
        raise UserError(
            f"{opened.folder.path}: the tokenizer has {size} ids, and vocab_size in config.json "
            f"is {rows}: they are not of one model"
        )


def _abstract(opened: Opened, mesh: Mesh) -> Any:
    """The parameters as ShapeDtypeStructs on the mesh; the family's table has been held to them."""
    abstract = abstract_params(parameter_boxes(Transformer(opened.config)), mesh)
    check_places(opened.places, to_disk(abstract))
    return abstract
