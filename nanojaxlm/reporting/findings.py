"""Gathers what a curation and a training run left on disk: nothing here knows how it is shown."""

import importlib.metadata
import json
import math
import os
import platform
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanojaxlm.errors import UserError
from nanojaxlm.reporting import baselines

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorstore"),
    *("sentencepiece", "daft", "numpy"),
)
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that the report was made on."""

    processor: str
    cores: int  # that this process may use
    memory: int  # bytes
    system: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the run as launch/measure.py noted it, repeated calls added up."""

    name: str
    command: Sequence[str]
    seconds: float
    peak_memory: int  # bytes, of the largest process
    num_runs: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that the report tells; losses in nats a token."""

    curation_folder: str
    workdir: str
    curation: Record  # report.json of the curation
    config: Record  # config.json of the training
    metrics: Sequence[Record]  # one for each step that has a line, by rising step
    samples: Sequence[Record]  # step, prompt, text
    evaluation: Record
    steps: Sequence[Step]  # empty where nothing was timed
    heldout_bytes: int
    xz_bits_per_byte: float
    bigram_bits_per_byte: float
    machine: Machine

    @property
    def bits_per_byte(self) -> float:
        return self.evaluation["bits_per_byte"]

    @property
    def same_text(self) -> bool:
        """True if the model was evaluated on just the text that the baselines are given."""
        return self.evaluation["bytes"] == self.heldout_bytes

    def verdict(self) -> str:
        """One sentence: whether the model beats both baselines."""
        ours = f"The model needs {self.bits_per_byte:.3f} bits per byte of held-out text"
        if not self.same_text:
            return (
                f"{ours}, but it was evaluated on {self.evaluation['bytes']:,} bytes and the "
                f"held-out documents have {self.heldout_bytes:,}: the numbers do not compare. "
                f"Evaluate it on this curation's store: {evaluate_command(self.workdir)}"
            )
        rivals = {"xz -9": self.xz_bits_per_byte, "the byte bigram": self.bigram_bits_per_byte}
        beaten = [name for name, bits in rivals.items() if self.bits_per_byte < bits]
        ahead = [name for name in rivals if name not in beaten]
        if not ahead:
            return f"{ours}: it beats both xz -9 and the byte bigram."
        if not beaten:
            return f"{ours}: it beats neither xz -9 nor the byte bigram; train it longer."
        return f"{ours}: it beats {beaten[0]}, but not {ahead[0]}; train it longer."

    def series(self, key: str) -> tuple[list[int], list[float]]:
        """(steps, values) of a metric, where it was written and is finite."""
        points = [
            (record["step"], record[key])
            for record in self.metrics
            if isinstance(record.get(key), (int, float)) and math.isfinite(record[key])
        ]
        return [step for step, _ in points], [value for _, value in points]

    def median(self, key: str) -> float | None:
        """The median of a metric over the run: the first steps, which compile, do not weigh."""
        values = self.series(key)[1]
        return statistics.median(values) if values else None


def gather(curation: Path, workdir: Path, timings: Path | None = None) -> Findings:
    """Reads the folders of a curation and of a training run and computes the baselines.

    Raises:
        UserError: a piece is missing or broken; the message names the command that makes it.
    """
    curate, train = curate_command(str(curation)), train_command(str(curation), str(workdir))
    report = _read_json(curation / "report.json", curate)
    config = _read_json(workdir / "config.json", train)
    metrics = _merge_steps(_read_lines(workdir / "metrics.jsonl", train))
    if not metrics:
        raise UserError(f"{workdir / 'metrics.jsonl'} holds no step yet; train first: {train}")
    samples_file = workdir / "samples.jsonl"  # a run may ask for no samples
    samples = _read_lines(samples_file, train) if samples_file.exists() else []
    # a resumed run writes some a second time: the later one stands
    samples = list({(line["step"], line.get("prompt")): line for line in samples}.values())
    evaluation_file = workdir / "evaluation.json"
    evaluation = _read_json(evaluation_file, evaluate_command(str(workdir)))
    for key in ("bits_per_byte", "bytes", "step", "loss", "tokens"):
        if not isinstance(evaluation.get(key), (int, float)):
            raise UserError(
                f"{evaluation_file} has no number {key!r}; make it again: "
                f"{evaluate_command(str(workdir))}"
            )
    documents = curation / "documents"
    heldout = b"".join(baselines.read_documents(documents / "validation"))
    return Findings(
        curation_folder=str(curation),
        workdir=str(workdir),
        curation=report,
        config=config,
        metrics=metrics,
        samples=samples,
        evaluation=evaluation,
        steps=_read_timings(timings) if timings is not None and timings.exists() else [],
        heldout_bytes=len(heldout),
        xz_bits_per_byte=baselines.xz_bits_per_byte(heldout),
        bigram_bits_per_byte=baselines.bigram_bits_per_byte(
            baselines.read_documents(documents / "train"), heldout
        ),
        machine=describe_machine(),
    )


def curate_command(curation: str, *inputs: str) -> str:
    sources = " ".join(f"--input={shlex.quote(path)}" for path in inputs or ("PATH",))
    return (
        "python -m data_pipeline.main --config=configs/curation/quickstart.py "
        f"{sources} --output={shlex.quote(curation)}"
    )


def train_command(curation: str, workdir: str, *overrides: str) -> str:
    store = shlex.quote(f"{curation}/store")
    return " ".join(
        (
            f"python -m nanojaxlm.main --config=configs/quickstart.py --config.data.stores={store}",
            *overrides,
            f"--workdir={shlex.quote(workdir)}",
        )
    )


def evaluate_command(workdir: str) -> str:
    return f"python -m nanojaxlm.evaluate --checkpoint={shlex.quote(workdir)}"


def describe_machine() -> Machine:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 0
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory=memory,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions=versions,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _read_json(path: Path, command: str) -> Record:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; this makes it: {command}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); make it again: {command}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object; make it again: {command}")
    return value


def _read_lines(path: Path, command: str) -> list[Record]:
    """The objects of a .jsonl file; a last line cut short by a crash is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path} is missing; this makes it: {command}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            record["step"] = int(record["step"])
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break
            raise UserError(
                f"{path}, line {number} is not a JSON object with a step; remove that line"
            ) from None
        records.append(record)
    return records


def _merge_steps(records: Sequence[Record]) -> list[Record]:
    """One record a step, by rising step: a resumed run writes some steps a second time."""
    merged: dict[int, dict[str, Any]] = {}
    for record in records:
        merged.setdefault(record["step"], {}).update(record)
    return [merged[step] for step in sorted(merged)]


def _read_timings(path: Path) -> list[Step]:
    steps = []
    try:
        for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
            runs = step["runs"]
            steps.append(
                Step(
                    name=step["name"],
                    command=step["command"],
                    seconds=sum(run["seconds"] for run in runs),
                    peak_memory=max(run["peak_memory_bytes"] for run in runs),
                    num_runs=len(runs),
                )
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not what launch/measure.py writes ({error}); remove it"
        ) from None
    return steps
