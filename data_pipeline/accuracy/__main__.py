"""Prints how right the stages are on marked data: python -m data_pipeline.accuracy --data=DIR.

    python -m data_pipeline.accuracy --data=DIR
    python -m data_pipeline.accuracy --data=DIR --only=pii

DIR holds the marked data, which is not part of this project: html/ (Scrapinghub's
article-extraction-benchmark), langid/, neardup/, pii/ (presidio-research). What each must look like
is said in the module of its name. Exit codes: 0 done, 2 a mistake in the command.
"""

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from data_pipeline import report
from nanojaxlm import errors
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import parse_command_line

MEASURED = ("extraction", "language", "near_dedup", "pii")
_FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "The folder of marked data.", flag_values=_FLAGS)
_ONLY = flags.DEFINE_enum(
    "only", None, list(MEASURED), "Measure one stage only.", flag_values=_FLAGS
)


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    if not _DATA.value or not Path(_DATA.value).is_dir():
        raise UserError(f"--data={_DATA.value}: name the folder that holds html/, langid/, …")
    console = Console()
    console.print(report.versions(), highlight=False)
    for name in [_ONLY.value] if _ONLY.value else MEASURED:
        start = time.perf_counter()
        found = importlib.import_module(f"data_pipeline.accuracy.{name}").measure(Path(_DATA.value))
        console.print(f"\n{name} ({time.perf_counter() - start:.1f} s)", style="bold")
        for what, value in found.items():
            console.print(f"  {what}: {value:,.4g}", highlight=False)


if __name__ == "__main__":
    errors.run(main, sys.argv)
