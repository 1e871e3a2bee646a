"""What a finished run says in place of assumptions: its speed, MFU, loss, bytes a token."""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanojaxlm.config import Config
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.fitting import SCALING_LAW, Fit, read_fit
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.shape import count
from nanojaxlm.errors import UserError
from nanojaxlm.metrics import train_flops_per_row
from nanojaxlm.typed_config import from_config_dict
from nanojaxlm.writers import DEVICE, METRICS

WARM_UP = 0.1  # of the readings, that are left out: caches fill, clocks settle


@dataclass(frozen=True, kw_only=True)
class Measured:
    """tokens_per_second, peak_flops_per_second: of all devices of the run. mfu: of its exact FLOPs;
    low and high are those of nine of ten readings. fit: None where the folder holds no scaling
    law."""

    workdir: str
    device: str
    num_devices: int
    vocab_size: int | None
    sequence_length: int
    params: float
    active_params: float
    tokens: float
    tokens_per_second: Range
    mfu: Range
    peak_flops_per_second: float
    loss: float | None
    bits_per_byte: float | None
    bytes_per_token: float | None
    fit: Fit | None


def read_run(folder: str) -> Measured:
    """Of a training run's workdir, or of the folder of configs.scaling_law: there the law, and the
    largest of its runs.

    Raises:
        UserError: neither is there, or the run wrote no speed.
    """
    place = Path(folder)
    fit = read_fit(place / SCALING_LAW) if (place / SCALING_LAW).is_file() else None
    workdir = place if (place / METRICS).is_file() else _largest(place)
    if workdir is None:
        raise UserError(
            f"--measured={folder} holds no run ({METRICS} and config.json are not there); name the "
            "--workdir of a finished run, or the --output of configs.scaling_law"
        )
    config = _config(workdir)
    lines = _lines(workdir)
    speeds = [line for line in lines if "tokens_per_second" in line and "mfu" in line]
    speeds = speeds[int(WARM_UP * len(speeds)) :]
    if not speeds:
        raise UserError(
            f"--measured={folder}: {workdir / METRICS} states no speed; the run must be longer "
            "than config.training.log_every steps, on a device whose peak is known"
        )
    params, active = count(config)
    lengths = config.data.lengths
    row = train_flops_per_row(config.model, lengths.encoder or 0, lengths.decoder or 0)
    middle = speeds[len(speeds) // 2]
    device = _device(workdir)
    evaluated = [line for line in lines if "validation_loss" in line]
    return Measured(
        workdir=str(workdir),
        device=str(device.get("device_kind", "unknown")),
        num_devices=int(device.get("num_devices", 1)),
        vocab_size=config.model.vocab_size,
        sequence_length=config.data.sequence_length,
        params=float(params),
        active_params=float(active),
        tokens=float(lines[-1]["step"] * config.data.batch_size * lengths.row),
        tokens_per_second=_spread([line["tokens_per_second"] for line in speeds]),
        mfu=_spread([line["mfu"] for line in speeds]),
        peak_flops_per_second=middle["tokens_per_second"] * row / lengths.row / middle["mfu"],
        loss=evaluated[-1]["validation_loss"] if evaluated else None,
        bits_per_byte=evaluated[-1].get("validation_bits_per_byte") if evaluated else None,
        bytes_per_token=_bytes_per_token(evaluated),
        fit=fit,
    )


def on_measured(
    assumptions: Assumptions, measured: Measured, generation: str | None
) -> Assumptions:
    """The assumptions with what was measured in place of the table's. generation: of the chips that
    are planned for; None: others than the run's, whose MFU says nothing of them.

    The run's MFU is of its exact FLOPs; the table's is of 6ND, which the ratio stands between.
    """
    source, a = f"measured: {measured.workdir}", assumptions
    if generation is not None:
        mfu = measured.mfu * (1 / a["mfu.exact_over_6nd"])
        a = a.overriding(f"mfu.{generation}", mfu, source)
    if generation == "cpu":  # the table knows no CPU's peak: the run measured its own
        peak = measured.peak_flops_per_second / measured.num_devices
        a = a.overriding("cpu.flops_per_second", Range.exact(peak), source)
    if measured.bytes_per_token is not None:
        a = a.overriding("token.bytes", Range.exact(measured.bytes_per_token), source)
    return a


def _largest(folder: Path) -> Path | None:
    """Of the runs within a folder, the one of most FLOPs."""
    workdirs = [path.parent for path in folder.glob(f"*/*/{METRICS}")]
    workdirs += [path.parent for path in folder.glob(f"*/{METRICS}")]
    found = [path for path in workdirs if (path / "config.json").is_file()]

    def size(path: Path) -> float:
        config = _config(path)
        return float(count(config)[1]) * config.training.steps * config.data.batch_size

    return max(found, key=size, default=None)


def _config(workdir: Path) -> Config:
    path = workdir / "config.json"
    try:
        return from_config_dict(Config, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); name the --workdir of a finished run"
        ) from None


def _lines(workdir: Path) -> list[dict[str, Any]]:
    lines = []
    for line in (workdir / METRICS).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # the last line of a run that was cut off
    return lines


def _device(workdir: Path) -> dict[str, Any]:
    """What the run's newest start wrote of its devices; nothing of runs before that was written."""
    try:
        return json.loads((workdir / DEVICE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _spread(values: list[float]) -> Range:
    """Median, and what nine of ten lie between."""
    ordered = sorted(values)
    last = len(ordered) - 1
    low, high = ordered[math.floor(0.05 * last)], ordered[math.ceil(0.95 * last)]
    return Range(low, statistics.median(ordered), high)


def _bytes_per_token(evaluated: list[dict[str, Any]]) -> float | None:
    """Nats a token over nats a byte."""
    bits = evaluated[-1].get("validation_bits_per_byte") if evaluated else None
    return evaluated[-1]["validation_loss"] / (bits * math.log(2)) if bits else None
