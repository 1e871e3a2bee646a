"""The same work done by datatrove, from files to files, to be compared with in one run."""

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def installed() -> bool:
    """Whether datatrove can be compared with; it is an extra of the tests, no dependency."""
    return importlib.util.find_spec("datatrove") is not None


def seconds_by_step(documents: Path, folder: Path, workers: int) -> dict[str, float]:
    """Seconds of the wall for filters, near_dedup and pii, each from JSON lines to JSON lines.

    Args:
        documents: a folder of .jsonl files with id and text.
        folder: an empty folder to work in.
        workers: processes at once; there should be as many files at least.
    """
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline import dedup, filters, formatters
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    num_files = len(list(documents.glob("*.jsonl")))
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    places = {name: str(folder / name) for name in ("signatures", "buckets", "clusters")}

    def run(name: str, pipeline: list[Any], tasks: int = num_files) -> None:
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=workers, logging_dir=str(folder / f"{name}-logs")
        ).run()

    def read() -> Any:
        return JsonlReader(str(documents))

    def filter_() -> None:
        steps = [
            filters.GopherQualityFilter(),
            filters.GopherRepetitionFilter(),
            filters.C4QualityFilter(filter_no_terminal_punct=False),
            filters.FineWebQualityFilter(),
        ]
        run("filter", [read(), *steps, JsonlWriter(str(folder / "filtered"), compression=None)])

    def near_dedup() -> None:
        signatures, buckets, clusters = places.values()
        run("signatures", [read(), dedup.MinhashDedupSignature(signatures, config)])
        run(
            "buckets",
            [dedup.MinhashDedupBuckets(signatures, buckets, config=config)],
            config.num_buckets,
        )
        run("clusters", [dedup.MinhashDedupCluster(buckets, clusters, config)], 1)
        writer = JsonlWriter(str(folder / "deduplicated"), compression=None)
        run("dedup", [read(), dedup.MinhashDedupFilter(clusters), writer])

    def pii() -> None:
        writer = JsonlWriter(str(folder / "scrubbed"), compression=None)
        run("pii", [read(), formatters.PIIFormatter(), writer])

    with _output_to(folder / "output.txt"):
        return {
            "filter": _seconds(filter_),
            "near_dedup": _seconds(near_dedup),
            "pii": _seconds(pii),
        }


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """What this process and its children print goes to a file: datatrove tells of every task."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    saved = [os.dup(1), os.dup(2)]
    with open(path, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            for number, copy in enumerate(saved, 1):
                os.dup2(copy, number)
                os.close(copy)
