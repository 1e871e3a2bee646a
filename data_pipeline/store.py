"""The shuffled documents as files and, by a tokenizer, as a token store.

Worker processes write the documents of one bucket of the shuffle each, and its tokens; one writer
puts the tokens in order. A bucket depends on the documents alone, so that the bytes depend neither
on how many workers there are nor on the parts that the documents came from.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import contextlib
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
from data_pipeline.encoder import Encoded, Encoder
from data_pipeline.engine import Tasks
from data_pipeline.mix import SPLITS, Mixed
from data_pipeline.parts import PartFile, slices, write_json, write_whole
from data_pipeline.samples import Samples, merge_samples
from data_pipeline.stage import Judged
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import StoreWriter

TOKENIZER, STAGE = "tokenizer.model", "tokenize"
TOKENS_AT_ONCE = 2**20
_COUNTS = ("documents", "bytes", "repeats")
_ACCOUNTS = pa.schema([("id", pa.large_string()), ("reason", pa.string()), ("score", pa.float64())])


def write_documents(
    mixed: Mixed, output: Path, folder: Path, tasks: Tasks
) -> dict[str, dict[str, int]]:
    """Writes output/documents/SPLIT/part-00000.parquet …, of SCHEMA, a file a bucket.

    Args:
        mixed: the shuffled documents.
        output: where they are written; what was there goes.
        folder: for work; buckets that are there are not written again.
        tasks: where they are written.

    Returns:
        {split: {documents, bytes, repeats}}; repeats: those of the documents that are a further
        copy, by a weight above 1, of another.

    Raises:
        UserError: a split without a document.
    """
    names = _names(mixed)
    counts = tasks.map(partial(_write, mixed, folder), list(enumerate(names)))
    return _collect([told["kept"] for told in counts], names, folder, output)


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
        mixed, output, folder, tasks: as of `write_documents`.
        encoder: the tokenizer.
        sources, curation: for the store's manifest.

    Returns:
        kept: {split: {documents, bytes, repeats, tokens}}; tally: see `Tally.plain`, each document
        counted once; examples: of what was dropped; languages: {language: {documents, bytes,
        characters, words, tokens}} of what is stored, bytes being what the tokens stand for.

    Raises:
        UserError: a split without a document.
    """
    names = _names(mixed)
    encode = partial(_encode, mixed, encoder, folder)
    told: list[dict[str, Any]] = []
    with StoreWriter(
        str(output / "store"),
        tokenizer=encoder.model,
        sources=sources,
        curation=curation,
        overwrite=True,
    ) as store:
        for name, counts in zip(names, tasks.imap(encode, list(enumerate(names))), strict=True):
            told.append(counts)
            with np.load(folder / f"{name}.npz") as arrays:
                for split in SPLITS:
                    for tokens, lengths, num_bytes in _portions(arrays, split):
                        store.write(split, tokens, lengths, num_bytes)
        kept = _collect([counts["kept"] for counts in told], names, folder, output)
        store.finish()
    write_whole(encoder.model, output / TOKENIZER)
    languages: dict[str, dict[str, int]] = {}
    for counts in told:
        _add(languages, counts["languages"])
    return {
        "kept": kept,
        "tally": tally.merged(counts["tally"] for counts in told),
        "examples": merge_samples(folder, names),
        "languages": dict(sorted(languages.items())),
    }


def _portions(
    arrays: Mapping[str, np.ndarray], split: str
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Tokens, lengths and bytes of some documents at a time, since the writer copies them."""
    tokens, lengths = arrays[f"{split}_tokens"], arrays[f"{split}_lengths"]
    num_bytes, ends = arrays[f"{split}_bytes"], np.append(0, np.cumsum(lengths))
    start = 0
    while start < len(lengths):
        fits = int(np.searchsorted(ends, ends[start] + TOKENS_AT_ONCE, side="right")) - 1
        end = max(fits, start + 1)
        rows = slice(start, end)
        yield tokens[ends[start] : ends[end]], lengths[rows], int(num_bytes[rows].sum())
        start = end


def dropped_accounts(folder: Path) -> pa.Table:
    """id, reason, score of every document that the tokenizer could not give back."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.accounts.parquet"))]
    return pa.concat_tables([_ACCOUNTS.empty_table(), *tables])


