"""A file that is one document: prose, source code, a page, docstrings, a package's description."""

import ast
import email.parser
from collections import Counter
from collections.abc import Iterator

from data_pipeline.document import DOCSTRINGS, kind_of
from data_pipeline.readers.compression import open_stream, read_all
from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.encodings import declared_in_html, declared_in_python, decode
from data_pipeline.readers.plan import Span
from data_pipeline.readers.records import Record, checked, encoded, too_large
from data_pipeline.readers.sources import open_source


def read_text(span: Span, config: ReadConfig, skipped: Counter[str]) -> Iterator[Record]:
    """The file as it is, in UTF-8."""
    path = span.file.path
    data = read_file(path, config)
    text = decode(data, declared_in_python(data, path))
    yield Record(path, checked(text, config), kind_of(path))


def read_html(span: Span, config: ReadConfig, skipped: Counter[str]) -> Iterator[Record]:
    """The page as it is, in UTF-8."""
    path = span.file.path
    data = read_file(path, config)
    yield Record(path, checked(decode(data, declared_in_html(data)), config), kind_of(path))


def read_docstrings(span: Span, config: ReadConfig, skipped: Counter[str]) -> Iterator[Record]:
    """The docstrings of a code file, in order, as one document of prose."""
    path = span.file.path
    data = read_file(path, config)
    texts: list[str] = []
    if b'"""' in data or b"'''" in data:
        try:
            tree = ast.parse(decode(data, declared_in_python(data, path)).decode("utf-8"))
        except (SyntaxError, ValueError, RecursionError):
            # An installed file for another Python: no failure of the user's input.
            skipped["code that this Python cannot parse"] += 1
            return
        texts = list(_docstrings(tree))
    if texts:
        text = encoded("\n\n".join(texts) + "\n")
        yield Record(path + DOCSTRINGS, checked(text, config))
    else:
        skipped["code without docstrings"] += 1


def _docstrings(node: ast.AST) -> Iterator[str]:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, holders):
        if text := ast.get_docstring(node):
            yield text
        for child in node.body:
            yield from _docstrings(child)


def read_metadata(span: Span, config: ReadConfig, skipped: Counter[str]) -> Iterator[Record]:
    """The long description of an installed package: the body of its METADATA."""
    path = span.file.path
    message = email.parser.Parser().parsestr(decode(read_file(path, config)).decode("utf-8"))
    text = message.get_payload() or message.get("Description", "")
    if isinstance(text, str) and text.strip():
        yield Record(path, checked(encoded(text), config))
    else:
        skipped["packages without a description"] += 1


def read_file(path: str, config: ReadConfig) -> bytes:
    """A file's decompressed content.

    Raises:
        Unreadable: document_too_large, and as `Stream.read`.
    """
    with open_source(path) as source:
        data = read_all(open_stream(source, config), config.max_document_bytes)
    if len(data) > config.max_document_bytes:
        raise too_large(None, config)
    return data
