"""What a document is, what kind it is, and what a stage may say about it."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.engine import DataFrame

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
PROSE_SUFFIXES = frozenset({".txt", ".md", ".markdown", ".rst", ".text", ".tex", ".adoc"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
CODE_SUFFIXES = frozenset(
    [
        ".py",
        ".pyi",
        ".pyx",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".cxx",
        ".hpp",
        ".hh",
        ".cu",
        ".java",
        ".kt",
        ".scala",
        ".js",
        ".mjs",
        ".ts",
        ".tsx",
        ".jsx",
        ".go",
        ".rs",
        ".rb",
        ".php",
        ".pl",
        ".lua",
        ".sh",
        ".bash",
        ".sql",
        ".r",
        ".jl",
        ".swift",
        ".cs",
        ".hs",
        ".ml",
        ".mli",
        ".f90",
        ".f",
        ".m",
        ".css",
        ".scss",
        ".cmake",
        ".toml",
        ".yaml",
        ".yml",
        ".ini",
        ".cfg",
        ".proto",
        ".zig",
        ".ex",
        ".exs",
        ".erl",
        ".clj",
        ".lisp",
        ".el",
        ".vim",
        ".ps1",
        ".bat",
    ]
)
DOCSTRINGS = "#docstrings"  # the end of the source of a document made from a code file's docstrings

# A document. source: the file's path or URL; with ":LINE" of a .jsonl, ":ROW" of a .parquet.
SCHEMA = pa.schema(
    [("id", pa.large_string()), ("text", pa.large_string()), ("source", pa.large_string())]
)


_BYTES_PER_FILE = 2**28


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a rule says of one document; score is the number that was held against the threshold."""

    keep: bool
    reason: str
    score: float


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """Verdicts of a batch of N documents.

    reason: object [N], the name of the first rule that drops the document, None = keep.
    score: float64 [N], that rule's score, NaN = keep.
    """

    reason: np.ndarray
    score: np.ndarray

    @classmethod
    def keep_all(cls, num_documents: int) -> "Verdicts":
        return cls(np.full(num_documents, None, object), np.full(num_documents, np.nan))

    def drop(self, reason: str, dropped: np.ndarray, score: np.ndarray) -> None:
        """Drops documents where bool [N] `dropped` is set and no earlier rule dropped them."""
        new = dropped & (self.reason == None)  # noqa: E711  (elementwise)
        self.reason[new] = reason
        self.score[new] = score[new]


def document_id(source: str) -> str:
    """16 hex digits; the same source has the same id in every run."""
    return hashlib.blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def suffix_of(source: str) -> str:
    """The lower-case suffix of a source, without a compression's suffix, query or :LINE."""
    name = os.path.basename(source.split("?", 1)[0].split("#", 1)[0])
    head, _, tail = name.rpartition(":")
    stem, suffix = os.path.splitext((head if head and tail.isdigit() else name).lower())
    if suffix in COMPRESSIONS:
        suffix = os.path.splitext(stem)[1]
    return suffix


def is_code(source: str) -> bool:
    """Whether the rules for source code apply, rather than those for prose."""
    return not source.endswith(DOCSTRINGS) and suffix_of(source) in CODE_SUFFIXES


def is_html(source: str) -> bool:
    return suffix_of(source) in HTML_SUFFIXES


def text_bytes(documents: pa.Table | pa.RecordBatch) -> int:
    """UTF-8 bytes of the texts."""
    return pc.sum(pc.binary_length(documents["text"])).as_py() or 0


class DocumentWriter:
    """Writes documents in order as folder/part-00000.parquet …, and counts them."""

    def __init__(self, folder: Path, schema: pa.Schema):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._schema = folder, schema
        self._writer: pq.ParquetWriter | None = None
        self._num_files = self._bytes_in_file = 0
        self.num_documents = self.num_bytes = 0

    def write(self, documents: pa.Table) -> None:
        """Appends rows that have the columns of the schema."""
        if self._writer is None or self._bytes_in_file > _BYTES_PER_FILE:
            self._end_file()
            path = self._folder / f"part-{self._num_files:05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
            self._num_files, self._bytes_in_file = self._num_files + 1, 0
        self._writer.write_table(documents.select(self._schema.names).cast(self._schema))
        size = text_bytes(documents)
        self.num_documents += len(documents)
        self.num_bytes += size
        self._bytes_in_file += size

    def close(self) -> None:
        """Ends the last file; a folder with no document gets an empty file."""
        if self._writer is None and not self._num_files:
            self.write(self._schema.empty_table())
        self._end_file()

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def write_documents(documents: DataFrame, folder: Path, schema: pa.Schema) -> DocumentWriter:
    """Runs a plan and writes its rows in order; returns the closed writer with its counts.

    By pyarrow rather than by daft, which hides from its caller why a write failed: a full disk has
    to be told as one.
    """
    writer = DocumentWriter(folder, schema)
    for batch in documents.to_arrow_iter():
        writer.write(pa.Table.from_batches([batch]))
    writer.close()
    return writer
