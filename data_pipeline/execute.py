"""Runs reading and stages part by part; what is finished is not run again.

A part is finished when its JSON file is there, a step when its result.json is; both are written
last, and whole. So a run that was killed at any moment goes on with the parts that are missing.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import contextlib
import dataclasses
import json
import pickle
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from data_pipeline import readers, tally
from data_pipeline.document import SCHEMA, Verdicts, text_bytes
from data_pipeline.engine import Tasks
from data_pipeline.listing import InputFile
from data_pipeline.parts import (
    VERDICTS,
    Layer,
    PartFile,
    Rows,
    StoredPart,
    rebatch,
    record_of,
    survivors,
    write_json,
    write_whole,
)
from data_pipeline.readers import ReadConfig, ReadTask
from data_pipeline.samples import Samples, merge_samples, samples_path
from data_pipeline.stage import Comparison, Judged, Stage, Summarizing, decisions_path

RESULT, PLAN = "result.json", "plan.pickle"
KEYS, DECISIONS = "keys", "decisions"
MAX_FAILURES = 1000  # that are told one by one; all of them are counted, and lie in the ledger
FAILED = pa.schema(
    [("id", pa.large_string()), ("source", pa.large_string()), ("error", pa.large_string())]
)


@dataclass(frozen=True)
class StageResult:
    """What a finished stage did.

    seconds: of the wall, of the run that finished it. tally: see `Tally.plain`. details: what a
    comparison says of itself. examples: {reason: [{id, source, score, excerpt}]}.
    """

    name: str
    seconds: float
    tally: dict[str, Any]
    details: dict[str, Any]
    examples: dict[str, list[dict[str, Any]]]

    @property
    def dropped(self) -> dict[str, int]:
        return self.tally["dropped"]


@dataclass(frozen=True)
class Runner:
    """Where steps are run, and how large parts are; neither changes what comes out."""

    tasks: Tasks
    part_bytes: int
    console: Console

    def spread(self, name: str, function: Callable[[Any], None], items: Sequence[Any]) -> None:
        """Runs a function on every item; shows how far it is to who looks on."""
        done = self.tasks.imap(function, items)
        shown = self.console.is_terminal and len(items) > 1
        for _ in track(
            done, name, len(items), console=self.console, transient=True, disable=not shown
        ):
            pass

    def read(
        self, files: Sequence[InputFile], config: ReadConfig, folder: Path
    ) -> tuple[dict[str, Any], list[StoredPart]]:
        """Reads files into parts; what was read, counted, and the parts."""
        if not (folder / RESULT).is_file():
            start = time.perf_counter()
            folder.mkdir(parents=True, exist_ok=True)
            plan = self._plan(files, config, folder)
            tasks = [(i, task) for i, task in enumerate(plan) if not _counts(folder, i).is_file()]
            self.spread("read", partial(read_task, config, folder, self.part_bytes), tasks)
            counts = [json.loads(_counts(folder, i).read_text()) for i in range(len(plan))]
            write_json(_read_result(folder, counts, time.perf_counter() - start), folder / RESULT)
        result = json.loads((folder / RESULT).read_text())
        layers = (Layer("read", folder, True),)
        return result, [StoredPart(p["name"], p["documents"], layers) for p in result.pop("parts")]

    def _plan(self, files: Sequence[InputFile], config: ReadConfig, folder: Path) -> list[ReadTask]:
        """How the files are shared out: as an interrupted run did, whatever its part_bytes."""
        path = folder / PLAN
        if not path.is_file():
            write_whole(pickle.dumps(readers.plan(files, self.part_bytes, config)), path)
        return pickle.loads(path.read_bytes())

    def run_stage(
        self, stage: Stage | Comparison, parts: Sequence[StoredPart], folder: Path
    ) -> tuple[StageResult, list[StoredPart]]:
        """Runs a stage on the parts; what it did, and the parts after it."""
        if not (folder / RESULT).is_file():
            start = time.perf_counter()
            folder.mkdir(parents=True, exist_ok=True)
            details = self._compare(stage, parts, folder) if isinstance(stage, Comparison) else {}
            todo = [part for part in parts if not (folder / f"{part.name}.json").is_file()]
            self.spread(stage.name, partial(judge_part, stage, folder), todo)
            tallies = [json.loads((folder / f"{p.name}.json").read_text()) for p in parts]
            total = tally.merged(tallies)
            if isinstance(stage, Summarizing):
                details |= stage.details(total["notes"])
            result = StageResult(
                name=stage.name,
                seconds=time.perf_counter() - start,
                tally=total,
                details=details,
                examples=merge_samples(folder, [part.name for part in parts]),
            )
            write_json(dataclasses.asdict(result), folder / RESULT)
            for work in (KEYS, DECISIONS):
                shutil.rmtree(folder / work, ignore_errors=True)
            for part in parts:
                samples_path(folder, part.name).unlink(missing_ok=True)
        layer = Layer(stage.name, folder, stage.rewrites)
        after = []
        for part in parts:
            left = json.loads((folder / f"{part.name}.json").read_text())["documents_out"]
            after.append(StoredPart(part.name, left, (*part.layers, layer)))
        return StageResult(**json.loads((folder / RESULT).read_text())), after

    def _compare(
        self, stage: Comparison, parts: Sequence[StoredPart], folder: Path
    ) -> dict[str, Any]:
        decided = folder / "decided.json"
        if not decided.is_file():
            keys, decisions = folder / KEYS, folder / DECISIONS
            keys.mkdir(exist_ok=True)
            keyed = [dataclasses.replace(part, keys_folder=keys) for part in parts]
            missing = [part for part in keyed if not part.keys.is_file()]
            self.spread(stage.name, partial(write_keys, stage), missing)
            shutil.rmtree(decisions, ignore_errors=True)
            decisions.mkdir()
            write_json(stage.decide(keyed, decisions, self.tasks), decided)
        return json.loads(decided.read_text())


def _counts(folder: Path, task: int) -> Path:
    return folder / f"task-{task:05d}.json"


def read_task(
    config: ReadConfig, folder: Path, part_bytes: int, task: tuple[int, ReadTask]
) -> None:
    """Reads one task's documents into parts of about part_bytes of text, its failures beside."""
    number, what = task
    start = time.perf_counter()
    counted, parts, file, reasons = tally.Tally(), [], None, Counter()
    reading = readers.read(what, config)
    with PartFile(folder / f"task-{number:05d}.failed.parquet", FAILED) as failed:
        try:
            for batch in rebatch(reading):
                bad = pc.is_valid(batch["error"])
                failures = batch.filter(bad).select(FAILED.names)
                failed.write(failures)
                reasons.update(failure_reason(error) for error in failures["error"].to_pylist())
                good = batch.filter(pc.invert(bad)).select(SCHEMA.names)
                if not len(good):
                    continue
                if file is not None and parts[-1]["bytes"] >= part_bytes:
                    file.close()
                    file = None
                if file is None:
                    name = f"part-{number:05d}-{len(parts):03d}"
                    file = PartFile(folder / f"{name}.parquet", SCHEMA)
                    parts.append({"name": name, "documents": 0, "bytes": 0})
                file.write(good)
                kinds = good["kind"].to_numpy(False)
                kept = Verdicts.keep_all(len(good))
                counted.add(good, Judged(kept, notes={"kind": kinds}))
                parts[-1]["documents"] += len(good)
                parts[-1]["bytes"] += text_bytes(good)
        finally:
            if file is not None:
                file.close()
    counted.plain["worker_seconds"] = time.perf_counter() - start
    counts = {
        "parts": parts,
        "tally": counted.plain,
        "failed_by_reason": dict(reasons),
        "skipped": dict(reading.skipped),
    }
    write_json(counts, _counts(folder, number))


