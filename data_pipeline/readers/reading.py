"""Reading a task: every form's reader, and what becomes of a file that fails."""

from collections import Counter
from collections.abc import Callable, Iterator

import pyarrow as pa

from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.jsonl import read_jsonl
from data_pipeline.readers.pdf import read_pdf
from data_pipeline.readers.plan import ReadTask, Span
from data_pipeline.readers.records import Record, failure, in_batches
from data_pipeline.readers.tables import read_parquet
from data_pipeline.readers.warc import read_warc
from data_pipeline.readers.whole import read_docstrings, read_html, read_metadata, read_text
from nanojaxlm.errors import RetryableError

Reader = Callable[[Span, ReadConfig, Counter[str]], Iterator[Record | pa.RecordBatch]]

READERS: dict[str, Reader] = {
    "text": read_text,
    "html": read_html,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "pdf": read_pdf,
    "warc": read_warc,
    "docstrings": read_docstrings,
    "metadata": read_metadata,
}


class Reading:
    """Batches of document.READ, as they are read; to be gone through once.

    skipped: how many things that are no documents were passed over, by what they were ("request
        records", "responses with status 404", …); complete once the batches have all been taken.

    Raises:
        RetryableError: the network failed; nothing that the input holds raises.
    """

    def __init__(self, task: ReadTask, config: ReadConfig):
        self.skipped: Counter[str] = Counter()
        self._batches = in_batches(
            record for span in task.spans for record in self._records(span, config)
        )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def _records(self, span: Span, config: ReadConfig) -> Iterator[Record | pa.RecordBatch]:
        try:
            yield from READERS[span.file.form](span, config, self.skipped)
        except RetryableError:
            raise
        except Exception as error:
            yield failure(span.file.path, error)


def read(task: ReadTask, config: ReadConfig) -> Reading:
    """A task's documents and failures, as a stream of batches."""
    return Reading(task, config)
