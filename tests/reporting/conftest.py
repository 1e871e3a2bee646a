"""Folders as a curation and a training run leave them, small, for the tests of the report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

WORDS = ["model", "token", "layer", "mask", "loss", "step", "batch", "cache"]
HOSTILE = "</pre><script>alert('x')</script>"


def prose(num_words: int, seed: int) -> str:
    chosen = np.random.default_rng(seed).integers(len(WORDS), size=num_words)
    return " ".join(WORDS[i] for i in chosen)


@pytest.fixture(scope="session")
def make_folders() -> Callable[..., tuple[Path, Path]]:
    """make_folders(root, bits_per_byte=…, num_steps=…) -> (curation folder, workdir) below root."""
    return make


def make(root: Path, *, bits_per_byte: float = 0.9, num_steps: int = 200) -> tuple[Path, Path]:
    """(curation folder, workdir) below `root`."""
    curation, workdir = root / "curation", root / "run"
    heldout = [prose(400, seed=1), prose(300, seed=2) + " ☃"]
    for split, texts in [
        ("train", [prose(900, seed=i) for i in range(3, 9)]),
        ("validation", heldout),
    ]:
        folder = curation / "documents" / split
        folder.mkdir(parents=True)
        table = pyarrow.table({"id": texts, "text": texts, "source": texts})
        pyarrow.parquet.write_table(table, folder / "part-0.parquet")
    write(curation / "report.json", curation_report())
    workdir.mkdir(parents=True)
    write(workdir / "config.json", {"seed": 0, "training": {"steps": num_steps}})
    write_lines(workdir / "metrics.jsonl", metrics(num_steps))
    write_lines(
        workdir / "samples.jsonl",
        [
            {"step": num_steps // 2, "prompt": "The ", "text": "The early sample"},
            {"step": num_steps, "prompt": "The ", "text": f"The last sample {HOSTILE}"},
            {"step": num_steps, "prompt": "def ", "text": "def area(self):\n    return 1\x1b[31m"},
        ],
    )
    write(
        workdir / "evaluation.json",
        {
            "step": num_steps,
            "store": str(curation / "store"),
            "split": "validation",
            "tokens": 1700,
            "bytes": sum(len(text.encode()) for text in heldout),
            "loss": 1.75,
            "bits_per_byte": bits_per_byte,
            "seconds": 1.5,
        },
    )
    run = {"seconds": 81.25, "peak_memory_bytes": 3 * 2**29, "exit_code": 0}
    broken_off = {"seconds": 20.0, "peak_memory_bytes": 2**30, "exit_code": 143}
    write(
        root / "timings.json",
        {
            "steps": [
                {
                    "name": "environment",
                    "command": [],
                    "runs": [{"seconds": 11.3, "peak_memory_bytes": 0, "exit_code": 0}],
                },
                {"name": "train", "command": ["python"], "runs": [broken_off, run]},
            ]
        },
    )
    return curation, workdir


def metrics(num_steps: int) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for step in range(1, num_steps + 1):
        record: dict[str, Any] = {
            "step": step,
            "loss": 2.0 + 6.0 * 0.98**step,
            "tokens_per_second": 20_000.0 + step % 3,
            "mfu": 0.25,
            "batch_hash": "ab12",
        }
        if step % 50 == 0:
            record |= {"validation_loss": 2.2 + 6.0 * 0.98**step, "validation_bits_per_byte": 1.0}
        records.append(record)
    return records


def curation_report() -> dict[str, Any]:
    def stage(name: str, before: int, dropped: dict[str, int], examples: dict[str, Any]):
        after = before - sum(dropped.values())
        return {
            "name": name,
            "seconds": 2.5,
            "documents_in": before,
            "documents_out": after,
            "bytes_in": before * 4000,
            "bytes_out": after * 4000,
            "dropped": dropped,
            "examples": examples,
        }

    hostile = [{"source": "a&b/<i>.html", "excerpt": f"Buy now {HOSTILE}"}]
    return {
        "inputs": ["python", "/data/<mine>"],
        "read": {
            "documents": 5321,
            "bytes": 21_284_000,
            "seconds": 4.0,
            "failed": [{"source": "bad.gz", "error": "the file ends too early"}],
        },
        "stages": [
            stage("language", 5321, {"not_english": 21}, {}),
            stage(
                "heuristics",
                5300,
                {"repeated_lines": 204, "too_short": 1096},
                {"too_short": hostile},
            ),
            stage("near_duplicates", 4000, {"near_duplicate": 777}, {}),
        ],
        "kept": {
            "train": {"documents": 3113, "bytes": 12_452_000, "tokens": 3_500_123},
            "validation": {"documents": 110, "bytes": 440_000, "tokens": 123_456},
        },
        "tokenizer": {"vocab_size": 8192, "bytes_per_token": 3.557},
        "versions": {"daft": "0.7.26"},
        "cores": 2,
        "seconds": 31.5,
    }


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
