"""A config and a mesh put together: the very step that training runs, and planning compiles."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from nanojaxlm.batch import Batch
from nanojaxlm.config import Config
from nanojaxlm.data.draws import Draws
from nanojaxlm.data.objectives.rows import Rows, Setting
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, batch_sharding, check_batch, make_mesh
from nanojaxlm.state import TrainState, abstract_state, parameter_boxes
from nanojaxlm.step import TrainStep, make_step


class Assembly(NamedTuple):
    """abstract: the state as ShapeDtypeStructs that carry their sharding."""

    model: Transformer
    optimizer: optax.GradientTransformation
    abstract: TrainState
    step: TrainStep


def mesh_for(config: Config, mesh: MeshConfig, devices: Sequence[Any]) -> jax.sharding.Mesh:
    """The mesh over these devices, seen to split the config's batches evenly.

    Raises:
        UserError: it does not.
    """
    made = make_mesh(mesh, devices)
    lengths = config.data.lengths
    given = [length for length in (lengths.encoder, lengths.decoder) if length is not None]
    for rows in config.data.sizes.each:
        check_batch(made, rows // config.training.accumulation, given, mesh.sequence)
    return made


def assemble(config: Config, mesh: jax.sharding.Mesh) -> Assembly:
    """Within `use_mesh(mesh, …)`; config.model.vocab_size is set by now.

    Raises:
        UserError: a parameter does not split evenly over the mesh, or layers into stages.
    """
    model = Transformer(config.model)
    boxes = parameter_boxes(model)
    optimizer = config.optimizer.make(config.training.steps, boxes)
    abstract = abstract_state(boxes, optimizer, mesh, config.training.offload_optimizer)
    step = make_step(model, optimizer, config.loss, config.training.accumulation, abstract, mesh)
    return Assembly(model, optimizer, abstract, step)


def abstract_batch(config: Config, mesh: jax.sharding.Mesh) -> Batch:
    """A batch of the config's objective as ShapeDtypeStructs that carry their sharding: the shapes
    of what the objective makes of a row."""
    objective, lengths = config.data.objective, config.data.lengths
    assert config.model.vocab_size is not None
    size = config.model.vocab_size - len(objective.extra_tokens)
    vocabulary = Vocabulary(size, 0, 0, config.model.start_id or 0, np.ones(size, bool))
    extra_ids = {name: size + i for i, name in enumerate(objective.extra_tokens)}
    tokens_BS = np.ones((1, lengths.row + lengths.ahead), np.int32)
    rows = Rows(tokens_BS, np.ones_like(tokens_BS), Draws.of(0, np.zeros(1, np.int64)))
    batch = objective.batch(rows, Setting(vocabulary, extra_ids, config.data.sequence_length))
    where = batch_sharding(mesh)

    def leaf(row: np.ndarray) -> Any:
        shape = (config.data.batch_size, row.shape[1])
        return jax.ShapeDtypeStruct(shape, row.dtype, sharding=where)

    return jax.tree.map(leaf, batch)
