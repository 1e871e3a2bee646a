"""A whole curation: read, judge, mix, tokenize, store; each step is kept and never done twice."""

import dataclasses
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from data_pipeline import ledger, mix, report, store, tokenize
from data_pipeline.config import CurationConfig
from data_pipeline.encoder import Encoder
from data_pipeline.engine import DaftCoreException, Tasks
from data_pipeline.execute import Runner, StageResult
from data_pipeline.listing import PYTHON, Listing, list_inputs, why
from data_pipeline.parts import StoredPart, write_json, write_whole
from data_pipeline.samples import SAMPLES
from data_pipeline.stage import Comparison, Stage, file_key, stage_key
from nanojaxlm import typed_config
from nanojaxlm.errors import RetryableError, UserError

CONFIG, STAGES = "config.json", "stages"
OWNED = (
    *(report.REPORT, report.PAGE, CONFIG, store.TOKENIZER),
    *("documents", "dropped", "ledger", "store"),
)
PARTS_PER_WORKER, MIN_PART_BYTES = 4, 2 * 10**6
CODE_VERSION = 2  # raise it where a stage gives other output for the same input and config


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and in what portions the work is done; nothing of it changes what comes out.

    workers: processes at once, 0 = this one. ray: address of a cluster, None = this machine.
    part_bytes: text of a part.
    """

    workers: int = 0
    ray: str | None = None
    part_bytes: int = 64 * 10**6


def curate(
    config: CurationConfig,
    inputs: Sequence[str],
    output: Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    execution: Execution = Execution(),
) -> dict[str, Any]:
    """Curates inputs into output, going on where an interrupted run stopped; returns the report.

    Args:
        config: what to do.
        inputs: files, folders, globs, URLs; none = the text of this Python installation.
        output: the folder to make: documents, dropped samples, ledger, tokenizer, store, report.
        overwrite: replace the curation of other inputs or another config that is there; stages
            that are the same in both are not run again.
        console: where progress is told; None = nowhere.
        execution: where the work is done.

    Raises:
        UserError: nothing readable, nothing left, another curation in output, output unwritable.
        RetryableError: a URL that cannot be reached; a full disk.
    """
    console, output = console or Console(quiet=True), output.absolute()
    listing = list_inputs(inputs)
    keys = _keys(listing, config)
    done = _prepare(output, keys["all"], overwrite)
    if done is not None:
        console.print(f"{output} is finished for these inputs and this config: left as it is")
        return done
    write_json(typed_config.to_plain(config), output / CONFIG)
    part_bytes = _part_bytes(listing, execution)
    with Tasks(execution.workers, execution.ray) as tasks:
        run = _Run(config, listing, output, keys, Runner(tasks, part_bytes, console))
        return run.all(list(inputs) or [PYTHON], execution)


def _part_bytes(listing: Listing, execution: Execution) -> int:
    """Smaller parts where the inputs are small, so that every worker has some."""
    share = sum(file.size for file in listing.files) // (
        PARTS_PER_WORKER * max(execution.workers, 1)
    )
    return min(execution.part_bytes, max(share, MIN_PART_BYTES))


class _Run:
    """One run over an output folder whose finished steps lie in output/stages."""

    def __init__(
        self,
        config: CurationConfig,
        listing: Listing,
        output: Path,
        keys: dict[str, str],
        runner: Runner,
    ):
        self.config, self.listing, self.output, self.keys = config, listing, output, keys
        self.runner, self.console = runner, runner.console

    def all(self, inputs: list[str], execution: Execution) -> dict[str, Any]:
        start = time.perf_counter()
        read, parts = self._read()
        results: list[StageResult] = []
        for stage in _stages(self.config):
            result, parts = self.runner.run_stage(stage, parts, self._folder(stage.name))
            results.append(result)
            report.print_stage(self.console, result)
            self._check_left(results)
        kept, tokenizer = self._store(parts, results, inputs)
        folders = {result.name: self._folder(result.name) for result in results}
        accounts = self._folder("ledger")
        replace_folder(
            self.output / "ledger",
            lambda place: ledger.write(parts, folders, accounts, place, self.runner.tasks),
        )
        replace_folder(self.output / "dropped", lambda place: _copy_samples(folders, place))
        summary = {
            "inputs": inputs,
            "key": self.keys["all"],
            "skipped": self.listing.skipped | read.pop("skipped"),
            "read": read,
            "stages": [report.stage_record(result) for result in results],
            "lengths": results[-1].tally["lengths_out"] if results else read["tally"]["lengths_in"],
            "kept": kept,
            "tokenizer": tokenizer,
            "versions": report.versions(),
            "cores": len(os.sched_getaffinity(0)),
            "workers": execution.workers,
            "seconds": time.perf_counter() - start,
        }
        report.write(summary, self.output)
        self._forget_others()
        return summary

    def _folder(self, name: str) -> Path:
        return self.output / STAGES / f"{name}-{self.keys[name]}"

    def _read(self) -> tuple[dict[str, Any], list[StoredPart]]:
        try:
            read, parts = self.runner.read(
                self.listing.files, self.config.read, self._folder("read")
            )
        except DaftCoreException as error:
            if any("://" in file.path for file in self.listing.files):
                raise RetryableError(
                    f"an input cannot be fetched ({why(error)}); run the same command again"
                ) from error
            raise
        report.print_read(self.console, read, len(self.listing.files))
        if not read["documents"]:
            failed = read["failed"]
            reason = f"{failed[0]['source']}: {failed[0]['error']}" if failed else "all are empty"
            raise UserError(
                f"none of {len(self.listing.files)} files could be read as a document ({reason}); "
                "name files that hold text"
            )
        return read, parts

    def _check_left(self, results: list[StageResult]) -> None:
        stage = results[-1]
        if stage.tally["documents_out"]:
            return
        top = max(stage.dropped, key=lambda reason: stage.dropped[reason])
        raise UserError(
            f"nothing is left: {stage.name} dropped all {stage.tally['documents_in']:,} documents, "
            f"most for {top} (such as {stage.examples[top][0]['source']}); loosen that rule under "
            f"--config.{stage.name} or give other inputs"
        )

    def _store(
        self, parts: list[StoredPart], results: list[StageResult], inputs: list[str]
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Mixes, trains and stores; a repeated run writes documents and store again whole."""
        config, tasks = self.config, self.runner.tasks
        folder = _made(self._folder("mix"))
        mixed = mix.mix(parts, config.mix, folder, tasks)
        if config.tokenizer is None:
            return store.write_documents(mixed, self.output, folder, tasks), None
        encoder = self._encoder(mixed, config.tokenizer)
        start, folder = time.perf_counter(), _made(self._folder(store.STAGE))
        stored = store.write_store(
            mixed,
            encoder,
            self.output,
            folder,
            tasks,
            sources=inputs,
            curation=typed_config.to_plain(config),
        )
        seconds = time.perf_counter() - start
        result = StageResult(store.STAGE, seconds, stored["tally"], {}, stored["examples"])
        results.append(result)
        report.print_stage(self.console, result)
        return stored["kept"], report.tokenizer_record(encoder.vocab_size, stored)

    def _encoder(self, mixed: mix.Mixed, config: tokenize.TokenizerConfig) -> Encoder:
        path = _made(self._folder("tokenizer")) / store.TOKENIZER
        if not path.is_file():
            start = time.perf_counter()
            encoder = tokenize.make_encoder(mixed.train_texts(), config)
            write_whole(encoder.model, path)
            self.console.print(
                f"tokenizer: {encoder.vocab_size:,} pieces, in {time.perf_counter() - start:.1f} s",
                highlight=False,
            )
        return Encoder(path.read_bytes(), config.drops_lossy)

    def _forget_others(self) -> None:
        """Stages of other configs go: what is left is what this one needs to go on from."""
        wanted = {self._folder(name).name for name in self.keys if name != "all"}
        for folder in (self.output / STAGES).iterdir():
            if folder.name not in wanted:
                shutil.rmtree(folder)


