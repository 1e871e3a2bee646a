"""A global shuffle, weights of sources, and the validation split, all by hashes of the text alone.

A document's place depends on its text and the seed, not on file names, order or the other
documents: adding inputs moves no document from one split into the other.
"""

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.buckets import ORDER, TOP, Buckets, num_buckets_for, write_sorted
from data_pipeline.document import SCHEMA, Verdicts, text_bytes
from data_pipeline.engine import Tasks
from data_pipeline.parts import write_json
from data_pipeline.stage import Documents, Judged
from nanojaxlm.errors import UserError

SPLITS = ("train", "validation")
SINGLE_DOCUMENT_RATE = 0.1  # at least so much of a single document is held out
# Of text in a bucket, which is in memory whole; a small corpus has eight, so that there is one for
# every worker. Nothing but the documents may decide it: a bucket is a file of documents.
BUCKET_BYTES, SMALL_BUCKET_BYTES, FEW_BUCKETS = 64 * 2**20, 4 * 2**20, 8
_FILE_BYTES = 64 * 2**20  # of text; what a worker sorts at once
SPLIT, COPY = "split", "copy"
_PLACED = (
    SCHEMA.append(pa.field(ORDER, pa.uint64()))
    .append(pa.field(SPLIT, pa.uint64()))
    .append(pa.field(COPY, pa.uint16()))
)


@dataclass(frozen=True, kw_only=True)
class SourceWeight:
    """How often the documents of a source are trained on.

    pattern: a glob over a document's source, such as "*/wiki/*"; the first that fits decides.
    weight: 2.5 = twice, and half of them three times; 0.1 = a tenth of them; 0 = none.
    """

    pattern: str
    weight: float

    def __post_init__(self):
        if not 0 <= self.weight <= 100:
            raise ValueError(f"weight of {self.pattern!r} is from 0 to 100, got {self.weight}")


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """validation_rate: the fraction of documents held out; weights: of sources, 1 by default."""

    validation_rate: float = 0.02
    weights: tuple[SourceWeight, ...] = ()
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.validation_rate < 1:
            raise ValueError(
                f"validation_rate must be above 0 and below 1, got {self.validation_rate}"
            )

    @property
    def limit(self) -> int:
        """A document whose split hash is below is held out."""
        return int(self.validation_rate * TOP)

    def copies(self, text: str, source: str) -> tuple[int, float]:
        """How often a document is stored, once at most if held out, and the weight that says so."""
        weight = next(
            (w.weight for w in self.weights if fnmatch.fnmatchcase(source, w.pattern)), 1.0
        )
        whole, part = divmod(weight, 1)
        drawn = part > 0 and _hashes(text, [self.seed, "weight"])[0] < part * TOP
        copies = int(whole) + drawn
        if copies > 1 and split_and_order(text, self.seed)[0] < self.limit:
            copies = 1
        return copies, weight


