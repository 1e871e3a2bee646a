"""A whole curation: read, judge, mix, tokenize, store; each step is kept and never done twice."""

import dataclasses
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sentencepiece
from rich.console import Console

from data_pipeline import mix, readers, report, tokenize
from data_pipeline.config import CurationConfig
from data_pipeline.document import SCHEMA, DocumentWriter, text_bytes, write_documents
from data_pipeline.engine import DaftCoreException, DataFrame
from data_pipeline.listing import PYTHON, Listing, list_inputs, why
from data_pipeline.stage import (
    JUDGED,
    StageResult,
    commit,
    finished,
    fresh,
    kept,
    load_result,
    run_stage,
    stage_key,
    summarize,
    write_dropped,
)
from nanojaxlm import typed_config
from nanojaxlm.errors import RetryableError, UserError
from nanojaxlm.token_store import StoreWriter

REPORT, CONFIG, TOKENIZER = "report.json", "config.json", "tokenizer.model"
OWNED = (REPORT, CONFIG, "documents", "dropped", TOKENIZER, "store")
CODE_VERSION = 1  # raise it where a stage gives other output for the same input and config


def curate(
    config: CurationConfig,
    inputs: Sequence[str],
    output: Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Curates inputs into output, going on where an interrupted run stopped; returns the report.

    Args:
        config: what to do.
        inputs: files, folders, globs, URLs; none = the text of this Python installation.
        output: the folder to make: documents, dropped documents, tokenizer, store, report.
        overwrite: replace the curation of other inputs or another config that is there.
        console: where progress is told; None = nowhere.

    Raises:
        UserError: nothing readable, nothing left, another curation in output, output unwritable.
        RetryableError: a URL that cannot be reached; a full disk.
    """
    console = console or Console(quiet=True)
    listing = list_inputs(inputs)
    key = stage_key(read_key(listing, config), typed_config.to_plain(config))
    done = _prepare(output, key, overwrite)
    if done is not None:
        console.print(f"{output} is finished for these inputs and this config: left as it is")
        return done
    report.write_json(typed_config.to_plain(config), output / CONFIG)
    result = _Run(config, listing, output, key, console).all(list(inputs) or [PYTHON])
    shutil.rmtree(output / "stages")
    return result


class _Run:
    """One run over an output folder whose finished steps lie in output/stages."""

    def __init__(
        self, config: CurationConfig, listing: Listing, output: Path, key: str, console: Console
    ):
        self.config, self.listing, self.output, self.key = config, listing, output, key
        self.stages, self.console = output / "stages", console
        self.cores = len(os.sched_getaffinity(0))

    def all(self, inputs: list[str]) -> dict[str, Any]:
        start = time.perf_counter()
        key = read_key(self.listing, self.config)
        read = self._read(key)
        documents = readers.documents(self.stages / f"read-{key}")
        results: list[StageResult] = []
        folders: dict[str, Path] = {}
        for stage in self.config.stages():
            key = stage_key(key, stage.name, typed_config.to_plain(stage.config))
            folder = folders[stage.name] = self.stages / f"{stage.name}-{key}"
            results.append(run_stage(stage, documents, folder))
            report.print_stage(self.console, results[-1])
            self._check_left(results)
            documents = kept(folder)
        key = stage_key(key, typed_config.to_plain(self.config.mix))
        mixed = self._mix(documents, self.stages / f"mix-{key}")
        key = stage_key(key, typed_config.to_plain(self.config.tokenizer))
        model = self._train(mixed, self.stages / f"tokenizer-{key}")
        folder = folders["tokenize"] = self.stages / f"tokenize-{key}"
        result, splits = self._store(model, mixed, inputs, folder)
        results.append(result)
        report.print_stage(self.console, result)
        replace_folder(self.output / "dropped", lambda place: write_dropped(folders, place))
        num_tokens = sum(split["tokens"] for split in splits.values())
        summary = {
            "inputs": inputs,
            "key": self.key,
            "skipped": self.listing.skipped,
            "read": read,
            "stages": [dataclasses.asdict(result) for result in results],
            "kept": splits,
            "tokenizer": {
                "vocab_size": self.config.tokenizer.vocab_size,
                "bytes_per_token": sum(s["bytes"] for s in splits.values()) / max(num_tokens, 1),
            },
            "versions": report.versions(),
            "cores": self.cores,
            "seconds": time.perf_counter() - start,
        }
        report.write_json(summary, self.output / REPORT)
        return summary

    def _read(self, key: str) -> dict[str, Any]:
        folder = self.stages / f"read-{key}"
        if not finished(folder):
            start = time.perf_counter()
            partial = fresh(folder)
            try:
                frame = readers.read(self.listing.files, self.config.read)
                write_documents(frame, partial, readers.READ)
            except DaftCoreException as error:
                if any("://" in file.path for file in self.listing.files):
                    raise RetryableError(
                        f"an input cannot be fetched ({why(error)}); run the same command again"
                    ) from error
                raise
            result = readers.summarize(partial) | {"seconds": time.perf_counter() - start}
            commit(partial, folder, result)
        result = load_result(folder)
        report.print_failed(self.console, result["failed"])
        self.console.print(
            f"read: {result['documents']:,} documents, {report.megabytes(result['bytes'])} MB, "
            f"from {len(self.listing.files):,} files, in {result['seconds']:.1f} s",
            highlight=False,
        )
        if not result["documents"]:
            failed = result["failed"]
            reason = f"{failed[0]['source']}: {failed[0]['error']}" if failed else "all are empty"
            raise UserError(
                f"none of {len(self.listing.files)} files could be read as a document ({reason}); "
                "name files that hold text"
            )
        return result

    def _check_left(self, results: list[StageResult]) -> None:
        if not results[-1].documents_out:
            stage = results[-1]
            top = max(stage.dropped, key=lambda reason: stage.dropped[reason])
            raise UserError(
                f"nothing is left: {stage.name} dropped all {stage.documents_in:,} documents, most "
                f"for {top} (such as {stage.examples[top][0]['source']}); loosen that rule under "
                f"--config.{stage.name} or give other inputs"
            )

    def _mix(self, documents: DataFrame, folder: Path) -> Path:
        if not finished(folder):
            start = time.perf_counter()
            partial = fresh(folder)
            counts = mix.mix(documents, self.config.mix, partial)
            commit(partial, folder, counts | {"seconds": time.perf_counter() - start})
        counts = load_result(folder)
        self.console.print(
            f"mix: {counts['train']['documents']:,} documents to train on, "
            f"{counts['validation']['documents']:,} held out, in {counts['seconds']:.1f} s",
            highlight=False,
        )
        return folder

    def _train(self, mixed: Path, folder: Path) -> bytes:
        if not finished(folder):
            start = time.perf_counter()
            partial = fresh(folder)
            texts = tokenize.read_texts(mixed / "train")
            model = tokenize.train_tokenizer(texts, self.config.tokenizer, self.cores)
            (partial / TOKENIZER).write_bytes(model)
            commit(partial, folder, {"seconds": time.perf_counter() - start})
        self.console.print(
            f"tokenizer: {self.config.tokenizer.vocab_size:,} pieces, in "
            f"{load_result(folder)['seconds']:.1f} s",
            highlight=False,
        )
        return (folder / TOKENIZER).read_bytes()

    def _store(
        self, model: bytes, mixed: Path, inputs: list[str], folder: Path
    ) -> tuple[StageResult, dict[str, dict[str, int]]]:
        """Writes documents/, tokenizer.model and store/; a repeated run writes them again whole."""
        start = time.perf_counter()
        partial, splits = fresh(folder), {}
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        judged = DocumentWriter(partial, JUDGED)
        with StoreWriter(
            str(self.output / "store"),
            tokenizer=model,
            sources=inputs,
            curation=typed_config.to_plain(self.config),
            overwrite=True,
        ) as store:
            for split in mix.SPLITS:
                documents = DocumentWriter(fresh(self.output / "documents" / split), SCHEMA)
                num_tokens = 0
                for batch in tokenize.read_batches(mixed / split):
                    ids, lossless = tokenize.encode(
                        processor, batch["text"].to_pylist(), self.cores
                    )
                    reasons = [None if ok else "not_lossless" for ok in lossless]
                    scores = [None if ok else 0.0 for ok in lossless]
                    judged.write(
                        batch.append_column(
                            "reason", [pa.array(reasons, pa.large_string())]
                        ).append_column("score", [pa.array(scores, pa.float64())])
                    )
                    batch = batch.filter(pa.array(lossless))
                    if not len(batch):
                        continue
                    documents.write(batch)
                    tokens, lengths = tokenize.flat(
                        [document for document, ok in zip(ids, lossless, strict=True) if ok]
                    )
                    num_tokens += len(tokens)
                    store.write(split, tokens, lengths, text_bytes(batch))
                documents.close()
                if not documents.num_documents:
                    raise UserError(f"no document is left for {split}; add inputs")
                splits[split] = {
                    "documents": documents.num_documents,
                    "bytes": documents.num_bytes,
                    "tokens": num_tokens,
                }
            store.finish()
        judged.close()
        for split in mix.SPLITS:
            place = self.output / "documents" / split
            shutil.rmtree(place, ignore_errors=True)
            os.replace(place.with_name(split + ".partial"), place)
        partial_model = self.output / (TOKENIZER + ".partial")
        partial_model.write_bytes(model)
        os.replace(partial_model, self.output / TOKENIZER)
        result = summarize("tokenize", partial, time.perf_counter() - start)
        commit(partial, folder, dataclasses.asdict(result))
        return result, splits


def read_key(listing: Listing, config: CurationConfig) -> str:
    """What the read documents depend on: the files as listed, how they are read, our code."""
    files = [dataclasses.astuple(file) for file in listing.files]
    return stage_key(CODE_VERSION, files, typed_config.to_plain(config.read))


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
        if (output / REPORT).is_file():
            found = json.loads((output / REPORT).read_text())
            if found.get("key") == key:
                return found
            if not overwrite:
                raise UserError(
                    f"{output} holds the curation of other inputs or another config; choose "
                    "another --output, or pass --overwrite to replace it"
                )
        elif not (output / "stages").is_dir() and output.exists() and any(output.iterdir()):
            raise UserError(
                f"{output} is not empty and no curation; choose a new folder for --output"
            )
        # The report goes first: without it nothing here reads as finished. Stages stay: those of an
        # interrupted run that fit this config are not run again.
        for name in OWNED:
            place = output / name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        (output / "stages").mkdir(parents=True, exist_ok=True)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(
            f"--output={output} cannot be written ({error.strerror}); choose a folder that can"
        ) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise UserError(f"--output={output} is on a read-only disk; choose another") from error
        raise
    return None