def _names(mixed: Mixed) -> list[str]:
    return [f"bucket-{number:05d}" for number in range(mixed.num_buckets)]


def _write(mixed: Mixed, folder: Path, bucket: tuple[int, str]) -> dict[str, Any]:
    """Writes one bucket's documents; its counts."""
    number, name = bucket
    told = folder / f"{name}.json"
    if told.is_file():
        return json.loads(told.read_text())
    result: dict[str, Any] = {"kept": {}}
    table, held_out, again = mixed.read(number)
    for split, chosen in zip(SPLITS, (~held_out, held_out), strict=True):
        place = _documents(folder, name, split)
        result["kept"][split] = _write_split(table, again, chosen, place)
    write_json(result, told)
    return result


def _write_split(
    table: pa.Table, again: np.ndarray, chosen: np.ndarray, place: Path
) -> dict[str, int]:
    """Writes the chosen documents; their counts."""
    rows = table.filter(pa.array(chosen))
    with PartFile(place, SCHEMA) as file:
        for group in _groups(rows):
            file.write(group)
    counts = (len(rows), text_bytes(rows), int(again[chosen].sum()))
    return dict(zip(_COUNTS, counts, strict=True))


def _encode(
    mixed: Mixed, encoder: Encoder, folder: Path, bucket: tuple[int, str]
) -> dict[str, Any]:
    """Writes one bucket's documents and tokens; its counts."""
    number, name = bucket
    told = folder / f"{name}.json"
    if told.is_file():
        return json.loads(told.read_text())
    start = time.perf_counter()
    table, held_out, again = mixed.read(number)
    dtype = np.uint16 if encoder.vocab_size <= 2**16 else np.int32
    tokens: dict[str, list[np.ndarray]] = {split: [np.zeros(0, dtype)] for split in SPLITS}
    lengths, num_bytes = np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
    kept = np.zeros(len(table), bool)
    counted, samples, languages = tally.Tally(), Samples(STAGE), dict[str, dict[str, int]]()
    row = 0
    with PartFile(folder / f"{name}.accounts.parquet", _ACCOUNTS) as accounts:
        for group in _groups(table):
            encoded, rows = encoder.encode(group["text"]), slice(row, row + len(group))
            row += len(group)
            lengths[rows], num_bytes[rows] = encoded.lengths, encoded.num_bytes
            kept[rows] = encoded.kept
            for split, chosen in zip(SPLITS, (~held_out[rows], held_out[rows]), strict=True):
                wanted = np.repeat(chosen & encoded.kept, encoded.lengths)
                tokens[split].append(encoded.tokens[wanted].astype(dtype))
            _add(languages, encoded.by_language(languages_of(group)))
            once, judged = _judge(group, encoded, ~again[rows])
            counted.add(once, judged)
            samples.add(once, judged.verdicts)
            accounts.write(_accounts(once, judged.verdicts))
    arrays: dict[str, Any] = {}
    result: dict[str, Any] = {"kept": {}, "languages": languages}
    for split, chosen in zip(SPLITS, (kept & ~held_out, kept & held_out), strict=True):
        counts = _write_split(table, again, chosen, _documents(folder, name, split))
        arrays[f"{split}_tokens"] = np.concatenate(tokens.pop(split))
        arrays[f"{split}_lengths"] = lengths[chosen]
        arrays[f"{split}_bytes"] = num_bytes[chosen]
        result["kept"][split] = counts | {"tokens": len(arrays[f"{split}_tokens"])}
    _save(folder / f"{name}.npz", arrays)
    samples.write(folder, name)
    counted.plain["worker_seconds"] = time.perf_counter() - start
    write_json(result | {"tally": counted.plain}, told)
    return result | {"tally": counted.plain}


