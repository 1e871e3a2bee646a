"""The same work done by datatrove, from files to files, to be compared with in one run.

In a process of its own, which forks its workers: nothing of ours runs beside it there.
"""

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS, OUTPUT = "seconds.json", "output.txt"


def installed() -> bool:
    """Whether datatrove can be compared with; it is an extra of the tests, no dependency."""
    return importlib.util.find_spec("datatrove") is not None


def seconds_by_step(documents: Path, folder: Path, workers: int) -> dict[str, float]:
    """Seconds of the wall for filter, near_dedup and pii, each from JSON lines to JSON lines.

    Args:
        documents: a folder of .jsonl files with id and text.
        folder: a folder to work in; what datatrove prints goes to output.txt there.
        workers: processes at once; there should be as many files at least.

    Raises:
        RuntimeError: datatrove failed; the end of what it printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "data_pipeline.peer", documents, folder, str(workers)]
    root = Path(__file__).parents[1]
    with open(folder / OUTPUT, "wb") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=root, check=False
        )
    if done.returncode:
        raise RuntimeError(f"datatrove failed: {(folder / OUTPUT).read_text()[-2000:]}")
    return json.loads((folder / SECONDS).read_text())


def _run_all(documents: Path, folder: Path, workers: int) -> dict[str, float]:
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
            pipeline,
            tasks=tasks,
            workers=workers,
            logging_dir=str(folder / f"{name}-logs"),
            start_method="fork",
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

    steps = {"filter": filter_, "near_dedup": near_dedup, "pii": pii}
    return {name: _seconds(work) for name, work in steps.items()}


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    _documents, _folder, _workers = sys.argv[1:]
    _found = _run_all(Path(_documents), Path(_folder), int(_workers))
    (Path(_folder) / SECONDS).write_text(json.dumps(_found))
