"""A trained model back from a run's checkpoint, with the config and the tokenizer saved in it."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from nanojaxlm.checkpoint import FOLDER, Checkpoints
from nanojaxlm.config import Config
from nanojaxlm.data.tokenizer import Tokenizer
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
    workdir, step = _parse(checkpoint)
    checkpoints = Checkpoints(workdir, read_only=True)
    saved = checkpoints.describe(step)
    config = from_config_dict(Config, saved.config)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    model = Transformer(config.model)
    abstract = abstract_params(parameter_boxes(model), mesh)
    params = checkpoints.restore({"params": abstract}, saved.step)["params"]
    checkpoints.close()
    return Loaded(
        Path(workdir), saved.step, config, Tokenizer(saved.tokenizer), model, params, mesh
    )


def _parse(checkpoint: str) -> tuple[str, int | None]:
    path = Path(checkpoint)
    if path.parent.name != FOLDER:
        return checkpoint, None
    if not path.name.isdigit():
        raise UserError(f"--checkpoint={checkpoint} must be a workdir or WORKDIR/{FOLDER}/STEP")
    return str(path.parent.parent), int(path.name)
