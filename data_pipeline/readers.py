"""Files become documents: one function a form, strict about text, never a guess about an encoding.

Encoding: a byte order mark, a declared encoding (PEP 263 in .py, <meta charset> in HTML), else
UTF-8, strictly. Text that does not decode, or holds a NUL, fails with its offset; it is neither
guessed nor mended. A bad file, or a bad line of a .jsonl, is a failure that is recorded; the rest
goes on.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import ast
import bz2
import codecs
import email.parser
import gzip
import io
import json
import lzma
import re
import tokenize
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.document import (
    COMPRESSIONS,
    DOCSTRINGS,
    SCHEMA,
    document_id,
    suffix_of,
    text_bytes,
)
from data_pipeline.engine import DataFrame, DataType, Series, col, daft, lit
from data_pipeline.listing import InputFile, first_line

MAX_FAILURES_PER_FILE = 20  # bad lines of one .jsonl that are told one by one


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How inputs are read."""

    text_column: str = "text"  # of .jsonl and .parquet
    max_file_bytes: int = 2**30  # decompressed; a larger file fails: it may be a bomb
    files_per_task: int = 32

    def __post_init__(self):
        if not self.text_column:
            raise ValueError("text_column must name the field that holds the text, such as 'text'")
        for name in ("max_file_bytes", "files_per_task"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")


class Unreadable(ValueError):
    """Why a file or record cannot become a document; one line."""


Record = tuple[str, str | None, str | None]  # source, text, error: one of the last two is None

_ROW = DataType.struct(
    {
        "id": DataType.string(),
        "text": DataType.string(),
        "source": DataType.string(),
        "error": DataType.string(),
    }
)


# What reading leaves: a document, or a failure, whose text is null and error says why.
READ = SCHEMA.append(pa.field("error", pa.large_string()))


def read(files: tuple[InputFile, ...], config: ReadConfig) -> DataFrame:
    """A lazy frame of id, text, source, error: a row a document, or a failure (its text is null).

    Local files are opened by the workers; URLs are fetched by daft in the same plan.
    """
    frames = []
    for remote in (False, True):
        chosen = [file for file in files if ("://" in file.path) == remote]
        if not chosen:
            continue
        frame = daft.from_pydict(
            {"path": [f.path for f in chosen], "form": [f.form for f in chosen]}
        )
        data = col("path").download() if remote else lit(None).cast(DataType.binary())
        frames.append(frame.with_column("data", data))
    frame = frames[0] if len(frames) == 1 else frames[0].concat(frames[1])

    # A process each: parsing holds Python's lock.
    @daft.func.batch(
        return_dtype=DataType.list(_ROW), use_process=True, batch_size=config.files_per_task
    )
    def parse(paths: Series, forms: Series, data: Series) -> Series:
        rows = [
            [
                {"id": document_id(source), "text": text, "source": source, "error": error}
                for source, text, error in read_file(path, form, content, config)
            ]
            for path, form, content in zip(
                paths.to_pylist(), forms.to_pylist(), data.to_pylist(), strict=True
            )
        ]
        return Series.from_pylist(rows, dtype=DataType.list(_ROW))

    frame = frame.select(parse(col("path"), col("form"), col("data")).alias("row"))
    frame = frame.explode("row").where(col("row").not_null())
    return frame.select(*(col("row").get(name).alias(name) for name in READ.names))


def documents(folder: Path) -> DataFrame:
    """id, text, source of what was read into a folder."""
    frame = daft.read_parquet(str(folder / "*.parquet")).where(col("error").is_null())
    return frame.select("id", "text", "source")


def summarize(folder: Path) -> dict[str, Any]:
    """{"documents", "bytes", "failed": [{"source", "error"}, …]} of what was read into a folder."""
    num_documents = num_bytes = 0
    failed = []
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(8192):
            good = batch.filter(pc.is_null(batch["error"]))
            num_documents += len(good)
            num_bytes += text_bytes(good)
            bad = batch.filter(pc.is_valid(batch["error"]))
            failed += bad.select(["source", "error"]).to_pylist()
    failed.sort(key=lambda failure: failure["source"])
    return {"documents": num_documents, "bytes": num_bytes, "failed": failed}


def read_file(path: str, form: str, data: bytes | None, config: ReadConfig) -> list[Record]:
    """Every record of one file; data = its content, None = open the path. Raises nothing."""
    try:
        if data is None:
            with open(path, "rb") as file:
                data = file.read(config.max_file_bytes + 1)
        data = _decompress(data, path, config.max_file_bytes)
        return _READERS[form](data, path, config)
    except (Unreadable, OSError, RecursionError, MemoryError) as error:
        return [(path, None, first_line(error))]


def decode(data: bytes, path: str, declared: str | None = None) -> str:
    """Bytes to text by the policy above.

    Raises:
        Unreadable: another encoding, a NUL, or a lone surrogate.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    else:
        encoding = declared or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"not {encoding}: byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert the file to UTF-8 (iconv -f ENCODING -t UTF-8)"
        ) from None
    except LookupError:
        raise Unreadable(
            f"declares the unknown encoding {encoding!r}; convert it to UTF-8"
        ) from None
    return _checked(text)


def _checked(text: str) -> str:
    if (position := text.find("\0")) >= 0:
        raise Unreadable(f"binary: a NUL at character {position}; name text files only")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unreadable(f"no valid Unicode: a lone surrogate at {error.start}") from None
    return text


def _decompress(data: bytes, path: str, limit: int) -> bytes:
    compression = next((name for end, name in COMPRESSIONS.items() if path.endswith(end)), None)
    if compression is not None:
        try:
            with _OPENERS[compression](io.BytesIO(data)) as file:
                data = file.read(limit + 1)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise Unreadable(f"damaged {compression}: {first_line(error)}; copy it again") from None
    if len(data) > limit:
        raise Unreadable(
            f"larger than {limit} bytes; split it or raise --config.read.max_file_bytes"
        )
    return data


_OPENERS: dict[str, Callable[[io.BytesIO], Any]] = {
    "gzip": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
    "zstd": lambda file: pa.CompressedInputStream(file, "zstd"),
}


def _read_text(data: bytes, path: str, config: ReadConfig) -> list[Record]:
    return [(path, decode(data, path, _python_encoding(data, path)), None)]


def _read_html(data: bytes, path: str, config: ReadConfig) -> list[Record]:
    match = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", data[:2048], re.I)
    return [(path, decode(data, path, match.group(1).decode() if match else None), None)]


def _read_jsonl(data: bytes, path: str, config: ReadConfig) -> list[Record]:
    records: list[Record] = []
    failures = 0
    for number, line in enumerate(io.BytesIO(data), 1):
        if not line.strip():
            continue
        source = f"{path}:{number}"
        try:
            records.append((source, _text_of(line, config.text_column), None))
        except (Unreadable, RecursionError) as error:
            failures += 1
            if failures <= MAX_FAILURES_PER_FILE:
                records.append((source, None, first_line(error)))
    if failures > MAX_FAILURES_PER_FILE:
        more = failures - MAX_FAILURES_PER_FILE
        records.append((path, None, f"{more} more lines like these failed"))
    return records


def _text_of(line: bytes, column: str) -> str:
    try:
        value = json.loads(decode(line, ""))
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict) or not isinstance(value.get(column), str):
        names = ", ".join(list(value)[:8]) if isinstance(value, dict) else type(value).__name__
        raise Unreadable(
            f'no text in "{column}" (it has: {names}); name the field by --config.read.text_column'
        )
    return _checked(value[column])


def _read_parquet(data: bytes, path: str, config: ReadConfig) -> list[Record]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        if config.text_column not in names:
            raise Unreadable(
                f'no column "{config.text_column}" (it has: {", ".join(names[:8])}); '
                "name the column by --config.read.text_column"
            )
        texts = file.read(columns=[config.text_column]).column(0).cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise Unreadable(f"damaged parquet: {first_line(error)}") from None
    return [
        (f"{path}:{row}", _checked(text), None)
        if text is not None
        else (f"{path}:{row}", None, "the text is null")
        for row, text in enumerate(texts.to_pylist())
    ]


def _read_docstrings(data: bytes, path: str, config: ReadConfig) -> list[Record]:
    """The docstrings of a code file, in order, as one document of prose; none where it has none."""
    if b'"""' not in data and b"'''" not in data:
        return []
    try:
        tree = ast.parse(decode(data, path, _python_encoding(data, path)))
    except (SyntaxError, ValueError):
        return []  # an installed file for another Python: no failure of the user's input
    text = "\n\n".join(_docstrings(tree))
    return [(path + DOCSTRINGS, text + "\n", None)] if text else []


def _docstrings(node: ast.AST) -> Iterator[str]:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, holders):
        if text := ast.get_docstring(node):
            yield text
        for child in node.body:
            yield from _docstrings(child)


def _read_metadata(data: bytes, path: str, config: ReadConfig) -> list[Record]:
    """The long description of an installed package: the body of its METADATA."""
    message = email.parser.Parser().parsestr(decode(data, path))
    text = message.get_payload() or message.get("Description", "")
    return [(path, text, None)] if isinstance(text, str) and text.strip() else []


def _python_encoding(data: bytes, path: str) -> str | None:
    if suffix_of(path) not in (".py", ".pyi"):
        return None
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError as error:
        raise Unreadable(f"declares no known encoding ({first_line(error)})") from None
    return None if encoding == "utf-8-sig" else encoding


_READERS: dict[str, Callable[[bytes, str, ReadConfig], list[Record]]] = {
    "text": _read_text,
    "html": _read_html,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "docstrings": _read_docstrings,
    "metadata": _read_metadata,
}
