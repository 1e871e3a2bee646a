"""What a curation did: report.json for programs, report.html and a table for people."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_pipeline.execute import StageResult
from data_pipeline.page import render
from data_pipeline.parts import write_json, write_whole

REPORT, PAGE = "report.json", "report.html"
PACKAGES = (
    *("nanojaxlm", "daft", "pyarrow", "numpy", "sentencepiece", "tensorstore"),
    *("trafilatura", "lxml", "pypdfium2"),
)


def versions() -> dict[str, str]:
    """Version of Python and of every package whose code decides the output."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def stage_record(result: StageResult) -> dict[str, Any]:
    """What report.json says of a stage: what `StageResult` holds, its counts beside its name."""
    return {
        "name": result.name,
        "seconds": result.seconds,
        **result.tally,
        "details": result.details,
        "examples": result.examples,
    }


def tokenizer_record(vocab_size: int, stored: dict[str, Any]) -> dict[str, Any]:
    """What report.json says of the tokenizer: compression and fertility, in all and by language.

    fertility: tokens a word, words being what white space separates.
    """

    def rates(sums: dict[str, int]) -> dict[str, float]:
        tokens = max(sums["tokens"], 1)
        return {
            "documents": sums["documents"],
            "bytes_per_token": sums["bytes"] / tokens,
            "characters_per_token": sums["characters"] / tokens,
            "fertility": sums["tokens"] / max(sums["words"], 1),
        }

    languages = stored["languages"]
    names = ("documents", "bytes", "characters", "words", "tokens")
    total = {name: sum(sums[name] for sums in languages.values()) for name in names}
    by_language = {name: rates(sums) for name, sums in languages.items()}
    return {"vocab_size": vocab_size, **rates(total), "languages": by_language}


def write(report: dict[str, Any], folder: Path) -> None:
    """Writes report.html, then report.json, each whole or not at all."""
    write_whole(render(report).encode(), folder / PAGE)
    write_json(report, folder / REPORT)


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
        reasons(read["failed_by_reason"], 4),
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
            f"{kept['tokens']:,} tokens" if "tokens" in kept else "",
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
    tally = result.tally
    console.print(
        f"{result.name}: kept {tally['documents_out']:,} of {tally['documents_in']:,} documents, "
        f"{megabytes(tally['bytes_out'])} MB, in {result.seconds:.1f} s"
        + (f" ({reasons(result.dropped, 3)})" if result.dropped else ""),
        highlight=False,
        soft_wrap=True,
    )


def print_read(console: Console, read: dict[str, Any], num_files: int, most: int = 5) -> None:
    """What was read, and the first of what was not."""
    failed = read["failed"]
    for failure in failed[:most]:
        console.print(
            f"not read: {failure['source']}: {failure['error']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    num_failed = sum(read["failed_by_reason"].values())
    if num_failed > most:
        console.print(f"… and {num_failed - most:,} more: they lie in ledger/", highlight=False)
    console.print(
        f"read: {read['documents']:,} documents, {megabytes(read['bytes'])} MB, from "
        f"{num_files:,} files, in {read['seconds']:.1f} s",
        highlight=False,
    )


def last_line(report: dict[str, Any], output: str) -> str:
    """Where things lie, and what was made."""
    compression = ""
    if report.get("tokenizer"):
        compression = f"{report['tokenizer']['bytes_per_token']:.2f} bytes a token, "
    return (
        f"{output}: {compression}{report['seconds']:.0f} s with {report['workers']} workers; "
        f"look at {output}/{PAGE}"
    )
