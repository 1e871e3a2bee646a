"""A trained model back from a run's checkpoint, with the config and the tokenizer saved in it."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from nanojaxlm.checkpoint import FOLDER, Checkpoints, Saved
from nanojaxlm.config import Config
from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.typed_config import from_config_dict


class Loaded(NamedTuple):
    workdir: Path
    step: int
    config: Config
    tokenizer: Tokenizer
    model: Transformer
    params: Any
    mesh: Mesh


def load(checkpoint: str) -> Loaded:
    """The newest step of a workdir, or the step that `WORKDIR/checkpoints/STEP` names.

    The parameters lie on the first device.

    Raises:
        UserError: there is no such checkpoint.
    """
    checkpoints, saved = _open(checkpoint)
    config = from_config_dict(Config, saved.config)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    model = Transformer(config.model)
    abstract = abstract_params(parameter_boxes(model), mesh)
    params = checkpoints.restore({"params": abstract}, saved.step)["params"]
    checkpoints.close()
    tokenizer = load_tokenizer(saved.tokenizer, config.data.objective.extra_tokens)
    workdir = checkpoints.folder.parent
    return Loaded(workdir, saved.step, config, tokenizer, model, params, mesh)


def load_params(checkpoint: str, abstract: Any, tokenizer: bytes) -> Any:
    """The parameters of a checkpoint, named as for `load`, on the mesh of `abstract`.

    Raises:
        UserError: there is no such checkpoint; it has another tokenizer, or parameters of other
            names or shapes.
    """
    checkpoints, saved = _open(checkpoint)
    if saved.tokenizer != tokenizer:
        raise UserError(
            f"the checkpoint {checkpoint} has another tokenizer than the token store: tokenize the "
            "documents with the checkpoint's"
        )
    params = checkpoints.restore({"params": abstract}, saved.step)["params"]
    checkpoints.close()
    return params


def load_tokenizer_of(checkpoint: str) -> Tokenizer:
    """The tokenizer of a checkpoint, named as for `load`, without an objective's extra tokens.

    Raises:
        UserError: there is no such checkpoint.
    """
    checkpoints, saved = _open(checkpoint)
    checkpoints.close()
    return load_tokenizer(saved.tokenizer)


def _open(checkpoint: str) -> tuple[Checkpoints, Saved]:
    workdir, step = _parse(checkpoint)
    checkpoints = Checkpoints(workdir, read_only=True)
    return checkpoints, checkpoints.describe(step)


def _parse(checkpoint: str) -> tuple[str, int | None]:
    path = Path(checkpoint)
    if path.parent.name != FOLDER:
        return checkpoint, None
    if not path.name.isdigit():
        raise UserError(f"--checkpoint={checkpoint} must be a workdir or WORKDIR/{FOLDER}/STEP")
    return str(path.parent.parent), int(path.name)
