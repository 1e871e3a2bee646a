"""Figures as text, and the commands to go on with: what the page and the terminal both say."""

import shlex
from collections.abc import Sequence
from typing import Any

from nanojaxlm.reporting import findings as gathered
from nanojaxlm.reporting.findings import Findings


def size(num_bytes: float) -> str:
    """12,345,678 -> "12.3 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:,.1f} {unit}"
    return f"{num_bytes:,.0f} bytes"


def memory(num_bytes: float) -> str:
    """Memory is counted in powers of two: "1.50 GiB", "312 MiB"."""
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    """7.3 -> "7.3 s", 187 -> "3 min 07 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def speed(findings: Findings) -> list[tuple[str, str]]:
    """What is known of the pace of learning, as (name, value)."""
    _, losses = findings.series("loss")
    _, validation = findings.series("validation_loss")
    tokens, mfu = findings.median("tokens_per_second"), findings.median("mfu")
    rows = [("Steps", f"{findings.metrics[-1]['step']:,}")]
    if losses:
        rows.append(("Training loss, first to last", f"{losses[0]:.3f} to {losses[-1]:.3f} nats"))
    if validation:
        rows.append(
            ("Validation loss, last and best", f"{validation[-1]:.3f}, {min(validation):.3f} nats")
        )
    if tokens is not None:
        rows.append(("Speed, median", f"{tokens:,.0f} tokens/s"))
    if mfu is not None:
        rows.append(("Model FLOP/s utilization, median", f"{100 * mfu:.1f} %"))
    return rows


def dropped(findings: Findings) -> list[tuple[str, str, int, Sequence[Any]]]:
    """(stage, reason, documents, examples), in the order of the stages, the most frequent first."""
    rows = []
    for stage in findings.curation.get("stages", ()):
        examples = stage.get("examples", {})
        for reason, count in sorted(stage["dropped"].items(), key=lambda item: -item[1]):
            rows.append((stage["name"], reason, count, examples.get(reason, ())))
    return rows


def next_commands(findings: Findings) -> list[tuple[str, str]]:
    """(what for, command): how to go on from here, with this run's folders."""
    curation, workdir = findings.curation_folder, findings.workdir
    more = f"{workdir.rstrip('/')}-longer"
    checkpoint = f"--checkpoint={shlex.quote(workdir)}"
    training = findings.config.get("training")
    steps = training.get("steps") if isinstance(training, dict) else None
    steps = 4 * (steps if isinstance(steps, int) else findings.metrics[-1]["step"])
    train = gathered.train_command
    other_seed = []
    if "seed" in findings.config:
        other_seed.append(
            (
                "Override any field of the config, here the seed (config.json shows all of them)",
                train(curation, f"{workdir.rstrip('/')}-seed-1", "--config.seed=1"),
            )
        )
    return [
        ("Go on after an interruption: the same command", train(curation, workdir)),
        (
            "Train four times as long, in a new folder",
            train(curation, more, f"--config.training.steps={steps}"),
        ),
        *other_seed,
        (
            "Ask the model to go on from a prompt",
            f"python -m nanojaxlm.generate {checkpoint} --prompt='Once upon a time'",
        ),
        ("Evaluate on the held-out documents again", gathered.evaluate_command(workdir)),
        ("Do all of it on your own text", "./launch/quickstart.sh ~/documents"),
        (
            "Curate your own text alone",
            gathered.curate_command("out/mine/curation", "/path/to/documents"),
        ),
        (
            "Watch the curves in TensorBoard (pip install tensorboard)",
            f"tensorboard --logdir={shlex.quote(f'{workdir}/tensorboard')}",
        ),
    ]


def broken(command: str, most: int = 90) -> str:
    """A long command on several lines, one option each, as a shell takes it."""
    if len(command) <= most:
        return command
    return command.replace(" --", " \\\n    --")


def printable(text: str) -> str:
    """Control characters as U+FFFD, newline and tab excepted: they would steer a terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
