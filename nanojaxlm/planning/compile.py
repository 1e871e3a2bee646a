"""Compiles the training step of a config for chips that are not here, and says what it would cost.

    python -m nanojaxlm.planning.compile --config=configs/models/llama.py:3.1-8b \\
        --topology=v6e:16x16 --config.mesh.data=1 --config.mesh.fsdp=256
    python -m nanojaxlm.planning.compile --config=… --topology=v5p:4x4x8 --search
    python -m nanojaxlm.planning.compile --config=… --topology=cpu:8 --json=plan.json

Topologies: v4:, v5p: with three extents, v5e:, v6e: with two, 2xv5e:16x16 for two slices; h100:8
for a host of GPUs, h100:4x8 for four; cpu:8 for a CPU cut in eight. TPUs need libtpu (the extra
`tpu`), no TPU; GPUs need JAX's plugin for CUDA (the extra `gpu`), no GPU. It is the very step that
nanojaxlm.main runs, with the XLA flags of launch/xla_flags.txt; but XLA, which on a GPU times
kernels and takes the quickest, here takes those that it expects to be. Figures are of one chip;
times are bounds from a roofline (planning/roofline.py). With --search all meshes, batch sizes and
remat policies are judged by formula (planning/search.py), the best few compiled, and ranked by
that.

Exit codes: 0 it fits (or there is no chip to compare with), 3 it does not, 2 a mistake, 1 a bug.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags
from rich.console import Console

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError, run
from nanojaxlm.planning.compilation import compile_step
from nanojaxlm.planning.options import xla_options
from nanojaxlm.planning.report import Report, report_on, show
from nanojaxlm.planning.topology import Topology
from nanojaxlm.planning.trials import show_trials, trials
from nanojaxlm.typed_config import parse_flags
from nanojaxlm.writers import write_named

EXIT_DOES_NOT_FIT = 3

config_flags.DEFINE_config_file("config", None, "A file with get_config(); see configs/.")
TOPOLOGY = flags.DEFINE_string("topology", None, "The chips: v5e:16x16, h100:4x8, cpu:8, ….")
COMPILED = flags.DEFINE_integer(
    "compiled", 3, "Of --search: how many of the best by formula are compiled.", lower_bound=1
)
JSON = flags.DEFINE_string("json", None, "A file for the same figures as JSON.")
SEARCH = flags.DEFINE_boolean("search", False, "Try meshes, batch sizes and remat; rank them.")
XLA_FLAGS = flags.DEFINE_boolean("xla_flags", True, "Compile with launch/xla_flags.txt.")


def main(argv: Sequence[str]) -> None:
    config = parse_flags(argv, Config)
    if config is None:
        raise UserError("--config is missing; give one, such as --config=configs/quickstart.py")
    if TOPOLOGY.value is None:
        raise UserError("--topology is missing; give one, such as --topology=v5e:16x16")
    topology = Topology.parse(TOPOLOGY.value)
    jax.config.update("jax_platforms", "cpu")  # a TPU that is here is left alone
    options = xla_options(topology) if XLA_FLAGS.value else {}
    console = Console()
    if SEARCH.value:
        reports = list(trials(config, topology, options, COMPILED.value, console))
        show_trials(reports, console)
    else:
        reports = [report_on(compile_step(config, topology, options))]
        show(reports[0], console)
    if JSON.value is not None:
        write_json(Path(JSON.value), reports, SEARCH.value)
    if not any(report.fits is not False for report in reports):
        sys.exit(EXIT_DOES_NOT_FIT)


def write_json(path: Path, reports: Sequence[Report], several: bool) -> None:
    """One report, or a list of them.

    Raises:
        UserError: the file cannot be written.
    """
    plain = [report.plain() for report in reports]
    write_named("--json", path, json.dumps(plain if several else plain[0], indent=2) + "\n")


if __name__ == "__main__":
    run(main)