class Weights:
    """The stage that drops what its source's weight leaves out; `mix` repeats the others."""

    name, rewrites, files = "weights", False, ()

    def __init__(self, config: MixConfig):
        self.config = config

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Reasons "weight_0" and "not_sampled", score = the weight; a note of copies beyond one."""
        pairs = zip(batch["text"].to_pylist(), batch["source"].to_pylist(), strict=True)
        found = [self.config.copies(text, source) for text, source in pairs]
        copies = np.array([copies for copies, _ in found])
        weights = np.array([weight for _, weight in found])
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.drop("weight_0", weights == 0, weights)
        verdicts.drop("not_sampled", copies == 0, weights)
        more = np.array([str(c) if c > 1 else None for c in copies], object)
        return Judged(verdicts, notes={"copies": more})


def split_and_order(text: str, seed: int) -> tuple[int, int]:
    """Two independent uniform uint64 of a text: one decides its split, the other its place."""
    return _hashes(text, seed)


def _hashes(text: str, key: Any) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode(), digest_size=16, key=json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


@dataclass(frozen=True)
class Mixed:
    """The shuffled documents, of which those whose split hash is below `limit` are held out."""

    buckets: Buckets
    limit: int

    @property
    def num_buckets(self) -> int:
        return self.buckets.num_buckets

    def read(self, bucket: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """The documents of a bucket in their order, less than 64 MB of text.

        Returns:
            Documents of SCHEMA; held_out, bool [N]: for validation; again, bool [N]: a copy of one
            that has its first place elsewhere.
        """
        return self._read(bucket, SCHEMA.names)

    def train_texts(self) -> Iterator[str]:
        """The texts to train on, in their order."""
        for bucket in range(self.num_buckets):
            table, held_out, _ = self._read(bucket, ["text"])
            for batch in table.filter(pa.array(~held_out)).to_batches(max_chunksize=256):
                yield from batch["text"].to_pylist()

    def _read(self, bucket: int, columns: list[str]) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        table = self.buckets.read(bucket, [*columns, SPLIT, COPY])
        held_out = table[SPLIT].to_numpy() < np.uint64(min(self.limit, TOP - 1))
        again = table[COPY].to_numpy() > 0
        stay = ~(held_out & again)
        table = table.select(columns)
        if not stay.all():
            table = table.filter(pa.array(stay)).combine_chunks()
        return table, held_out[stay], again[stay]


def mix(parts: Sequence[Documents], config: MixConfig, folder: Path, tasks: Tasks) -> Mixed:
    """Gives every document its place; writes folder/PART-000.placed.arrow …

    Where no document falls below validation_rate, the one nearest to it is held out. A single
    document is cut at a line: its end is held out, a tenth of it at least.

    Raises:
        UserError: a single document of a single line.
    """
    if sum(part.num_documents for part in parts) == 1:
        placed = [_cut(next(p for p in parts if p.num_documents), config, folder)]
    else:
        placed = tasks.map(partial(_place, config, folder), list(parts))
    lowest = min(place["lowest"] for place in placed if place["lowest"] is not None)
    num_bytes = sum(place["bytes"] for place in placed)
    files = tuple(folder / name for place in placed for name in place["files"])
    bucket_bytes = min(BUCKET_BYTES, max(SMALL_BUCKET_BYTES, num_bytes // FEW_BUCKETS))
    buckets = Buckets(files, num_buckets_for(num_bytes, bucket_bytes))
    return Mixed(buckets, max(config.limit, lowest + 1))


def _place(config: MixConfig, folder: Path, part: Documents) -> dict[str, Any]:
    """Writes a part's documents with their places; a part that was placed is not placed again."""
    told = folder / f"{part.name}.placed.json"
    if told.is_file():
        return json.loads(told.read_text())
    files: list[str] = []
    waiting: list[pa.Table] = []
    lowest, num_bytes, waiting_bytes = None, 0, 0

    def write() -> None:
        nonlocal waiting_bytes
        files.append(f"{part.name}-{len(files):03d}.placed.arrow")
        write_sorted(pa.concat_tables([_PLACED.empty_table(), *waiting]), folder / files[-1])
        waiting.clear()
        waiting_bytes = 0

    for batch in part.batches():
        table, splits = _places(config, batch)
        lowest = min(splits) if lowest is None else min(lowest, *splits)
        size = text_bytes(table)
        if waiting and waiting_bytes + size > _FILE_BYTES:
            write()
        waiting.append(table)
        num_bytes, waiting_bytes = num_bytes + size, waiting_bytes + size
    if waiting or not files:
        write()
    result = {"files": files, "lowest": lowest, "bytes": num_bytes}
    write_json(result, told)
    return result


def _places(config: MixConfig, batch: pa.RecordBatch) -> tuple[pa.Table, list[int]]:
    """The documents of a batch as often as they are wanted, with their places; their splits."""
    texts, sources = batch["text"].to_pylist(), batch["source"].to_pylist()
    rows, orders, copies = [], [], []
    splits = []
    for row, (text, source) in enumerate(zip(texts, sources, strict=True)):
        split, order = split_and_order(text, config.seed)
        splits.append(split)
        for copy in range(config.copies(text, source)[0] if config.weights else 1):
            rows.append(row)
            orders.append(order if not copy else _hashes(text, [config.seed, copy])[1])
            copies.append(copy)
    table = pa.Table.from_batches([batch.select(SCHEMA.names)])
    if rows != list(range(len(batch))):
        table = table.take(pa.array(rows, pa.int64()))
    columns = ((ORDER, orders), (SPLIT, [splits[row] for row in rows]), (COPY, copies))
    for name, values in columns:
        field = _PLACED.field(name)
        table = table.append_column(field, pa.array(values, field.type))
    return table, splits


def _cut(part: Documents, config: MixConfig, folder: Path) -> dict[str, Any]:
    """Places the beginning of a document for training, its end for validation."""
    document = next(part.batches()).to_pylist()[0]
    text = document["text"]
    wanted = int(len(text) * (1 - max(config.validation_rate, SINGLE_DOCUMENT_RATE)))
    cut = text.rfind("\n", 0, wanted) + 1 or text.find("\n", wanted, len(text) - 1) + 1
    if not cut:
        raise UserError(
            "one document of one line is left after curation, and nothing to hold out for "
            "validation: add inputs, or give one document a line as .jsonl"
        )
    pieces = zip(SPLITS, (text[:cut], text[cut:]), (TOP - 1, 0), strict=True)
    rows = [
        document
        | {"id": f"{document['id']}-{name}", "text": piece, ORDER: i, SPLIT: split, COPY: 0}
        for i, (name, piece, split) in enumerate(pieces)
    ]
    name = f"{part.name}.placed.arrow"
    write_sorted(pa.Table.from_pylist(rows, _PLACED), folder / name)
    return {"files": [name], "lowest": 0, "bytes": len(text.encode())}
