"""How fast curation is, stage by stage, and against datatrove on the same documents.

    python -m data_pipeline.benchmark
    python -m data_pipeline.benchmark --input=DOCS --megabytes=50 --workers=2

Without --input, the documents are the text of this Python installation. Every stage of
configs/curation/web.py is timed alone, on one core, over the same documents in memory. Where
datatrove is installed (an extra of the tests), its filters, MinHash and PII stages are then run on
the same files with the same number of workers as ours, from files to files, and the ratio printed.
Exit codes: 0 done, 2 a mistake in the command.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from absl import flags
from rich.console import Console
from rich.table import Table

from data_pipeline import peer, readers, report
from data_pipeline.config import CurationConfig
from data_pipeline.curate import curate
from data_pipeline.dedup.minhash import MinHashConfig
from data_pipeline.document import SCHEMA, text_bytes
from data_pipeline.engine import Tasks
from data_pipeline.execute import write_keys
from data_pipeline.filters.rules import HeuristicConfig
from data_pipeline.listing import list_inputs
from data_pipeline.parts import Layer, PartFile, StoredPart, rebatch
from data_pipeline.pii import PiiConfig
from data_pipeline.readers import ReadConfig
from data_pipeline.stage import Comparison, Stage
from nanojaxlm import errors
from nanojaxlm.errors import UserError

_FLAGS = flags.FlagValues()
_INPUT = flags.DEFINE_multi_string(
    "input", [], "As of data_pipeline.main.", flag_values=_FLAGS
)
_MEGABYTES = flags.DEFINE_float(
    "megabytes", 20.0, "How much text is taken, in 10^6 bytes.", flag_values=_FLAGS
)
_WORKERS = flags.DEFINE_integer(
    "workers", 2, "Processes of the runs from files to files.", flag_values=_FLAGS
)
READ = ReadConfig()


@dataclass(frozen=True)
class Timed:
    """Seconds for documents and bytes; where from."""

    name: str
    seconds: float
    num_documents: int
    num_bytes: int

    @property
    def megabytes_per_second(self) -> float:
        return self.num_bytes / 1e6 / self.seconds
