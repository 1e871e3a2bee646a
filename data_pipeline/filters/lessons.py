"""Texts that a model learns from: read, each once, some held out, cut into passages."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import hashlib
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline import readers
from data_pipeline.document import PROSE, SCHEMA
from data_pipeline.extraction import Extraction, ExtractionConfig
from data_pipeline.listing import list_inputs
from data_pipeline.readers import ReadConfig
from nanojaxlm.errors import UserError

HELD_OUT_RATE = 0.1
PASSAGE = 4000  # characters: a novel teaches in portions, not as one example of thousands
_PART_BYTES = 16 * 10**6


def read_texts(inputs: Sequence[str], flag: str, max_megabytes: float) -> list[str]:
    """The prose behind the inputs, pages as their main text, in the order of their hashes.

    Each text once. Where there is more, the texts whose hashes are the smallest, of max_megabytes
    * 10^6 characters together: a sample that depends on the texts alone.

    Raises:
        UserError: nothing to read, or nothing of it is prose; it names the flag.
        RetryableError: a URL that cannot be reached.
    """
    config, extraction = ReadConfig(), Extraction(ExtractionConfig())
    limit = int(max_megabytes * 1e6)
    found: dict[bytes, str] = {}
    size = 0
    try:
        files = list_inputs(inputs).files
    except UserError as error:
        raise UserError(str(error).replace("--input=", f"--{flag}=")) from None
    for task in readers.plan(files, _PART_BYTES, config):
        for batch in readers.read(task, config):
            for text in _prose(batch, extraction):
                key = _digest(text)
                size += 0 if key in found else len(text)
                found[key] = text
            if size > 2 * limit:
                found = _smallest(found, limit)
                size = sum(map(len, found.values()))
    if not found:
        raise UserError(
            f"--{flag}={','.join(inputs)}: no document of prose could be read there; source code, "
            "and pages without a main text, teach nothing here"
        )
    return list(_smallest(found, limit).values())


def _prose(batch: pa.RecordBatch, extraction: Extraction) -> Iterable[str]:
    good = batch.filter(pc.is_null(batch["error"])).select(SCHEMA.names)
    judged = extraction.judge(good)
    texts = good["text"] if judged.texts is None else judged.texts
    kinds = good["kind"] if judged.kinds is None else judged.kinds
    rows = zip(texts.to_pylist(), kinds.to_pylist(), judged.verdicts.reason, strict=True)
    return (text for text, kind, reason in rows if kind == PROSE and reason is None)


def _smallest(found: dict[bytes, str], limit: int) -> dict[bytes, str]:
    kept, size = {}, 0
    for key in sorted(found):
        size += len(found[key])
        if size > limit and kept:
            break
        kept[key] = found[key]
    return kept


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def hold_out(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """(texts to learn from, texts to test with): HELD_OUT_RATE of them, at least one, by hash.

    The same text counts once, so that none is on both sides.

    Raises:
        UserError: fewer than two texts.
    """
    by_key = {_digest(text): text for text in texts}
    ordered = [by_key[key] for key in sorted(by_key)]
    if len(ordered) < 2:
        raise UserError(
            f"{len(ordered)} different document(s) to learn from: one in ten is held out to test "
            "with, so give 2 at least; cut a long file into documents, say a line each in .jsonl"
        )
    num_held = max(1, round(HELD_OUT_RATE * len(ordered)))
    return ordered[num_held:], ordered[:num_held]


def passages(texts: Iterable[str]) -> list[str]:
    """Portions of PASSAGE characters; the last of a text has the rest."""
    return [text[i : i + PASSAGE] for text in texts for i in range(0, max(len(text), 1), PASSAGE)]
