"""A global shuffle and the validation split, both by a seeded hash of the text alone.

A document's place depends on its text and the seed, not on file names, order or the other
documents: adding inputs moves no document from one split into the other.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_pipeline.document import SCHEMA, DocumentWriter, write_documents
from data_pipeline.engine import DataFrame, DataType, Series, col, daft
from nanojaxlm.errors import UserError

SPLITS = ("train", "validation")
SINGLE_DOCUMENT_RATE = 0.1  # at least so much of a single document is held out
_TOP = 2**64


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """validation_rate: the fraction of documents held out."""

    validation_rate: float = 0.02
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.validation_rate < 1:
            raise ValueError(
                f"validation_rate must be above 0 and below 1, got {self.validation_rate}"
            )


def split_and_order(text: str, seed: int) -> tuple[int, int]:
    """Two independent uniform uint64 of a text: one decides its split, the other its place."""
    digest = hashlib.blake2b(text.encode(), digest_size=16, key=json.dumps(seed).encode()).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def mix(documents: DataFrame, config: MixConfig, folder: Path) -> dict[str, dict[str, int]]:
    """Writes folder/train/*.parquet and folder/validation/*.parquet, shuffled.

    Where no document falls below validation_rate, the one nearest to it is held out. A single
    document is cut at a line: its end is held out, a tenth of it at least.

    Returns:
        {split: {"documents", "bytes"}}.

    Raises:
        UserError: a single document of a single line.
    """
    row = DataType.struct({"split": DataType.uint64(), "order": DataType.uint64()})
    seed = config.seed

    @daft.func.batch(return_dtype=row, use_process=False, batch_size=1024)
    def place(texts: Series) -> Series:
        places = (split_and_order(text, seed) for text in texts.to_pylist())
        return Series.from_pylist([{"split": s, "order": o} for s, o in places], dtype=row)

    placed = documents.with_column("place", place(col("text")))
    placed = placed.select(
        "id",
        "text",
        "source",
        col("place").get("split").alias("split"),
        col("place").get("order").alias("order"),
    ).collect()
    if placed.count_rows() == 1:
        return _cut(placed.select("id", "text", "source").to_pylist()[0], config, folder)
    lowest = placed.agg(col("split").min()).to_pydict()["split"][0]
    limit = max(int(config.validation_rate * _TOP), lowest + 1)
    counts = {}
    for split in SPLITS:
        held_out = col("split") < daft.lit(limit).cast(DataType.uint64())
        chosen = placed.where(held_out if split == "validation" else ~held_out)
        chosen = chosen.sort(["order", "id"]).select("id", "text", "source")
        writer = write_documents(chosen, folder / split, SCHEMA)
        counts[split] = {"documents": writer.num_documents, "bytes": writer.num_bytes}
    return counts


def _cut(document: dict[str, str], config: MixConfig, folder: Path) -> dict[str, dict[str, int]]:
    """Writes the beginning of a document for training, its end for validation."""
    text = document["text"]
    wanted = int(len(text) * (1 - max(config.validation_rate, SINGLE_DOCUMENT_RATE)))
    cut = text.rfind("\n", 0, wanted) + 1 or text.find("\n", wanted, len(text) - 1) + 1
    if not cut:
        raise UserError(
            "one document of one line is left after curation, and nothing to hold out for "
            "validation: add inputs, or give one document a line as .jsonl"
        )
    counts = {}
    for split, part in zip(SPLITS, (text[:cut], text[cut:]), strict=True):
        writer = DocumentWriter(folder / split, SCHEMA)
        row = {"id": f"{document['id']}-{split}", "text": part, "source": document["source"]}
        writer.write(pa.Table.from_pylist([row], schema=SCHEMA))
        writer.close()
        counts[split] = {"documents": writer.num_documents, "bytes": writer.num_bytes}
    return counts
