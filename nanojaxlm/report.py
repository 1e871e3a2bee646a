"""Writes what became of a curation and a training run as one HTML page.

    python -m nanojaxlm.report --curation=DIR --workdir=DIR --output=report.html

Needs the folder of a curation, and that of a training run on its store which was evaluated.
Shows times and memory where launch/quickstart.sh left a timings.json beside the output.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nanojaxlm import errors
from nanojaxlm.errors import UserError
from nanojaxlm.reporting import page, terminal
from nanojaxlm.reporting.findings import gather


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m nanojaxlm.report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--curation", required=True, type=Path, metavar="DIR")
    parser.add_argument("--workdir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    arguments = parser.parse_args(argv[1:])
    output: Path = arguments.output
    findings = gather(arguments.curation, arguments.workdir, output.parent / "timings.json")
    _write(output, page.render(findings))
    console = Console()
    terminal.print_summary(findings, console)
    console.print(f"\nThe whole report: {output}", soft_wrap=True, highlight=False)


def _write(path: Path, text: str) -> None:
    """Atomically, so that an interrupted call leaves the page that was there."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except PermissionError as error:
        raise UserError(
            f"--output={path} cannot be written ({error.strerror}); name another file"
        ) from None


if __name__ == "__main__":
    errors.run(main)
