"""Stages: each judges all documents and leaves one table behind, written whole or not at all.

A stage's folder holds its input documents with `reason` and `score`: what it kept has no reason.
So nothing vanishes, and the next stage reads the rows without one. The folder is named by the
stage's key, a hash of everything that its output depends on; a folder that is there is finished.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.document import SCHEMA, write_documents
from data_pipeline.engine import DataFrame, col, daft

NUM_EXAMPLES, EXCERPT = 3, 300  # of a reason; characters
RESULT = "result.json"
# A stage's table; reason and score are null where the document was kept.
JUDGED = SCHEMA.append(pa.field("reason", pa.large_string())).append(
    pa.field("score", pa.float64())
)


class Stage(Protocol):
    """Judges documents; may rewrite their text."""

    name: str
    config: Any

    def judge(self, documents: DataFrame) -> DataFrame:
        """id, text, source -> id, text, source, reason, score; a null reason keeps."""
        ...


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What a finished stage did; dropped: documents a reason; examples: source and excerpt."""

    name: str
    seconds: float
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int
    dropped: Mapping[str, int]
    examples: Mapping[str, list[dict[str, str]]]


def stage_key(*parts: Any) -> str:
    """16 hex digits of JSON values: a stage's code name, its config, the key before it."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def finished(folder: Path) -> bool:
    return (folder / RESULT).is_file()


def load_result(folder: Path) -> Any:
    """What a finished stage left beside its table."""
    return json.loads((folder / RESULT).read_text())


def commit(partial: Path, folder: Path, result: Any) -> None:
    """Gives a written folder its final name: the moment from which the stage is finished."""
    (partial / RESULT).write_text(json.dumps(result))
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)


def fresh(folder: Path) -> Path:
    """An empty folder beside the final one, without what an interrupted run left."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def kept(folder: Path) -> DataFrame:
    """id, text, source of the documents that a finished stage let through."""
    frame = daft.read_parquet(str(folder / "*.parquet"))
    return frame.where(col("reason").is_null()).select("id", "text", "source")


def run_stage(stage: Stage, documents: DataFrame, folder: Path) -> StageResult:
    """Runs a stage unless its folder is finished already."""
    if finished(folder):
        return StageResult(**load_result(folder))
    start = time.perf_counter()
    partial = fresh(folder)
    write_documents(stage.judge(documents), partial, JUDGED)
    result = summarize(stage.name, partial, time.perf_counter() - start)
    commit(partial, folder, dataclasses.asdict(result))
    return result


def summarize(name: str, folder: Path, seconds: float) -> StageResult:
    """Counts a stage's table and picks examples, the smallest ids of each reason."""
    counts = {"in": [0, 0], "out": [0, 0]}
    dropped: dict[str, int] = {}
    candidates: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(8192):
            sizes = pc.binary_length(batch["text"])
            keep = pc.is_null(batch["reason"])
            counts["in"][0] += len(batch)
            counts["in"][1] += pc.sum(sizes).as_py() or 0
            counts["out"][0] += pc.sum(keep).as_py() or 0
            counts["out"][1] += pc.sum(sizes.filter(keep)).as_py() or 0
            out = batch.filter(pc.invert(keep))
            heads = pc.utf8_slice_codeunits(out["text"], 0, EXCERPT).to_pylist()
            columns = (out["reason"].to_pylist(), out["id"].to_pylist(), out["source"].to_pylist())
            for reason, id_, source, head in zip(*columns, heads, strict=True):
                dropped[reason] = dropped.get(reason, 0) + 1
                seen = candidates.setdefault(reason, [])
                seen.append((id_, {"source": source, "excerpt": head}))
                seen.sort(key=lambda item: item[0])
                del seen[NUM_EXAMPLES:]
    return StageResult(
        name=name,
        seconds=seconds,
        documents_in=counts["in"][0],
        documents_out=counts["out"][0],
        bytes_in=counts["in"][1],
        bytes_out=counts["out"][1],
        dropped=dict(sorted(dropped.items(), key=lambda item: -item[1])),
        examples={reason: [e for _, e in seen] for reason, seen in candidates.items()},
    )


def write_dropped(stages: Mapping[str, Path], folder: Path) -> None:
    """folder/STAGE.parquet: id, source, stage, reason, score, text of what each stage dropped."""
    folder.mkdir(parents=True)
    for name, source in stages.items():
        frame = daft.read_parquet(str(source / "*.parquet")).where(col("reason").not_null())
        table = frame.select(
            "id", "source", daft.lit(name).alias("stage"), "reason", "score", "text"
        ).sort("id")
        pq.write_table(table.to_arrow(), folder / f"{name}.parquet", compression="zstd")