def _judge(
    group: pa.RecordBatch, encoded: Encoded, first: np.ndarray
) -> tuple[pa.RecordBatch, Judged]:
    """The documents that are no further copies, and what the tokenizer says of them."""
    verdicts = Verdicts.keep_all(len(group))
    verdicts.drop("not_lossless", ~encoded.kept, encoded.changed_at)
    changed = np.full(len(group), None, object)
    changed[encoded.kept & ~encoded.same] = "changed by the tokenizer"
    lengths = np.where(encoded.kept, encoded.lengths, np.nan)
    judged = Judged(
        Verdicts(verdicts.reason[first], verdicts.score[first]),
        notes={"text": changed[first]},
        measures={"tokens a document": lengths[first]},
    )
    return group.filter(pa.array(first)), judged


def _accounts(group: pa.RecordBatch, verdicts: Verdicts) -> pa.Table:
    dropped = verdicts.reason != None  # noqa: E711  (elementwise)
    columns = {
        "id": group["id"].filter(pa.array(dropped)),
        "reason": pa.array(verdicts.reason[dropped], pa.string()),
        "score": pa.array(verdicts.score[dropped], pa.float64()),
    }
    return pa.table(columns, schema=_ACCOUNTS)


def languages_of(group: pa.RecordBatch) -> list[str]:
    """The language that the language stage noted of each document; "all" where it noted none."""
    records, found = group["record"], ["all"] * len(group)
    notes = records.flatten()
    stage, what, value = notes.flatten()
    wanted = pc.and_(pc.equal(stage, "language"), pc.equal(what, "language"))
    places = pc.indices_nonzero(wanted)
    rows = pc.list_parent_indices(records).take(places).to_pylist()
    for row, language in zip(rows, value.take(places).to_pylist(), strict=True):
        found[row] = language
    return found


def _groups(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows as the batches of `slices`, whatever its chunks are."""
    for batch in table.combine_chunks().to_batches():
        yield from slices(batch)


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    partial_path = path.with_name(path.name + ".partial")
    with partial_path.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(partial_path, path)


def _add(total: dict[str, dict[str, int]], counts: Mapping[str, Mapping[str, int]]) -> None:
    for name, values in counts.items():
        sums = total.setdefault(name, dict.fromkeys(values, 0))
        for key, value in values.items():
            sums[key] += value


def _documents(folder: Path, name: str, split: str) -> Path:
    return folder / f"{name}.{split}.parquet"


def _collect(
    counts: Sequence[Mapping[str, Mapping[str, int]]],
    names: Sequence[str],
    folder: Path,
    output: Path,
) -> dict[str, dict[str, int]]:
    """Puts the buckets' files of documents into their places; the sums of the buckets' counts.

    The files are links where the disk has such: what is restarted finds them in `folder` too.
    """
    kept: dict[str, dict[str, int]] = {}
    for one in counts:
        _add(kept, one)
    for split in SPLITS:
        if not kept[split]["documents"]:
            raise UserError(f"no document is left for {split}; add inputs")
    for split in SPLITS:
        place = output / "documents" / split
        partial_place = place.with_name(place.name + ".partial")
        shutil.rmtree(partial_place, ignore_errors=True)
        partial_place.mkdir(parents=True)
        filled = [n for n, one in zip(names, counts, strict=True) if one[split]["documents"]]
        for number, name in enumerate(filled):
            source, goal = (
                _documents(folder, name, split),
                partial_place / f"part-{number:05d}.parquet",
            )
            with contextlib.suppress(OSError):
                os.link(source, goal)
            if not goal.exists():
                shutil.copyfile(source, goal)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(partial_place, place)
    return kept
