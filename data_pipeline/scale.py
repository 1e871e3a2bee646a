"""Time and memory of a curation as its input grows: python -m data_pipeline.scale --output=DIR.

    python -m data_pipeline.scale --gigabytes=0.1 --gigabytes=1 --gigabytes=10 --output=DIR

Makes a corpus of each size by repeating documents with changes (of a copy, about every eighth
word; some are copied exactly, some all but), curates it with configs/curation/scale.py, and watches
the resident memory of all processes. Prints a line a size, and writes DIR/scale.json with the curve
of every run. Exit codes: 0 done, 2 a mistake in the command, else that of the curation.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from data_pipeline import readers, report
from data_pipeline.engine import Tasks
from data_pipeline.listing import list_inputs
from data_pipeline.parts import write_json
from data_pipeline.readers import ReadConfig
from nanojaxlm import errors
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import parse_command_line

CONFIG = "configs/curation/scale.py"
SEED_BYTES, FILE_BYTES = 20 * 10**6, 100 * 10**6
CHANGE_EVERY = 8  # words, of a changed copy
EXACT_RATE, NEAR_RATE = 0.03, 0.03  # of documents that repeat an earlier one
SAMPLE_SECONDS = 0.5
_FLAGS = flags.FlagValues()
_GIGABYTES = flags.DEFINE_multi_float(
    "gigabytes", [0.1, 1.0], "Size of a corpus, in 10^9 bytes; repeat it.", flag_values=_FLAGS
)
_INPUT = flags.DEFINE_multi_string(
    "input", [], "Documents to repeat, as of data_pipeline.main.", flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string("output", None, "The folder to work in.", flag_values=_FLAGS)
_WORKERS = flags.DEFINE_integer("workers", 2, "Processes at work.", flag_values=_FLAGS)


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    if not _OUTPUT.value:
        raise UserError("--output is missing: name a folder on a disk with room")
    output, console = Path(_OUTPUT.value).resolve(), Console()
    output.mkdir(parents=True, exist_ok=True)
    console.print(report.versions(), highlight=False)
    documents = seed_documents(_INPUT.value)
    runs = []
    for gigabytes in sorted(_GIGABYTES.value):
        corpus = output / f"corpus-{gigabytes:g}"
        make_corpus(documents, corpus, int(gigabytes * 1e9), _WORKERS.value)
        runs.append(curate_and_watch(corpus, output / f"curation-{gigabytes:g}", _WORKERS.value))
        about = {"cores": os.cpu_count(), "workers": _WORKERS.value, "versions": report.versions()}
        write_json(about | {"runs": runs}, output / "scale.json")
        run = runs[-1]
        console.print(
            f"{run['bytes'] / 1e9:.2f} GB, {run['documents']:,} documents, kept {run['kept']:,}: "
            f"{run['seconds']:.0f} s, {run['bytes'] / 1e6 / run['seconds']:.1f} MB/s, peak memory "
            f"{run['peak_bytes'] / 1e9:.2f} GB",
            highlight=False,
            soft_wrap=True,
        )
        shutil.rmtree(corpus)


def seed_documents(inputs: Sequence[str]) -> list[list[str]]:
    """Words of documents, about SEED_BYTES of them."""
    found, size = [], 0
    config = ReadConfig()
    for task in readers.plan(list_inputs(inputs).files, SEED_BYTES, config):
        for batch in readers.read(task, config):
            for text in batch["text"].to_pylist():
                found.append(text.split(" "))
                size += len(text)
        if size > SEED_BYTES:
            break
    return found


def make_corpus(documents: list[list[str]], folder: Path, num_bytes: int, workers: int) -> None:
    """Writes folder/*.jsonl, num_bytes of text in all; the same for every number of workers."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    num_files = max(2, round(num_bytes / FILE_BYTES))
    write = partial(_write_file, documents, folder, num_bytes // num_files)
    Tasks(workers).map(write, list(range(num_files)))


def _write_file(documents: list[list[str]], folder: Path, num_bytes: int, number: int) -> None:
    rng = random.Random(number)
    vocabulary = [word for words in documents[:200] for word in words if word.isalpha()]
    with open(folder / f"{number:04d}.jsonl", "w", encoding="utf-8") as file:
        size = 0
        while size < num_bytes:
            text = _changed(rng.choice(documents), vocabulary, rng)
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            size += len(text)


def _changed(words: list[str], vocabulary: list[str], rng: random.Random) -> str:
    """A copy of a document: mostly with many changes, at times with a single one or none."""
    dice = rng.random()
    if dice < EXACT_RATE:
        return " ".join(words)
    words = list(words)
    changes = 1 if dice < EXACT_RATE + NEAR_RATE else 1 + len(words) // CHANGE_EVERY
    for _ in range(changes):
        words[rng.randrange(len(words))] = rng.choice(vocabulary)
    return " ".join(words)


def curate_and_watch(corpus: Path, folder: Path, workers: int) -> dict[str, Any]:
    """Curates a corpus in a process of its own; what it took, and its memory over time."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        *(sys.executable, "-m", "data_pipeline.main", f"--config={CONFIG}"),
        *(f"--input={corpus}", f"--output={folder}", f"--workers={workers}"),
    ]
    start, curve, ended = time.perf_counter(), [], threading.Event()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            curve.append((round(time.perf_counter() - start, 1), resident_bytes(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    if code:
        sys.exit(code)
    found = json.loads((folder / "report.json").read_text())
    stages = {stage["name"]: round(stage["seconds"], 1) for stage in found["stages"]}
    shutil.rmtree(folder)
    return {
        "bytes": found["read"]["bytes"],
        "documents": found["read"]["documents"],
        "kept": sum(split["documents"] for split in found["kept"].values()),
        "seconds": round(seconds, 1),
        "seconds_by_stage": {"read": round(found["read"]["seconds"], 1)} | stages,
        "peak_bytes": max((size for _, size in curve), default=0),
        "curve": curve[:: max(1, len(curve) // 200)],  # seconds, bytes
    }


def resident_bytes(pid: int) -> int:
    """Resident bytes of a process and all that it started; what they share counts once for each."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE")
            for thread in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
    return total


if __name__ == "__main__":
    errors.run(main, sys.argv)
