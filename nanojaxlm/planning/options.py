"""XLA's flags of a platform, as launch/xla_flags.txt lists them with their reasons."""

from pathlib import Path

from nanojaxlm.planning.topology import Topology

FILE = Path(__file__).resolve().parents[2] / "launch" / "xla_flags.txt"


def xla_options(topology: Topology, file: Path = FILE) -> dict[str, str | bool]:
    """{name: value} for `compile(compiler_options=…)`: the lines of the chip and of its platform.
    Nothing where the package is installed without launch/.

    A line is `PLATFORM --name=value`; lines that start with # are reasons.
    """
    if not file.is_file():
        return {}
    platforms = {topology.chip, topology.platform}
    options: dict[str, str | bool] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        platform, _, flag = line.strip().partition(" ")
        if platform in platforms:
            name, _, value = flag.strip().removeprefix("--").partition("=")
            options[name] = {"true": True, "false": False}.get(value, value)
    return options
