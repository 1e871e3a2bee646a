"""What a document is, what kind it is, and what a stage may say about it."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
PROSE_SUFFIXES = frozenset({".txt", ".md", ".markdown", ".rst", ".text", ".tex", ".adoc"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
CODE_SUFFIXES = frozenset(
    """
    .py .pyi .pyx .c .h .cc .cpp .cxx .hpp .hh .cu .java .kt .scala .js .mjs .ts .tsx .jsx .go
    .rs .rb .php .pl .lua .sh .bash .sql .r .jl .swift .cs .hs .ml .mli .f90 .f .m .css .scss
    .cmake .toml .yaml .yml .ini .cfg .proto .zig .ex .exs .erl .clj .lisp .el .vim .ps1 .bat
    """.split()  # noqa: SIM905  (a list of 57 lines tells less)
)
DOCSTRINGS = "#docstrings"  # the end of the source of a document made from a code file's docstrings

# How a text is to be judged: code has its own rules, and of a page the main text is wanted.
PROSE, HTML, CODE = "prose", "html", "code"
# What the stages noted of a document, in their order; value is written as text.
RECORD = pa.list_(
    pa.struct([("stage", pa.string()), ("what", pa.string()), ("value", pa.string())])
)
# A document. source: the file's path or URL, with the place in it where it holds several.
# timestamp: ISO 8601; metadata: a JSON object; both are null where the input has none.
SCHEMA = pa.schema(
    [
        pa.field("id", pa.large_string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.large_string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("url", pa.large_string()),
        pa.field("timestamp", pa.string()),
        pa.field("metadata", pa.large_string()),
        pa.field("record", RECORD, nullable=False),
    ]
)
# What reading leaves: a document, or a failure, whose text is "" and whose error says why.
READ = SCHEMA.append(pa.field("error", pa.large_string()))


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


def kind_of(source: str) -> str:
    """PROSE, HTML or CODE, by the source's suffix."""
    if is_html(source):
        return HTML
    return CODE if is_code(source) else PROSE


def batch_of(
    texts: Sequence[str],
    sources: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> pa.RecordBatch:
    """Documents of SCHEMA; sources are d0, d1, …, kinds PROSE, ids of the sources by default."""
    sources = [f"d{i}" for i in range(len(texts))] if sources is None else sources
    empty = [None] * len(texts)
    columns = {
        "id": [document_id(source) for source in sources] if ids is None else ids,
        "text": texts,
        "source": sources,
        "kind": [PROSE] * len(texts) if kinds is None else kinds,
        "url": empty,
        "timestamp": empty,
        "metadata": empty,
        "record": [[] for _ in texts],
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
