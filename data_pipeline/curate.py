"""A whole curation: read, judge, mix, tokenize, store; each step is kept and never done twice."""

import dataclasses
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from data_pipeline import ledger, mix, report, store
from data_pipeline.config import CurationConfig
from data_pipeline.engine import DaftCoreException, Tasks
from data_pipeline.execute import Runner, StageResult
from data_pipeline.listing import PYTHON, Listing, list_inputs, why
from data_pipeline.parts import StoredPart, write_json
from data_pipeline.samples import SAMPLES
from data_pipeline.stage import file_key, stage_key
from nanojaxlm import typed_config
from nanojaxlm.errors import RetryableError, UserError

REPORT, CONFIG, STAGES = "report.json", "config.json", "stages"
OWNED = (REPORT, report.PAGE, CONFIG, "documents", "dropped", "ledger", store.TOKENIZER, "store")
CODE_VERSION = 2  # raise it where a stage gives other output for the same input and config


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and in what portions the work is done; nothing of it changes what comes out.

    workers: processes at once, 0 = this one. ray: address of a cluster, None = this machine.
    part_bytes: text of a part.
    """

    workers: int = 0
    ray: str | None = None
    part_bytes: int = 64 * 10**6


def curate(
    config: CurationConfig,
    inputs: Sequence[str],
    output: Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    execution: Execution = Execution(),
) -> dict[str, Any]:
    """Curates inputs into output, going on where an interrupted run stopped; returns the report.

    Args:
        config: what to do.
        inputs: files, folders, globs, URLs; none = the text of this Python installation.
        output: the folder to make: documents, dropped samples, ledger, tokenizer, store, report.
        overwrite: replace the curation of other inputs or another config that is there; stages
            that are the same in both are not run again.
        console: where progress is told; None = nowhere.
        execution: where the work is done.

    Raises:
        UserError: nothing readable, nothing left, another curation in output, output unwritable.
        RetryableError: a URL that cannot be reached; a full disk.
    """
    console, output = console or Console(quiet=True), output.absolute()
    listing, stages = list_inputs(inputs), config.stages()
    keys = _keys(listing, config)
    done = _prepare(output, keys["all"], overwrite)
    if done is not None:
        console.print(f"{output} is finished for these inputs and this config: left as it is")
        return done
    write_json(typed_config.to_plain(config), output / CONFIG)
    tasks = Tasks(execution.workers, execution.ray)
    runner = Runner(tasks, execution.part_bytes, console)
    return _Run(config, listing, output, keys, runner).all(list(inputs) or [PYTHON], execution)
