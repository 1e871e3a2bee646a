"""Files become documents: what is cut into which tasks, and what a task reads.

    tasks = plan(list_inputs(["corpus"]).files, part_bytes=64 * 2**20, config=ReadConfig())
    for batch in read(tasks[0], ReadConfig()): ...      # document.READ

Nothing that an input holds stops the reading: what cannot become a document is a row with an
error, "reason: what, where, how to mend". The reasons:

    unreadable            the file is gone, or may not be read
    empty                 no text but blanks
    document_too_large    a text, line, page or record above max_document_bytes
    expansion_limit       a compressed file, or rows of a table, that may be a bomb
    damaged_gzip, _bz2, _xz, _zstd, _warc, _http, _parquet, _pdf
    not_utf8 (not_ENCODING), unknown_encoding, lone_surrogate, nul_byte, bidi_override
    not_json, no_text_field
    encrypted_pdf, pdf_without_text
    reader_error          what no reader foresaw: a mistake of ours

A document's source is the path or URL of its file, and the place in it: of .jsonl :BYTE where the
line begins, of .parquet :ROW, of a crawl :BYTE of its record (of .gz that of the gzip member, as
CDX indexes have it). It does not depend on how the files are shared out, nor does its id.
"""

from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.plan import ReadTask, Span, plan
from data_pipeline.readers.reading import Reading, read
from data_pipeline.readers.records import Unreadable

__all__ = ["ReadConfig", "ReadTask", "Reading", "Span", "Unreadable", "plan", "read"]
