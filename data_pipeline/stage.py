"""Stages: what judges documents, and what it says of them.

A `Stage` looks at one batch at a time. A `Comparison` looks at all documents: each batch gives
keys, `decide` compares them, and each batch is then judged with what was decided of its documents.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from data_pipeline.document import Verdicts
from data_pipeline.engine import Tasks


@dataclass(frozen=True)
class Judged:
    """What a stage says of a batch of N documents.

    verdicts: which are dropped, and why.
    texts, kinds: large_string [N], string [N]: what replaces text and kind; None = they stay. Only
        a stage that rewrites may give them.
    notes: name -> object [N] of str, int, float or None (nothing): written into the document's
        record and counted in the report; of a rewriting stage, examples of each are shown there.
    measures: name -> float [N], NaN = nothing: a histogram in the report.
    """

    verdicts: Verdicts
    texts: pa.Array | None = None
    kinds: pa.Array | None = None
    notes: Mapping[str, np.ndarray] = field(default_factory=dict)
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)


@runtime_checkable
class Stage(Protocol):
    """Judges documents, each on its own; may rewrite their text.

    Pickled to worker processes: what is costly to make or cannot travel is made there, when it is
    first needed. What it says of a document depends on nothing but that document, its config and
    its files.
    """

    @property
    def name(self) -> str:
        """The name of its field in CurationConfig."""
        ...

    @property
    def config(self) -> Any: ...

    @property
    def rewrites(self) -> bool:
        """Whether it may change texts or kinds."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Files beside the config that its verdicts depend on, such as a model."""
        ...

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Verdicts of documents of SCHEMA."""
        ...


@runtime_checkable
class Summarizing(Protocol):
    """A stage that says more of the whole than the counts of its notes do."""

    def details(self, notes: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
        """What the report shows; notes: {name: {value: documents}} of all that the stage noted."""
        ...


class Documents(Protocol):
    """The documents of one part of the corpus, to be read as often as wanted; can be pickled."""

    @property
    def name(self) -> str: ...

    @property
    def num_documents(self) -> int: ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of SCHEMA, of 4 MB of text or 1024 documents at most; a larger one is alone."""
        ...


class Part(Documents, Protocol):
    """A part whose keys were made."""

    @property
    def keys(self) -> Path:
        """The parquet file of what Comparison.keys gave for its batches, one after the other."""
        ...


@runtime_checkable
class Comparison(Protocol):
    """Judges documents by comparing them with each other; may rewrite their text."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> Any: ...

    @property
    def rewrites(self) -> bool: ...

    @property
    def files(self) -> tuple[str, ...]: ...

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What is compared of each document; the number of rows and the columns are its own."""
        ...

    def decide(self, parts: Sequence[Part], folder: Path, tasks: Tasks) -> dict[str, Any]:
        """Compares all; details for the report.

        Writes folder/PART.decisions.parquet for every part, a row a document, in their order. What
        it decides of a document may not depend on how documents fall into parts.
        """
        ...

    def judge(self, batch: pa.RecordBatch, decisions: pa.RecordBatch) -> Judged:
        """Verdicts of documents of SCHEMA, from the N rows that were decided of them."""
        ...


def decisions_path(folder: Path, part: Documents) -> Path:
    """Where `Comparison.decide` writes what it decided of a part."""
    return folder / f"{part.name}.decisions.parquet"


def stage_key(*values: Any) -> str:
    """16 hex digits of JSON values: a stage's name and config, the key before it, …"""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_key(path: str) -> str:
    """16 hex digits of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
