"""Global batches: what a step reads, a pure function of (seed, step) on any number of processes."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np

from nanojaxlm.batch import Batch
from nanojaxlm.data.draws import Draws
from nanojaxlm.data.objectives import CausalLM, Objective
from nanojaxlm.data.objectives.rows import Lengths, Rows, Setting
from nanojaxlm.data.schedule import BatchSizes, Schedule
from nanojaxlm.data.source import BatchSource, RowSource
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import TokenStore
from nanojaxlm.typed_config import KIND, to_plain

_VALIDATION_SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the tokens come from, and how they become batches."""

    stores: tuple[str, ...] = ()  # token stores: folders or URLs
    weights: tuple[float, ...] = ()  # rows drawn from each store; empty = all of all, once an epoch
    text: str | None = None  # instead of stores: a text file, one token a character
    validation_rate: float = 0.1  # of a text: the part at its end held out
    train_split: str = "train"
    validation_split: str = "validation"
    sequence_length: int = 512  # tokens a row that the model reads
    batch_size: int = 32  # rows a step, over all processes
    batch_warmup: tuple[tuple[int, int], ...] = ()  # (step, rows), …: so many a step before it
    objective: Objective = dataclasses.field(default_factory=CausalLM)
    prefetch: int = 4  # batches read ahead in each process
    num_threads: int = 2  # batches read at a time in each process

    def __post_init__(self):
        if self.stores and self.text is not None:
            raise ValueError("stores and text are both given; name only one of them")
        if self.weights and len(self.weights) != len(self.stores):
            raise ValueError(
                f"weights must be one for each of the {len(self.stores)} stores, or empty, got "
                f"{len(self.weights)}"
            )
        if any(not 0 < weight < float("inf") for weight in self.weights):
            raise ValueError(f"weights must be above 0, got {self.weights}; leave that store out")
        if not 0 < self.validation_rate < 1:
            raise ValueError(
                f"validation_rate must be between 0 and 1, got {self.validation_rate}; 0.1 is usual"
            )
        for name in ("sequence_length", "batch_size", "prefetch", "num_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.prefetch < self.num_threads:
            raise ValueError(
                f"prefetch must be >= num_threads ({self.num_threads}), got {self.prefetch}; "
                "a thread without a batch to read would be idle"
            )
        for name in ("train_split", "validation_split"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name a split, got ''")
        assert self.sizes  # refuses a warm-up that does not grow
        assert self.lengths  # the objective refuses a sequence_length that it cannot serve

    @property
    def lengths(self) -> Lengths:
        """Of the rows of text, and of what encoder and decoder read."""
        return self.objective.lengths(self.sequence_length)

    @property
    def sizes(self) -> BatchSizes:
        """Rows of each step's batch."""
        return BatchSizes(final=self.batch_size, warmup=self.batch_warmup)


class Batches(Iterator[Batch]):
    """Global batches, one a step; the same ones whatever the number of processes and devices.

    next_step: the step whose batch comes next. num_batches: how many there are, None = no end.
    """

    def __init__(
        self,
        source: BatchSource,
        config: DataConfig,
        sizes: BatchSizes,
        corrupt: "_Corrupt",
        sharding: jax.sharding.Sharding,
        local: Mapping[int, "_LocalRows"],
        identity: dict[str, Any],
        num_batches: int | None,
    ):
        """Made by make_batches and validation_batches."""
        self._sharding, self._local, self._identity = sharding, local, identity
        self._sizes = sizes
        self.num_batches = num_batches
        options = grain.ReadOptions(
            num_threads=config.num_threads, prefetch_buffer_size=config.prefetch
        )
        dataset = grain.MapDataset.source(source).map(corrupt)
        self._batches = iter(dataset.to_iter_dataset(options))

    @property
    def next_step(self) -> int:
        return self._batches.get_state()["next_index"]

    def __next__(self) -> Batch:
        """The next global batch: int32 and float32 [B, T] arrays with the sharding asked for."""
        rows = self._sizes.of(self.next_step)
        return jax.tree.map(lambda local: self._as_global(local, rows), next(self._batches))

    def get_state(self) -> dict[str, Any]:
        """JSON values: the next step, and what the batches are made of. The same on any process."""
        return {"next_step": self.next_step, **self._identity}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to the step of a state, in O(1).

        Raises:
            UserError: the state is of batches made of other data, or in another way.
        """
        for name, value in self._identity.items():
            if state.get(name) != value:
                raise UserError(
                    f"the checkpoint's batches have {name} {state.get(name)}, but the config and "
                    f"its stores give {value}; restore what they were, or start another workdir"
                )
        self.seek(state["next_step"])

    def seek(self, step: int) -> None:
        """Makes `step` the next one, in O(1)."""
        self._batches.set_state({"next_index": step})

    def close(self) -> None:
        """Stops reading ahead."""
        self._batches.close()

    def _as_global(self, local: np.ndarray, num_rows: int) -> jax.Array:
        return jax.make_array_from_callback(
            (num_rows, local.shape[1]),
            self._sharding,
            lambda index: self._local[num_rows].take(local, index),
        )


def make_batches(
    config: DataConfig,
    stores: Sequence[TokenStore],
    sharding: jax.sharding.Sharding,
    *,
    seed: int,
    vocabulary: Vocabulary,
    start_step: int = 0,
) -> Batches:
    """The endless sequence of training batches.

    Element `step` holds the places after those of the steps before it in the schedule of `seed`, so
    it does not depend on the processes; each reads only the rows that its devices hold under
    `sharding`, the sharding of the [B, T] arrays. The objective's ids follow the vocabulary's.

    Raises:
        UserError: fewer rows of text than a batch holds, an empty store, or impossible weights.
    """
    sources = _row_sources(config, stores, config.train_split)
    total = sum(len(source) for source in sources)
    if total < config.batch_size:
        tokens = sum(store.split(config.train_split).num_tokens for store in stores)
        raise UserError(
            f"{tokens} training tokens make {total} rows of {config.lengths.row}, fewer than "
            f"config.data.batch_size = {config.batch_size}; lower batch_size or sequence_length, "
            "or add text"
        )
    if config.weights:
        groups, weights = [[source] for source in sources], config.weights
        for store, source in zip(stores, sources, strict=True):
            if not len(source):
                raise UserError(f"{store.path} has no {config.train_split} tokens; leave it out")
    else:
        groups, weights = [[source for source in sources if len(source)]], (1.0,)
    try:
        schedule = Schedule([sum(map(len, group)) for group in groups], weights, seed)
    except ValueError as error:
        raise UserError(f"config.data.weights: {error}") from None
    identity = _identity(config, stores, config.train_split) | {"seed": seed}
    corrupt = _Corrupt(config, vocabulary, seed)
    batches = _batches(config, config.sizes, groups, schedule, corrupt, sharding, identity, None)
    batches.seek(start_step)
    return batches


def validation_batches(
    config: DataConfig,
    stores: Sequence[TokenStore],
    sharding: jax.sharding.Sharding,
    vocabulary: Vocabulary,
) -> Batches:
    """One pass over the validation split, in order; the last batch ends in rows of weight 0.

    What the objective draws at random is the same in every pass and every run.

    Raises:
        UserError: there are no validation tokens.
    """
    name = config.validation_split
    sources = [source for source in _row_sources(config, stores, name) if len(source)]
    if not sources:
        raise UserError(
            f"no store has tokens in its split {name!r}; name another "
            "config.data.validation_split, or hold out more documents"
        )
    num_batches = -(-sum(map(len, sources)) // config.batch_size)
    identity = _identity(config, stores, name)
    corrupt = _Corrupt(config, vocabulary, _VALIDATION_SEED)
    sizes = BatchSizes(final=config.batch_size)
    return _batches(config, sizes, [sources], None, corrupt, sharding, identity, num_batches)


def _row_sources(config: DataConfig, stores: Sequence[TokenStore], split: str) -> list[RowSource]:
    lengths = config.lengths
    return [RowSource(store.split(split), lengths.row, lengths.ahead) for store in stores]


def _batches(
    config: DataConfig,
    sizes: BatchSizes,
    groups: Sequence[Sequence[RowSource]],
    schedule: Schedule | None,
    corrupt: "_Corrupt",
    sharding: jax.sharding.Sharding,
    identity: dict[str, Any],
    num_batches: int | None,
) -> Batches:
    local = {size: _LocalRows(sharding, (size, config.sequence_length)) for size in sizes.each}
    rows = {size: one.rows for size, one in local.items()}
    source = BatchSource(groups, schedule, sizes, rows)
    return Batches(source, config, sizes, corrupt, sharding, local, identity, num_batches)


def _identity(config: DataConfig, stores: Sequence[TokenStore], split: str) -> dict[str, Any]:
    """What the batches are a function of, besides the step; independent of paths."""
    digests = [store.manifest.splits[split].digest for store in stores]
    data = json.dumps([digests, list(config.weights)])
    return {
        "data": hashlib.sha256(data.encode()).hexdigest()[:16],
        "sequence_length": config.sequence_length,
        "batch_size": [*map(list, config.batch_warmup), config.batch_size]
        if config.batch_warmup
        else config.batch_size,
        "objective": {KIND: type(config.objective).__name__} | to_plain(config.objective),
    }


class _Corrupt:
    """The objective, as it runs in the threads of the pipeline."""

    def __init__(self, config: DataConfig, vocabulary: Vocabulary, seed: int):
        self._objective, self._seed = config.objective, seed
        extra_ids = {
            name: vocabulary.size + i for i, name in enumerate(config.objective.extra_tokens)
        }
        self._setting = Setting(vocabulary, extra_ids, config.sequence_length)

    def __call__(self, element: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Batch:
        tokens_BS, segments_BS, places_B = element
        rows = Rows(tokens_BS, segments_BS, Draws.of(self._seed, places_B))
        return self._objective.batch(rows, self._setting)


class _LocalRows:
    """Which rows of a global array the devices of this process hold, and where they are here."""

    def __init__(self, sharding: jax.sharding.Sharding, shape: tuple[int, int]):
        self._num_rows = shape[0]
        indices = sharding.addressable_devices_indices_map(shape).values()
        held = {index[0].indices(shape[0])[:2] for index in indices if index is not None}
        self.rows = np.unique(np.concatenate([np.arange(*span) for span in held]))

    def take(self, local: np.ndarray, index: tuple[slice, ...] | None) -> np.ndarray:
        """The part of the global array at `index`, from this process's rows of it."""
        assert index is not None  # only of a device that holds nothing
        start, stop, _ = index[0].indices(self._num_rows)
        return local[slice(*np.searchsorted(self.rows, (start, stop))), index[1]]
