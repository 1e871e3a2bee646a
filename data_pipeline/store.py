"""The shuffled documents as files and, by a tokenizer, as a token store.

Worker processes encode one stretch of the shuffle each; one writer puts them in order. So the bytes
depend neither on how many workers there are nor on the parts that the documents came from.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline import tally
from data_pipeline.document import SCHEMA, Verdicts, text_bytes
from data_pipeline.engine import Tasks
from data_pipeline.mix import SPLITS, Mixed
from data_pipeline.parts import PartFile, rebatch, write_json
from data_pipeline.samples import Samples, merge_samples
from data_pipeline.stage import Judged
from data_pipeline.tokenize import Encoder
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import StoreWriter

TOKENIZER, STAGE = "tokenizer.model", "tokenize"
_FILE_BYTES = 2**28  # of text in a file of documents/
# num_bytes: UTF-8 bytes that a document's tokens stand for.
_ENCODED = (
    SCHEMA.append(pa.field("held_out", pa.bool_()))
    .append(pa.field("tokens", pa.large_list(pa.int32())))
    .append(pa.field("num_bytes", pa.int64()))
)
_ACCOUNTS = pa.schema([("id", pa.large_string()), ("reason", pa.string()), ("score", pa.float64())])


class DocumentWriter:
    """Writes documents in order as folder/part-00000.parquet …, and counts them."""

    def __init__(self, folder: Path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder, self._file = folder, None
        self._num_files = self._bytes_in_file = 0
        self.num_documents = self.num_bytes = 0

    def write(self, documents: pa.Table) -> None:
        """Appends documents of SCHEMA."""
        for batch in rebatch(documents.to_batches()):
            self._write(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        size = text_bytes(batch)
        if self._file is None or self._bytes_in_file + size > _FILE_BYTES:
            self.close()
            path = self._folder / f"part-{self._num_files:05d}.parquet"
            self._file = PartFile(path, SCHEMA)
            self._num_files, self._bytes_in_file = self._num_files + 1, 0
        self._file.write(batch)
        self._bytes_in_file += size
        self.num_documents += len(batch)
        self.num_bytes += size

    def close(self) -> None:
        """Ends the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None


def write_documents(mixed: Mixed, output: Path) -> dict[str, dict[str, int]]:
    """Writes output/documents; {split: {documents, bytes}}.

    Raises:
        UserError: a split without a document.
    """
    writers = {split: DocumentWriter(_partial(output, split)) for split in SPLITS}
    for bucket in range(mixed.buckets.num_buckets):
        table, held_out = mixed.read(bucket)
        for split, chosen in zip(SPLITS, (~held_out, held_out), strict=True):
            writers[split].write(table.filter(pa.array(chosen)))
    return _finish(writers, output)


def write_store(
    mixed: Mixed,
    encoder: Encoder,
    output: Path,
    folder: Path,
    tasks: Tasks,
    *,
    sources: Sequence[str],
    curation: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes output/documents, output/tokenizer.model and output/store.

    Args:
        mixed: the shuffled documents.
        encoder: the tokenizer.
        output: where they are written; what was there goes.
        folder: for work; encoded stretches that are there are not encoded again.
        tasks: where the encoding runs.
        sources, curation: for the store's manifest.

    Returns:
        kept: {split: {documents, bytes, tokens}}; tally: see `Tally.plain`; examples: of what was
        dropped; languages: {language: {documents, bytes, characters, words, tokens}}.

    Raises:
        UserError: a split without a document.
    """
    names = [f"bucket-{number:05d}" for number in range(mixed.buckets.num_buckets)]
    encode = partial(_encode, mixed, encoder, folder)
    languages: dict[str, dict[str, int]] = {}
    tallies, tokens_of = [], dict.fromkeys(SPLITS, 0)
    writers = {split: DocumentWriter(_partial(output, split)) for split in SPLITS}
    with StoreWriter(
        str(output / "store"),
        tokenizer=encoder.model,
        sources=sources,
        curation=curation,
        overwrite=True,
    ) as store:
        for name, counts in zip(names, tasks.imap(encode, list(enumerate(names))), strict=True):
            tallies.append(counts["tally"])
            _add_languages(languages, counts["languages"])
            for split, batch in _by_split(folder / f"{name}.parquet"):
                tokens = pc.list_flatten(batch["tokens"]).to_numpy()
                lengths = pc.list_value_length(batch["tokens"]).to_numpy()
                num_bytes = pc.sum(batch["num_bytes"]).as_py()
                writers[split].write(batch.select(SCHEMA.names))
                store.write(split, tokens, lengths, num_bytes)
                tokens_of[split] += len(tokens)
        kept = _finish(writers, output)
        store.finish()
    partial_model = output / (TOKENIZER + ".partial")
    partial_model.write_bytes(encoder.model)
    os.replace(partial_model, output / TOKENIZER)
    return {
        "kept": {split: kept[split] | {"tokens": tokens_of[split]} for split in SPLITS},
        "tally": tally.merged(tallies),
        "examples": merge_samples(folder, names),
        "languages": dict(sorted(languages.items())),
    }


def dropped_accounts(folder: Path) -> pa.Table:
    """id, reason, score of every document that the tokenizer could not give back."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.accounts.parquet"))]
    return pa.concat_tables([_ACCOUNTS.empty_table(), *tables])


