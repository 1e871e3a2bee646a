"""Trains a model.

    python -m nanojaxlm.main --config=configs/quickstart.py --workdir=out/run
    python -m nanojaxlm.main --config=… --workdir=… --config.training.steps=100     override a field
    python -m nanojaxlm.main --workdir=out/run                                      go on, as saved
    python -m nanojaxlm.main … --distributed                              a process of a cluster's
    python -m nanojaxlm.main … --coordinator=HOST:PORT --num_processes=N --process_id=I   or by hand

A workdir that holds a checkpoint is gone on with; its config.json is the resolved config. To start
another run from it: --config=configs/saved.py:out/run/config.json. Exit codes: 0 done, 2 a mistake
in the command, config or data, 75 worth retrying unchanged, 1 a bug.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from nanojaxlm.compilation_cache import use_compilation_cache
from nanojaxlm.config import Config
from nanojaxlm.distributed import joined, place_of
from nanojaxlm.errors import UserError, run
from nanojaxlm.train import CONFIG, train
from nanojaxlm.typed_config import from_config_dict, parse_flags

config_flags.DEFINE_config_file("config", None, "A file with get_config(); see configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run keeps checkpoints and metrics.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One process of several, on a Cloud TPU pod, Slurm, Open MPI, Kubernetes."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where nothing finds it; PORT - 1 is used too."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes the run has.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def main(argv: Sequence[str]) -> None:
    config = parse_flags(argv, Config)
    if WORKDIR.value is None:
        raise UserError("--workdir is missing; name a folder, such as --workdir=out/run")
    workdir = Path(WORKDIR.value)
    if config is None:
        config = saved_config(workdir)
    use_compilation_cache()
    place = place_of(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, DISTRIBUTED.value)
    with joined(place, config.distributed) as peers:
        train(config, workdir, peers=peers)


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
