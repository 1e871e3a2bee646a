"""Curates documents into a token store: python -m data_pipeline.main --config=… --output=DIR.

    python -m data_pipeline.main --config=configs/curation/quickstart.py --output=DIR
    python -m data_pipeline.main --config=configs/curation/quickstart.py \\
        --input=FOLDER --input=FILE.jsonl.gz --input=s3://BUCKET/PATH/ --output=DIR \\
        --config.tokenizer.vocab_size=4096

DIR gets documents/, dropped/, tokenizer.model, store/, config.json and report.json. A run that was
interrupted goes on when the same command is given again; a finished one is left as it is.
Exit codes: 0 done, 2 a mistake in the command, the config or the data, 75 worth retrying.
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
from data_pipeline.curate import curate
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


def main(argv: Sequence[str]) -> None:
    if {"--help", "-h", "-help", "--helpfull"} & set(argv[1:]):
        print(__doc__)
        for flag in ("config", "input", "output", "overwrite"):
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
    console = Console()
    result = curate(
        config,
        _INPUT.value,
        Path(_OUTPUT.value).expanduser(),
        overwrite=_OVERWRITE.value,
        console=console,
    )
    console.print(report.funnel(result))
    console.print(
        f"{_OUTPUT.value}: {result['tokenizer']['bytes_per_token']:.2f} bytes a token, "
        f"{result['seconds']:.0f} s on {result['cores']} cores",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    try:
        errors.run(main)
    except SystemExit as ended:
        # Not by way of Python's finalization: after a failed download daft's threads may still run,
        # and one that logs then aborts the process (seen as "Fatal Python error" in 1 run of 8).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 1)
