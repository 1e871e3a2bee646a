"""The ledger: one row for every document that went in, kept or dropped, by what and why.

    id, source, stage, reason, score        (stage, reason, score null: kept)

A file or record that could not be read has a row too, with the stage "read". The rows are in the
order of a hash of the id, whatever the parts were.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline import store
from data_pipeline.buckets import ORDER, Buckets, num_buckets_for, write_sorted
from data_pipeline.engine import Tasks
from data_pipeline.execute import FAILED, failure_reason
from data_pipeline.parts import PartFile, StoredPart

SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("source", pa.large_string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
    ]
)
ROWS_PER_FILE, ROWS_PER_BUCKET = 2_000_000, 250_000


def write(
    parts: Sequence[StoredPart],
    folders: Mapping[str, Path],
    work: Path,
    place: Path,
    tasks: Tasks,
) -> None:
    """Writes place/*.parquet.

    Args:
        parts: as the last stage left them; the accounts of what was read lie in their layers.
        folders: of the stages, by name; that of the tokenizer tells what it could not give back.
        work: a folder for intermediate files, shared by the workers.
        place: the folder to make.
        tasks: where parts are gone through.
    """
    work.mkdir(parents=True, exist_ok=True)
    tokenized = folders.get(store.STAGE)
    dropped = {} if tokenized is None else _dropped_by_tokenizer(tokenized)
    written = tasks.map(partial(_accounts, dropped, work), list(parts))
    read = parts[0].layers[0].folder
    failed = sorted(read.glob("task-*.failed.parquet"))
    written += tasks.map(partial(_failures, work), failed)
    files = tuple(path for path, _ in written)
    num_rows = sum(num for _, num in written)
    buckets = Buckets(files, num_buckets_for(num_rows, ROWS_PER_BUCKET))
    place.mkdir(parents=True)
    file, num_files = None, 0
    for bucket in range(buckets.num_buckets):
        if file is None:
            file = PartFile(place / f"part-{num_files:05d}.parquet", SCHEMA)
            num_files += 1
        file.write(buckets.read(bucket).select(SCHEMA.names))
        if file.num_rows >= ROWS_PER_FILE:
            file.close()
            file = None
    if file is not None:
        file.close()
    for path in files:
        path.unlink()


def _dropped_by_tokenizer(folder: Path) -> dict[str, tuple[str, float]]:
    """Reason and score by id: few, and known after the shuffle only, so not by part."""
    table = store.dropped_accounts(folder)
    columns = (table[name].to_pylist() for name in ("id", "reason", "score"))
    return {one: (reason, score) for one, reason, score in zip(*columns, strict=True)}


def _accounts(
    dropped: Mapping[str, tuple[str, float]], work: Path, part: StoredPart
) -> tuple[Path, int]:
    """What became of a part's documents, sorted."""
    accounts = [pa.table(batch).cast(SCHEMA) for batch in part.accounts()]
    table = pa.concat_tables([SCHEMA.empty_table(), *accounts])
    if dropped:
        rows = table.to_pylist()
        for row in rows:
            if row["stage"] is None and row["id"] in dropped:
                row["stage"], (row["reason"], row["score"]) = store.STAGE, dropped[row["id"]]
        table = pa.Table.from_pylist(rows, SCHEMA)
    return _sorted(table, work / f"{part.name}.arrow")


def _failures(work: Path, path: Path) -> tuple[Path, int]:
    """What could not be read, sorted."""
    table = pq.read_table(path, schema=FAILED)
    reasons = [failure_reason(error) for error in table["error"].to_pylist()]
    columns = {
        "id": table["id"],
        "source": table["source"],
        "stage": pa.array(["read"] * len(table), pa.string()),
        "reason": pa.array(reasons, pa.string()),
        "score": pa.nulls(len(table), pa.float64()),
    }
    return _sorted(pa.table(columns, schema=SCHEMA), work / f"{path.stem}.arrow")


def _sorted(table: pa.Table, path: Path) -> tuple[Path, int]:
    """Writes rows in the order of the ledger; where, and how many."""
    order = [
        int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8).digest(), "big")
        for one in table["id"].to_pylist()
    ]
    write_sorted(table.append_column(ORDER, pa.array(np.array(order, np.uint64))), path)
    return path, len(table)
