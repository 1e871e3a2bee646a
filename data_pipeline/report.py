"""What a curation did: report.json for programs, a table for people."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_pipeline.stage import StageResult

PACKAGES = ("nanojaxlm", "daft", "pyarrow", "sentencepiece", "tensorstore", "trafilatura", "numpy")


def versions() -> dict[str, str]:
    """Version of Python and of every package whose code decides the output."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_json(value: Any, path: Path) -> None:
    """Writes JSON atomically: the file is whole or not there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, path)


def funnel(report: dict[str, Any]) -> Table:
    """A line a stage: documents and bytes that were left, what was dropped for which reasons."""
    table = Table(title="Curation", title_justify="left")
    for name in ("stage", "documents", "MB", "kept", "seconds", "dropped, by reason"):
        table.add_column(
            name, justify="left" if name in ("stage", "dropped, by reason") else "right"
        )
    read = report["read"]
    table.add_row(
        "read",
        f"{read['documents']:,}",
        megabytes(read["bytes"]),
        "",
        f"{read['seconds']:.1f}",
        f"{len(read['failed'])} files or records unreadable" if read["failed"] else "",
    )
    for stage in report["stages"]:
        kept = stage["documents_out"] / max(stage["documents_in"], 1)
        table.add_row(
            stage["name"],
            f"{stage['documents_out']:,}",
            megabytes(stage["bytes_out"]),
            f"{kept:.0%}",
            f"{stage['seconds']:.1f}",
            reasons(stage["dropped"], 4),
        )
    for split, kept in report["kept"].items():
        table.add_row(
            split,
            f"{kept['documents']:,}",
            megabytes(kept["bytes"]),
            "",
            "",
            f"{kept['tokens']:,} tokens",
        )
    return table


def reasons(dropped: dict[str, int], most: int) -> str:
    """The commonest reasons in one line."""
    items = sorted(dropped.items(), key=lambda item: -item[1])
    text = ", ".join(f"{reason} {count:,}" for reason, count in items[:most])
    rest = sum(count for _, count in items[most:])
    return f"{text}, {len(items) - most} more reasons {rest:,}" if rest else text


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.2f}"


def print_stage(console: Console, result: StageResult) -> None:
    console.print(
        f"{result.name}: kept {result.documents_out:,} of {result.documents_in:,} documents, "
        f"{megabytes(result.bytes_out)} MB, in {result.seconds:.1f} s"
        + (f" ({reasons(dict(result.dropped), 3)})" if result.dropped else ""),
        highlight=False,
        soft_wrap=True,
    )


def print_failed(console: Console, failed: Sequence[dict[str, str]], most: int = 5) -> None:
    for failure in failed[:most]:
        console.print(
            f"not read: {failure['source']}: {failure['error']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if len(failed) > most:
        console.print(f"… and {len(failed) - most} more: read.failed in report.json")
