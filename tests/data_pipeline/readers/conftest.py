"""Reading a file as a task does, and what comes out of it as plain rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.document import READ
from data_pipeline.listing import InputFile, form_of
from data_pipeline.parts import BATCH_BYTES, BATCH_DOCUMENTS
from data_pipeline.readers import ReadConfig, ReadTask, Span, read


class Rows(list[dict[str, Any]]):
    """Rows in order; skipped: what was passed over."""

    skipped: dict[str, int]

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self if row["error"] is None]

    @property
    def reasons(self) -> list[str]:
        return [row["error"].split(": ")[0] for row in self if row["error"] is not None]


def rows_of(task: ReadTask, config: ReadConfig) -> Rows:
    rows = Rows()
    reading = read(task, config)
    for batch in reading:
        assert batch.schema == READ
        batch.validate(full=True)
        assert 0 < len(batch) <= BATCH_DOCUMENTS
        texts = [len(text.encode()) for text in batch["text"].to_pylist()]
        assert len(batch) == 1 or sum(texts) <= BATCH_BYTES
        rows += batch.to_pylist()
    for row in rows:
        if row["error"] is not None:
            assert row["text"] == "" and "\n" not in row["error"]
            reason, sentence = row["error"].split(": ", 1)
            assert reason.replace("_", "").isalnum() and reason.islower() and sentence
    rows.skipped = dict(reading.skipped)
    return rows


@pytest.fixture
def read_path() -> Callable[..., Rows]:
    """read_path(path, form=None, **config): a file's rows, checked to be what READ promises."""

    def read_one(path: Path | str, form: str | None = None, **config: Any) -> Rows:
        path = str(path)
        size = Path(path).stat().st_size if Path(path).is_file() else 0
        file = InputFile(path, size, 0, form or form_of(path) or "text")
        return rows_of(ReadTask((Span(file),)), ReadConfig(**config))

    return read_one


@pytest.fixture
def read_task() -> Callable[[ReadTask, ReadConfig], Rows]:
    return rows_of
