"""Where a run tells how it goes: metrics.jsonl, samples.jsonl, device.json, TensorBoard, a bar."""

import json
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import (  # made by protobuf as it is imported
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)

from nanojaxlm.errors import UserError

METRICS = "metrics.jsonl"
DEVICE = "device.json"  # what the newest start of a run ran on
SAMPLES = "samples.jsonl"


class RunWriter:
    """Writes in one process of a run; `enabled=False` in the others makes every call a no-op.

    Lines of steps after `start_step` belong to a run that was cut off and will be done again: they
    are taken out, so that each step has one line.
    """

    def __init__(
        self, workdir: Path, start_step: int, num_steps: int, console: Console, enabled: bool = True
    ):
        self._enabled = enabled
        if not enabled:
            return
        self._console = console
        for name in (METRICS, SAMPLES):
            _truncate(workdir / name, start_step)
        self._metrics = (workdir / METRICS).open("a", encoding="utf-8")
        self._samples = (workdir / SAMPLES).open("a", encoding="utf-8")
        self._tensorboard = _TensorBoard(workdir / "tensorboard", start_step + 1)
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=num_steps, figures="compiling")
        self._progress.update(self._task, completed=start_step)
        self._progress.start()

    def metrics(self, step: int, figures: dict[str, Any], show: bool) -> None:
        """One line of metrics.jsonl, the numbers to TensorBoard, the main ones to the screen.

        show: also as a line where there is no terminal for the progress bar.
        """
        if not self._enabled:
            return
        self._metrics.write(json.dumps({"step": step} | figures) + "\n")
        self._metrics.flush()
        for name, value in figures.items():
            if isinstance(value, (int, float)):
                self._tensorboard.add(step, summary.scalar(name, value))
        if show or "validation_loss" in figures:
            self._tensorboard.flush()
        text = _screen(figures)
        self._progress.update(self._task, completed=step, figures=text)
        if (show and not self._console.is_terminal) or "validation_loss" in figures:
            self._console.print(f"step {step}: {text}", highlight=False, soft_wrap=True)

    def sample(self, step: int, prompt: str, text: str) -> None:
        if not self._enabled:
            return
        line = {"step": step, "prompt": prompt, "text": text}
        self._samples.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._samples.flush()
        self._tensorboard.add(step, summary.text("sample", f"**{prompt}**{text}"))

    def close(self) -> None:
        if self._enabled:
            with ExitStack() as closing:  # each of them, whatever the others raise
                closing.callback(self._progress.stop)
                closing.callback(self._tensorboard.close)
                closing.callback(self._metrics.close)
                closing.callback(self._samples.close)


class _TensorBoard:
    """An event file, written in this thread: tensorboardX's own thread ends on a full disk, and its
    SummaryWriter then waits for it forever."""

    def __init__(self, folder: Path, purge_step: int):
        """purge_step: what earlier files tell from this step on is void."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(folder / "events"))
        start = SessionLog(status=SessionLog.START)
        self._file.write_event(Event(wall_time=time.time(), step=purge_step, session_log=start))

    def add(self, step: int, value: Any) -> None:
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=value))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def replace_text(path: Path, text: str) -> None:
    """Writes a file so that, whatever happens, it holds the old text or the new one, whole."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_named(flag: str, path: Path, text: str) -> None:
    """Writes the file that a flag names, its folder too.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    except OSError as error:
        raise UserError(
            f"{flag}={path} cannot be written ({error.strerror}); name another file"
        ) from None


def _screen(figures: dict[str, Any]) -> str:
    parts = []
    for name, label, form in (
        ("loss", "loss", "{:.3f}"),
        ("validation_loss", "validation", "{:.4f}"),
        ("validation_bits_per_byte", "bits/byte", "{:.4f}"),
        ("tokens_per_second", "tokens/s", "{:,.0f}"),
        ("mfu", "MFU", "{:.1%}"),
    ):
        if name in figures and math.isfinite(figures[name]):
            parts.append(f"{label} {form.format(figures[name])}")
    return "  ".join(parts)


def _truncate(path: Path, last_step: int) -> None:
    """Keeps the whole lines of steps <= last_step; a half-written last line goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue
    replace_text(path, "".join(kept))