def failure_reason(error: str) -> str:
    """The name before the colon of what a reader says of a failure."""
    return error.split(":", 1)[0]


def _read_result(folder: Path, counts: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    total = tally.merged([count["tally"] for count in counts])
    reasons, skipped = Counter[str](), Counter[str]()
    failed: list[dict[str, str]] = []
    for number, count in enumerate(counts):
        reasons.update(count["failed_by_reason"])
        skipped.update(count["skipped"])
        if count["failed_by_reason"]:
            failed += pq.read_table(
                folder / f"task-{number:05d}.failed.parquet", columns=["source", "error"]
            ).to_pylist()
            failed = sorted(failed, key=lambda failure: failure["source"])[:MAX_FAILURES]
    return {
        "documents": total["documents_in"],
        "bytes": total["bytes_in"],
        "seconds": seconds,
        "failed": failed,
        "failed_by_reason": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "skipped": dict(skipped),
        "tally": total,
        "parts": [part for count in counts for part in count["parts"]],
    }


def write_keys(stage: Comparison, part: StoredPart) -> None:
    """Writes what a comparison compares of a part."""
    file = None
    for batch in part.batches():
        keys = stage.keys(batch)
        file = file or PartFile(part.keys, keys.schema)
        file.write(keys)
    if file is None:  # every document was dropped: its keys are those of no document
        file = PartFile(part.keys, stage.keys(pa.RecordBatch.from_pylist([], SCHEMA)).schema)
    file.close()


def judge_part(stage: Stage | Comparison, folder: Path, part: StoredPart) -> None:
    """Judges a part's documents: verdicts, what is left if it rewrites, samples, counts."""
    start = time.perf_counter()
    layer = Layer(stage.name, folder, stage.rewrites)
    counted, samples = tally.Tally(), Samples(stage.name)
    with contextlib.ExitStack() as stack:
        verdicts = stack.enter_context(PartFile(layer.verdicts(part.name), VERDICTS))
        left = None
        if stage.rewrites:
            left = stack.enter_context(PartFile(layer.documents(part.name), SCHEMA))
        for batch, judged in judge_batches(stage, folder, part):
            table = verdicts_table(stage.name, judged)
            verdicts.write(table)
            counted.add(batch, judged)
            samples.add(batch, judged.verdicts)
            if left is not None:
                left.write(survivors(rewritten(batch, judged), table))
    samples.write(folder, part.name)
    counted.plain["worker_seconds"] = time.perf_counter() - start
    write_json(counted.plain, folder / f"{part.name}.json")


def judge_batches(
    stage: Stage | Comparison, folder: Path, part: StoredPart
) -> Iterator[tuple[pa.RecordBatch, Judged]]:
    """A part's batches and what a stage says of them."""
    if isinstance(stage, Comparison):  # asked first: it has all that a Stage has, and more
        rows = Rows(pq.read_table(decisions_path(folder / DECISIONS, part), memory_map=True))
        for batch in part.batches():
            decisions = rows.next(len(batch)).combine_chunks().to_batches()[0]
            yield batch, stage.judge(batch, decisions)
    else:
        for batch in part.batches():
            yield batch, stage.judge(batch)


def verdicts_table(name: str, judged: Judged) -> pa.Table:
    """VERDICTS of a batch."""
    verdicts, num = judged.verdicts, len(judged.verdicts.reason)
    return pa.table(
        {
            "reason": pa.array(verdicts.reason, pa.string()),
            "score": pa.array(verdicts.score, pa.float64(), mask=np.isnan(verdicts.score)),
            "notes": record_of(name, judged.notes, num),
        },
        schema=VERDICTS,
    )


def rewritten(batch: pa.RecordBatch, judged: Judged) -> pa.RecordBatch:
    """The batch with a stage's texts and kinds."""
    for name, values in (("text", judged.texts), ("kind", judged.kinds)):
        if values is not None:
            place, field = SCHEMA.get_field_index(name), SCHEMA.field(name)
            batch = batch.set_column(place, field, values.cast(field.type))
    return batch