def _encode(
    mixed: Mixed, encoder: Encoder, folder: Path, bucket: tuple[int, str]
) -> dict[str, Any]:
    """Encodes one stretch into folder/NAME.parquet; its counts."""
    number, name = bucket
    told = folder / f"{name}.json"
    if told.is_file():
        return json.loads(told.read_text())
    start = time.perf_counter()
    table, held_out = mixed.read(number)
    table = table.append_column("held_out", pa.array(held_out))
    counted, samples, languages = tally.Tally(), Samples(STAGE), dict[str, dict[str, int]]()
    with (
        PartFile(folder / f"{name}.parquet", _ENCODED) as file,
        PartFile(folder / f"{name}.accounts.parquet", _ACCOUNTS) as accounts,
    ):
        for batch in rebatch(table.to_batches()):
            encoded = encoder.encode(batch["text"].to_pylist())
            verdicts = Verdicts.keep_all(len(batch))
            verdicts.drop("not_lossless", ~encoded.kept, encoded.changed_at)
            dropped = {"reason": verdicts.reason, "score": verdicts.score}
            columns = {"id": batch["id"]} | {k: pa.array(v) for k, v in dropped.items()}
            rows = pa.array(~encoded.kept)
            accounts.write(pa.table(columns).cast(_ACCOUNTS).filter(rows))
            lengths = np.where(encoded.kept, encoded.lengths, np.nan)
            counted.add(batch, Judged(verdicts, measures={"tokens a document": lengths}))
            samples.add(batch, verdicts)
            _add_languages(languages, encoded.by_language(languages_of(batch)))
            tokens = pa.LargeListArray.from_arrays(encoded.offsets, encoded.tokens)
            extra = {"tokens": tokens, "num_bytes": pa.array(encoded.num_bytes)}
            whole = pa.table(batch)
            for column, values in extra.items():
                whole = whole.append_column(column, values)
            file.write(whole.filter(pa.array(encoded.kept)))
    samples.write(folder, name)
    counted.plain["worker_seconds"] = time.perf_counter() - start
    result = {"tally": counted.plain, "languages": languages}
    write_json(result, told)
    return result


def languages_of(batch: pa.RecordBatch) -> list[str]:
    """The language that the language stage noted of each document; "all" where it noted none."""
    found = []
    for record in batch["record"].to_pylist():
        notes = [n["value"] for n in record if (n["stage"], n["what"]) == ("language", "language")]
        found.append(notes[-1] if notes else "all")
    return found


def _add_languages(
    total: dict[str, dict[str, int]], counts: Mapping[str, Mapping[str, int]]
) -> None:
    for language, values in counts.items():
        sums = total.setdefault(language, dict.fromkeys(values, 0))
        for name, value in values.items():
            sums[name] += value


def _by_split(path: Path) -> Iterator[tuple[str, pa.Table]]:
    """The encoded documents of a stretch, in order, by split; some at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).combine_chunks()
            for split, wanted in zip(SPLITS, (False, True), strict=True):
                chosen = table.filter(pc.equal(table["held_out"], wanted)).combine_chunks()
                if len(chosen):
                    yield split, chosen


def _partial(output: Path, split: str) -> Path:
    return output / "documents" / f"{split}.partial"


def _finish(writers: Mapping[str, DocumentWriter], output: Path) -> dict[str, dict[str, int]]:
    """Gives the folders of documents their names."""
    for split, writer in writers.items():
        writer.close()
        if not writer.num_documents:
            raise UserError(f"no document is left for {split}; add inputs")
    for split in writers:
        place = output / "documents" / split
        shutil.rmtree(place, ignore_errors=True)
        os.replace(_partial(output, split), place)
    return {
        split: {"documents": writer.num_documents, "bytes": writer.num_bytes}
        for split, writer in writers.items()
    }
