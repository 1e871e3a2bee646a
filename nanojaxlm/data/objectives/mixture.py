"""Rows of several objectives in one batch."""

import math
from dataclasses import dataclass

import jax
import numpy as np

from nanojaxlm.batch import Batch
from nanojaxlm.data.draws import Purpose
from nanojaxlm.data.objectives.causal import CausalLM, NextTokens
from nanojaxlm.data.objectives.fragments import PADDING
from nanojaxlm.data.objectives.infilling import FillInTheMiddle
from nanojaxlm.data.objectives.masked import MaskedLM
from nanojaxlm.data.objectives.prefix import PrefixLM
from nanojaxlm.data.objectives.rows import Lengths, Rows, Setting
from nanojaxlm.data.objectives.spans import MixtureOfDenoisers, SpanCorruption

SingleObjective = (
    CausalLM
    | NextTokens
    | PrefixLM
    | FillInTheMiddle
    | MaskedLM
    | SpanCorruption
    | MixtureOfDenoisers
)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Each row has an objective drawn by weight; all of them feed the same streams."""

    objectives: tuple[SingleObjective, ...]
    weights: tuple[float, ...] = ()  # of the rows, one for each objective; empty = equal

    def __post_init__(self) -> None:
        if len(self.objectives) < 2:
            raise ValueError(
                f"objectives must be two or more, got {len(self.objectives)}; a single one needs "
                "no mixture"
            )
        if self.weights and len(self.weights) != len(self.objectives):
            raise ValueError(
                f"weights must be one for each of the {len(self.objectives)} objectives, or empty, "
                f"got {len(self.weights)}"
            )
        if any(not 0 < weight < math.inf for weight in self.weights):
            raise ValueError(f"weights must be above 0, got {self.weights}; leave that one out")
        first = self.objectives[0]
        for other in self.objectives[1:]:
            for name in ("encodes", "decodes", "num_future"):
                if getattr(other, name) != getattr(first, name):
                    raise ValueError(
                        f"objectives {first!r} and {other!r} cannot be mixed: {name} is "
                        f"{getattr(first, name)} and {getattr(other, name)}; choose objectives, or "
                        "their layouts, for the same model"
                    )

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in self.objectives for name in one.extra_tokens))

    @property
    def num_future(self) -> int:
        return self.objectives[0].num_future

    @property
    def encodes(self) -> bool:
        return self.objectives[0].encodes

    @property
    def decodes(self) -> bool:
        return self.objectives[0].decodes

    def lengths(self, sequence_length: int) -> Lengths:
        """Rows of the shortest, streams of the longest."""
        each = [one.lengths(sequence_length) for one in self.objectives]
        return Lengths(
            min(one.row for one in each),
            max(one.ahead for one in each),
            max((one.encoder for one in each if one.encoder is not None), default=None),
            max((one.decoder for one in each if one.decoder is not None), default=None),
        )

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        number = len(rows.tokens_BS)
        weights = self.weights or (1.0,) * len(self.objectives)
        bounds = np.cumsum(weights)[:-1] / np.sum(weights)
        which_B = np.searchsorted(bounds, rows.draws.grid(Purpose.OBJECTIVE, 1)[:, 0], side="right")
        places = [np.flatnonzero(which_B == i) for i in range(len(self.objectives))]
        sizes = self.lengths(setting.sequence_length)
        parts = []
        for one, mine in zip(self.objectives, places, strict=True):
            ahead = one.lengths(setting.sequence_length).ahead
            parts.append(one.batch(rows.at(mine).first(sizes.row + ahead), setting))

        def join(*arrays: np.ndarray) -> np.ndarray:
            width = max(array.shape[1] for array in arrays)
            whole = np.full((number, width), PADDING, arrays[0].dtype)
            for mine, array in zip(places, arrays, strict=True):
                whole[mine, : array.shape[1]] = array
            return whole

        return jax.tree.map(join, *_with_equal_fields(parts))


def _with_equal_fields(batches: list[Batch]) -> list[Batch]:
    """A prefix of no tokens where others have one: the fields never depend on what was drawn."""
    decoders = [batch.decoder for batch in batches]
    if all(decoder is None or decoder.prefix_BT is None for decoder in decoders):
        return batches
    return [
        batch._replace(decoder=decoder._replace(prefix_BT=np.zeros_like(decoder.tokens_BT)))
        if decoder is not None and decoder.prefix_BT is None
        else batch
        for batch, decoder in zip(batches, decoders, strict=True)
    ]
