"""Curates documents into a token store: python -m data_pipeline.main --config=… --output=DIR.

    python -m data_pipeline.main --config=configs/curation/quickstart.py --output=DIR
    python -m data_pipeline.main --config=configs/curation/web.py \\
        --input=FOLDER --input=CRAWL.warc.gz --input=s3://BUCKET/PATH/ --output=DIR \\
        --config.tokenizer.vocab_size=4096
    python -m data_pipeline.main --config=configs/curation/web.py --only=pii \\
        --input=FOLDER --output=DIR

DIR gets documents/, dropped/, ledger/, tokenizer.model, store/, config.json, report.json and
report.html, and stages/, what every stage said. A run that was interrupted goes on when the same
command is given again; a finished one is left as it is; with another config and --overwrite, only
what follows the first changed stage is run again. Neither --workers nor --ray changes what comes
out. Exit codes: 0 done, 2 a mistake in the command, the config or the data, 75 worth retrying.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from data_pipeline import report
from data_pipeline.config import CurationConfig
from data_pipeline.curate import Execution, curate
from nanojaxlm import errors, typed_config
from nanojaxlm.errors import UserError

_FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", help_string="The curation's config file.", flag_values=_FLAGS
)
_INPUT = flags.DEFINE_multi_string(
    "input",
    [],
    "A file, a folder, a glob or a URL (gs:// s3:// https://); repeat it for more. None, or "
    "'python': the text of this Python installation.",
    flag_values=_FLAGS,
)
_OUTPUT = flags.DEFINE_string("output", None, "The folder to make.", flag_values=_FLAGS)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace another curation in --output.", flag_values=_FLAGS
)
_ONLY = flags.DEFINE_string(
    "only",
    None,
    "Run this stage of the config alone, and write documents, no token store. --input may be the "
    "documents/ folder of another curation.",
    flag_values=_FLAGS,
)
_WORKERS = flags.DEFINE_integer(
    "workers", 0, "Processes at work at once; 0 = one for every core.", flag_values=_FLAGS
)
_RAY = flags.DEFINE_string(
    "ray",
    None,
    "Address of a Ray cluster to work on, HOST:PORT, or auto for the one this machine belongs to; "
    "--output must be on a disk that all its machines share.",
    flag_values=_FLAGS,
)
_PART_MEGABYTES = flags.DEFINE_float(
    "part_megabytes",
    64.0,
    "Text of a part, in 10^6 bytes: what a worker takes at once, and what a killed run repeats.",
    flag_values=_FLAGS,
)
_NAMES = ("config", "input", "output", "overwrite", "only", "workers", "ray", "part_megabytes")


def main(argv: Sequence[str]) -> None:
    if {"--help", "-h", "-help", "--helpfull"} & set(argv[1:]):
        print(__doc__)
        for flag in _NAMES:
            print(f"  --{flag}: {_FLAGS[flag].help}")
        print("\nEvery field of the config, with its default:")
        fields = typed_config.flatten(typed_config.to_plain(CurationConfig()))
        print("\n".join(f"  --{name}={value}" for name, value in fields.items()))
        return
    config = typed_config.parse_flags(argv, CurationConfig, _FLAGS)
    if config is None:
        raise UserError("--config is missing; start with --config=configs/curation/quickstart.py")
    if not _OUTPUT.value:
        raise UserError("--output is missing: name the folder to make")
    if _ONLY.value:
        config = _only(config, _ONLY.value)
    if _WORKERS.value < 0 or _PART_MEGABYTES.value <= 0:
        raise UserError("--workers must be >= 0, and --part_megabytes > 0")
    console = Console()
    execution = Execution(
        workers=_WORKERS.value or len(os.sched_getaffinity(0)),
        ray=_RAY.value,
        part_bytes=int(_PART_MEGABYTES.value * 1e6),
    )
    result = curate(
        config,
        _INPUT.value,
        Path(_OUTPUT.value).expanduser(),
        overwrite=_OVERWRITE.value,
        console=console,
        execution=execution,
    )
    console.print(report.funnel(result))
    console.print(report.last_line(result, _OUTPUT.value), highlight=False, soft_wrap=True)


def _only(config: CurationConfig, stage: str) -> CurationConfig:
    try:
        return config.only(stage)
    except ValueError as error:
        raise UserError(f"--only={stage}: {error}") from None


if __name__ == "__main__":
    try:
        errors.run(main)
    except SystemExit as ended:
        # Not by way of Python's finalization: after a failed download daft's threads may still run,
        # and one that logs then aborts the process (seen as "Fatal Python error" in 1 run of 8).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 1)
