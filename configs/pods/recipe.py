"""What the configs of pods share: a published model, a mesh, and a batch that fills the chips."""

import dataclasses
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ml_collections import config_dict

from configs.models.recipe import choose
from nanojaxlm.config import Config
from nanojaxlm.model.config import MixtureConfig
from nanojaxlm.planning.search import with_batch, with_remat
from nanojaxlm.sharding import MeshConfig
from nanojaxlm.typed_config import from_config_dict, to_config_dict

MODELS = Path(__file__).resolve().parents[1] / "models"


class Run(NamedTuple):
    """model: a file of configs/models and its size. rows: of sequence_length tokens, a step.
    capacity: of a mixture's buffers."""

    model: str
    mesh: MeshConfig
    rows: int
    sequence_length: int
    remat: str
    capacity: float | None = None


def on_pod(runs: Mapping[str, Run], name: str) -> config_dict.ConfigDict:
    """The config of one of a pod's runs; data.stores is left to give."""
    run = choose(runs, name)
    file, _, size = run.model.partition(":")
    tree = runpy.run_path(str(MODELS / f"{file}.py"))["get_config"](size)
    config = with_remat(with_batch(from_config_dict(Config, tree), run.rows), run.remat)
    data = dataclasses.replace(config.data, sequence_length=run.sequence_length)
    config = dataclasses.replace(config, data=data, mesh=run.mesh)
    if run.capacity is not None:
        config = _with_capacity(config, run.capacity)
    return to_config_dict(config)


def _with_capacity(config: Config, capacity: float) -> Config:
    decoder = config.model.decoder
    assert decoder is not None and isinstance(decoder.feed_forward, MixtureConfig)
    mixture = dataclasses.replace(decoder.feed_forward, capacity=capacity)
    decoder = dataclasses.replace(decoder, feed_forward=mixture)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, decoder=decoder))
