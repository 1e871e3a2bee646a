"""PDF: the text of the pages, by PDFium.

PDFium is C++ that Chrome gives to hostile files as well; should it ever crash, it takes its worker
process with it. It cannot be interrupted on a page, so the number of pages is bounded too.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

import pypdfium2

from data_pipeline.document import COMPRESSIONS
from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.plan import Span
from data_pipeline.readers.records import Record, Unreadable, checked, too_large
from data_pipeline.readers.sources import seekable
from data_pipeline.readers.whole import read_file

MAX_PAGES = 20_000
# How PDFium writes a hyphen at the end of a line, which only breaks a word: U+FFFE or U+0002.
_BROKEN_WORD = re.compile("[\ufffe\x02]\\s*")


def read_pdf(span: Span, config: ReadConfig, skipped: Counter[str]) -> Iterator[Record]:
    """The file as one document, its pages joined by an empty line."""
    path = span.file.path
    if path.lower().endswith(tuple(COMPRESSIONS)):
        text, num_pages = text_of(read_file(path, config), config)
    else:  # PDFium reads it piece by piece, so that it may be larger than a document
        with seekable(path) as file:
            text, num_pages = text_of(file, config)
    yield Record(path, checked(text, config), metadata=json.dumps({"pages": num_pages}))


def text_of(data: bytes | BinaryIO, config: ReadConfig) -> tuple[bytes, int]:
    """(UTF-8, number of pages) of a PDF.

    Raises:
        Unreadable: encrypted_pdf, damaged_pdf, pdf_without_text, document_too_large.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("encrypted_pdf", "it needs a password; decrypt it first") from None
        raise Unreadable("damaged_pdf", f"{error}; open and save it with a PDF program") from None
    try:
        num_pages = len(document)
        if num_pages > MAX_PAGES:
            raise Unreadable("document_too_large", f"{num_pages} pages, more than {MAX_PAGES}")
        pages: list[bytes] = []
        size = 0
        for number in range(num_pages):
            pages.append(_page_text(document, number))
            size += len(pages[-1])
            if size > config.max_document_bytes:
                raise too_large(None, config)
    finally:
        document.close()
    text = b"\n\n".join(page for page in pages if page)
    if not text:
        raise Unreadable("pdf_without_text", "it holds images only; run a text recognition first")
    return text, num_pages


def _page_text(document: pypdfium2.PdfDocument, number: int) -> bytes:
    try:
        page = document[number]
        try:
            view = page.get_textpage()
            try:
                text = view.get_text_bounded()
            finally:
                view.close()
        finally:
            page.close()
    except pypdfium2.PdfiumError as error:
        raise Unreadable("damaged_pdf", f"page {number + 1}: {error}") from None
    text = _BROKEN_WORD.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    # PDFium hands on what a font maps to, which may be half a pair of surrogates.
    return text.encode("utf-8", "replace")