def _stages(config: CurationConfig) -> list[Stage | Comparison]:
    """Those of the config, and the one that weights of sources ask for."""
    return config.stages() + ([mix.Weights(config.mix)] if config.mix.weights else [])


def _keys(listing: Listing, config: CurationConfig) -> dict[str, str]:
    """The key of every step: a hash of all that its output depends on.

    Raises:
        UserError: a stage's file, such as a model, that cannot be read.
    """
    files = [dataclasses.astuple(file) for file in listing.files]
    key = stage_key(CODE_VERSION, files, typed_config.to_plain(config.read))
    keys = {"read": key}
    for stage in _stages(config):
        files = [_file_key(stage.name, path) for path in stage.files]
        key = stage_key(key, stage.name, typed_config.to_plain(stage.config), files)
        keys[stage.name] = key
    keys["mix"] = key = stage_key(key, typed_config.to_plain(config.mix))
    if config.tokenizer is not None:
        model = config.tokenizer.model
        files = [] if model is None else [_file_key("tokenizer.model", model)]
        key = stage_key(key, typed_config.to_plain(config.tokenizer), files)
        keys["tokenizer"] = keys[store.STAGE] = key
    keys["ledger"] = keys["all"] = key
    return keys


def _file_key(field: str, path: str) -> str:
    try:
        return file_key(path)
    except OSError as error:
        raise UserError(
            f"config.{field}: {path} cannot be read ({error.strerror}); name a file that is there"
        ) from error


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _copy_samples(folders: dict[str, Path], place: Path) -> None:
    place.mkdir(parents=True)
    for name, folder in folders.items():
        shutil.copy(folder / SAMPLES, place / f"{name}.parquet")


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder beside its place, then moves it there."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _prepare(output: Path, key: str, overwrite: bool) -> dict[str, Any] | None:
    """Makes the output folder ours; the report if it is finished already.

    Raises:
        UserError: it holds something else, or cannot be written.
    """
    try:
        if (output / report.REPORT).is_file():
            found = json.loads((output / report.REPORT).read_text())
            if found.get("key") == key:
                return found
            if not overwrite:
                raise UserError(
                    f"{output} holds the curation of other inputs or another config; choose "
                    "another --output, or pass --overwrite to replace it"
                )
        elif not (output / STAGES).is_dir() and output.exists() and any(output.iterdir()):
            raise UserError(
                f"{output} is not empty and no curation; choose a new folder for --output"
            )
        # The report goes first: without it nothing here reads as finished. Stages stay: those that
        # fit this config are not run again.
        for name in OWNED:
            place = output / name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        (output / STAGES).mkdir(parents=True, exist_ok=True)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(
            f"--output={output} cannot be written ({error.strerror}); choose a folder that can"
        ) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise UserError(f"--output={output} is on a read-only disk; choose another") from error
        raise
    return None
