"""How fast curation is, stage by stage, and against datatrove on the same documents.

    python -m data_pipeline.benchmark
    python -m data_pipeline.benchmark --input=DOCS --megabytes=50 --workers=2

Without --input, the documents are the text of this Python installation. Every stage is timed
alone, on one core, over the same documents in memory. Where datatrove is installed (an extra of
the tests), its filters, MinHash and PII stages are then run on the same files with the same number
of workers as ours, from files to files, and the ratio printed.
Exit codes: 0 done, 2 a mistake in the command.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from absl import flags
from rich.console import Console
from rich.table import Table

from data_pipeline import peer, readers, report
from data_pipeline.config import CurationConfig
from data_pipeline.curate import Execution, curate
from data_pipeline.decontaminate import DecontaminateConfig
from data_pipeline.dedup.minhash import MinHashConfig
from data_pipeline.dedup.paragraphs import ParagraphConfig
from data_pipeline.dedup.substring import SubstringConfig
from data_pipeline.document import HTML, SCHEMA, text_bytes
from data_pipeline.engine import Tasks
from data_pipeline.evaluation_sets import EvalSet
from data_pipeline.execute import DECISIONS, judge_batches, write_keys
from data_pipeline.filters import perplexity, quality
from data_pipeline.filters.lines import LinesConfig
from data_pipeline.filters.perplexity import PerplexityConfig
from data_pipeline.filters.quality import QualityConfig
from data_pipeline.filters.rules import (
    C4Quality,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    HeuristicConfig,
)
from data_pipeline.language import LanguageConfig
from data_pipeline.listing import list_inputs
from data_pipeline.parts import Layer, PartFile, StoredPart, rebatch
from data_pipeline.pii import PiiConfig
from data_pipeline.readers import ReadConfig
from data_pipeline.stage import Comparison, Stage
from nanojaxlm import errors
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import parse_command_line

_FLAGS = flags.FlagValues()
_INPUT = flags.DEFINE_multi_string("input", [], "As of data_pipeline.main.", flag_values=_FLAGS)
_MEGABYTES = flags.DEFINE_float(
    "megabytes", 20.0, "How much text is taken, in 10^6 bytes.", flag_values=_FLAGS
)
_WORKERS = flags.DEFINE_integer(
    "workers", 2, "Processes of the runs from files to files.", flag_values=_FLAGS
)
READ = ReadConfig()
# The rules that datatrove is asked for too (peer.py).
PUBLISHED = HeuristicConfig(
    gopher_quality=GopherQuality(),
    gopher_repetition=GopherRepetition(),
    c4=C4Quality(end_punctuation=False),
    fineweb=FineWebQuality(),
    prose=None,
    code=None,
)


@dataclass(frozen=True)
class Timed:
    """How long so much text took; `beside`: seconds of datatrove for the same, None = not run."""

    name: str
    seconds: float
    num_documents: int
    num_bytes: int
    beside: float | None = None

    def row(self) -> tuple[str, ...]:
        ratio = f"{self.beside / self.seconds:.1f}x" if self.beside else "-"
        return (
            self.name,
            f"{self.num_bytes / 1e6 / self.seconds:,.1f}",
            f"{self.num_documents / self.seconds:,.0f}",
            f"{self.num_bytes / 1e6 / self.beside:,.2f}" if self.beside else "-",
            ratio,
        )


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    if _MEGABYTES.value <= 0 or _WORKERS.value < 1:
        raise UserError("--megabytes must be > 0, and --workers >= 1")
    console = Console()
    console.print(report.versions(), highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        start = time.perf_counter()
        batches = take(_INPUT.value, int(_MEGABYTES.value * 1e6))
        table = pa.Table.from_batches(batches)
        size = text_bytes(table)
        console.print(
            f"{len(table):,} documents, {size / 1e6:.1f} MB, read in "
            f"{time.perf_counter() - start:.1f} s; {len(os.sched_getaffinity(0))} cores",
            highlight=False,
        )
        stages = [
            time_stage(stage, batches, work / stage.name) for stage in stages_of(batches, work)
        ]
        _print(console, "Each stage alone, on one core, in memory", stages)
        compared = compare(table, work, _WORKERS.value)
        title = f"From files to files, {_WORKERS.value} workers, beside datatrove"
        _print(console, title, compared)
    if not peer.installed():
        console.print("datatrove is not installed: pip install -e '.[test]' to compare with it")


def take(inputs: Sequence[str], num_bytes: int) -> list[pa.RecordBatch]:
    """Documents of the inputs, about num_bytes of them, spread over all files."""
    files = list_inputs(inputs).files
    total = sum(file.size for file in files)
    step = max(1, total // max(num_bytes, 1) // 4)
    batches, size = [], 0
    for task in readers.plan(files[::step], num_bytes, READ):
        for batch in rebatch(readers.read(task, READ)):
            good = batch.filter(pc.is_null(batch["error"])).select(SCHEMA.names)
            batches.append(good)
            size += text_bytes(good)
            if size >= num_bytes:
                return list(rebatch(batches))
    return list(rebatch(batches))


def stages_of(batches: Sequence[pa.RecordBatch], work: Path) -> list[Stage | Comparison]:
    """Every stage, those that need files taught on these documents; extraction where pages are."""
    texts = [text for batch in batches[:4] for text in batch["text"].to_pylist()]
    classifier, surprise, sentences = (work / name for name in ("q.npz", "p.npz", "sentences.txt"))
    classifier.write_bytes(quality.train(texts[::2], texts[1::2]))
    surprise.write_bytes(perplexity.train(texts))
    backwards = (" ".join(text.split()[40:0:-1]) for text in texts)  # looked for, but not there
    sentences.write_text("\n".join(backwards), encoding="utf-8")
    config = CurationConfig(
        language=LanguageConfig(),
        lines=LinesConfig(),
        filter=PUBLISHED,
        quality=QualityConfig(model=str(classifier)),
        perplexity=PerplexityConfig(model=str(surprise)),
        paragraph_dedup=ParagraphConfig(),
        substring_dedup=SubstringConfig(),
        pii=PiiConfig(),
        decontaminate=DecontaminateConfig(sets=(EvalSet(name="none", path=str(sentences)),)),
    )
    pages = any(HTML in batch["kind"].to_pylist() for batch in batches)
    return [stage for stage in config.stages() if pages or stage.name != "extraction"]


def time_stage(stage: Stage | Comparison, batches: Sequence[pa.RecordBatch], work: Path) -> Timed:
    """Seconds of one thread for all documents; a comparison's keys, decisions and verdicts."""
    if isinstance(stage, Comparison):
        work.mkdir(parents=True)
        layer = Layer("read", work, True)
        num = sum(len(batch) for batch in batches)
        part = StoredPart("part-00000-000", num, (layer,), keys_folder=work)
        with PartFile(layer.documents(part.name), SCHEMA) as file:
            for batch in batches:
                file.write(batch)
        start = time.perf_counter()
        write_keys(stage, part)
        decisions = work / DECISIONS
        decisions.mkdir()
        stage.decide([part], decisions, Tasks(0))
        for _ in judge_batches(stage, work, part):
            pass
    else:
        stage.judge(batches[0].slice(0, 1))  # what is loaded once is not counted
        start = time.perf_counter()
        for batch in batches:
            stage.judge(batch)
    seconds = time.perf_counter() - start
    return _timed(stage.name, seconds, batches)


