"""Trains a model.

    python -m nanojaxlm.main --config=configs/quickstart.py --workdir=out/run
    python -m nanojaxlm.main --config=… --workdir=… --config.training.steps=100     override a field
    python -m nanojaxlm.main --workdir=out/run                                      go on, as saved

A workdir that holds a checkpoint is gone on with; its config.json is the resolved config. To start
another run from it: --config=configs/saved.py:out/run/config.json. Exit codes: 0 done, 2 a mistake
in the command, config or data, 75 worth retrying unchanged, 1 a bug.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError, run
from nanojaxlm.train import CONFIG, train
from nanojaxlm.typed_config import from_config_dict, parse_flags

config_flags.DEFINE_config_file("config", None, "A file with get_config(); see configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run keeps checkpoints and metrics.")


def main(argv: Sequence[str]) -> None:
    config = parse_flags(argv, Config)
    if WORKDIR.value is None:
        raise UserError("--workdir is missing; name a folder, such as --workdir=out/run")
    workdir = Path(WORKDIR.value)
    if config is None:
        config = saved_config(workdir)
    train(config, workdir)


def saved_config(workdir: Path) -> Config:
    """The resolved config that a run left in its workdir.

    Raises:
        UserError: there is none.
    """
    try:
        text = (workdir / CONFIG).read_text(encoding="utf-8")
    except OSError:
        raise UserError(
            f"--config is missing, and there is no {workdir / CONFIG} to go on with: give one, "
            "such as --config=configs/quickstart.py"
        ) from None
    try:
        plain = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{workdir / CONFIG} is no JSON ({error}): name the config with --config=FILE again"
        ) from None
    return from_config_dict(Config, plain)


if __name__ == "__main__":
    run(main)