def _timed(
    name: str, seconds: float, batches: Sequence[pa.RecordBatch], beside: float | None = None
) -> Timed:
    size = sum(text_bytes(batch) for batch in batches)
    return Timed(name, seconds, sum(len(batch) for batch in batches), size, beside)


def compare(table: pa.Table, work: Path, workers: int) -> list[Timed]:
    """Filters, MinHash and scrubbing, each and all, from JSON lines to documents, by both."""
    documents = work / "documents"
    documents.mkdir()
    rows = table.select(["id", "text"]).to_pylist()
    for number in range(workers):
        with open(documents / f"{number}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows[number::workers])
    theirs: dict[str, float] = {}
    if peer.installed():
        theirs = peer.seconds_by_step(documents, work / "peer", workers)
        theirs["filter + near_dedup + pii"] = sum(theirs.values())
    none = CurationConfig(
        extraction=None, exact_dedup=None, filter=None, near_dedup=None, tokenizer=None
    )
    configs = {
        "filter": dataclasses.replace(none, filter=PUBLISHED),
        "near_dedup": dataclasses.replace(none, near_dedup=MinHashConfig()),
        "pii": dataclasses.replace(none, pii=PiiConfig()),
        "filter + near_dedup + pii": dataclasses.replace(
            none, filter=PUBLISHED, near_dedup=MinHashConfig(), pii=PiiConfig()
        ),
    }
    timed = []
    for name, config in configs.items():
        execution = Execution(workers=workers, part_bytes=text_bytes(table) // (2 * workers) + 1)
        start = time.perf_counter()
        curate(config, [str(documents)], work / f"ours-{len(timed)}", execution=execution)
        seconds = time.perf_counter() - start
        timed.append(_timed(name, seconds, table.to_batches(), theirs.get(name)))
    return timed


def _print(console: Console, title: str, rows: Sequence[Timed]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("stage")
    for name in ("MB/s", "documents/s", "datatrove MB/s", "ratio"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row.row())
    console.print(table)


if __name__ == "__main__":
    errors.run(main, sys.argv)
