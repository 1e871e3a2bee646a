"""Parts: what is read back is what verdicts left, whatever the batches were."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline import parts
from data_pipeline.document import RECORD, SCHEMA, Verdicts, batch_of
from data_pipeline.execute import verdicts_table
from data_pipeline.parts import BATCH_BYTES, BATCH_DOCUMENTS, Layer, PartFile, StoredPart, rebatch
from data_pipeline.stage import Judged


def judged(reasons, **notes):
    verdicts = Verdicts.keep_all(len(reasons))
    verdicts.drop("bad", np.array(reasons), np.full(len(reasons), 0.5))
    return Judged(verdicts, notes={k: np.array(v, object) for k, v in notes.items()})


def write(path, table, schema):
    with PartFile(path, schema) as file:
        file.write(table)


@pytest.fixture
def part(tmp_path):
    """Ten documents; a stage dropped every third, a later one the first that was left."""
    read, first, second = (tmp_path / name for name in ("read", "first", "second"))
    for folder in (read, first, second):
        folder.mkdir()
    batch = batch_of([f"text {i}" for i in range(10)], ids=[f"{i:02d}" for i in range(10)])
    with PartFile(read / "p.parquet", SCHEMA) as file:
        for start in range(0, 10, 4):  # three row groups
            file.write(batch.slice(start, 4))
    dropped = [i % 3 == 0 for i in range(10)]
    said = judged(dropped, language=[f"l{i}" for i in range(10)])
    write(first / "p.verdicts.parquet", verdicts_table("first", said), parts.VERDICTS)
    said = judged([True] + [False] * 5, score=[None, 0.5, 1, None, 2.25, None])
    write(second / "p.verdicts.parquet", verdicts_table("second", said), parts.VERDICTS)
    layers = (
        Layer("read", read, True),
        Layer("first", first, False),
        Layer("second", second, False),
    )
    return StoredPart("p", 5, layers)


def test_documents_are_what_the_verdicts_left_and_carry_what_was_noted(part):
    table = pa.Table.from_batches(part.batches())
    assert table.schema == SCHEMA
    assert table["id"].to_pylist() == ["02", "04", "05", "07", "08"]
    language = [{"stage": "first", "what": "language", "value": f"l{i}"} for i in (2, 4, 5, 7, 8)]
    score = [{"stage": "second", "what": "score", "value": v} for v in ("0.5", "1", "2.25")]
    expected = [[note] for note in language]
    for row, note in zip((0, 1, 3), score, strict=True):
        expected[row].append(note)
    assert table["record"].to_pylist() == expected


def test_every_document_that_was_read_has_one_account(part):
    table = pa.Table.from_batches(part.accounts())
    assert table["id"].to_pylist() == [f"{i:02d}" for i in range(10)]
    stages = ["first" if i % 3 == 0 else "second" if i == 1 else None for i in range(10)]
    assert table["stage"].to_pylist() == stages
    assert table["reason"].to_pylist() == [stage and "bad" for stage in stages]
    assert table["score"].to_pylist() == [stage and 0.5 for stage in stages]


@pytest.mark.parametrize("seed", range(5))
def test_lists_are_joined_row_by_row(seed):
    rng = np.random.default_rng(seed)

    def lists():
        rows = [
            [{"stage": "s", "what": "w", "value": str(rng.integers(9))}] * int(rng.integers(4))
            for _ in range(20)
        ]
        return rows, pa.array([[], *rows, []], RECORD).slice(1, len(rows))  # offsets not from 0

    (first, a), (second, b) = lists(), lists()
    found = parts.append_lists(a, b)
    found.validate(full=True)
    assert found.to_pylist() == [x + y for x, y in zip(first, second, strict=True)]


@pytest.mark.parametrize("pieces", [1, 7, 500])
def test_batches_are_bounded_and_keep_every_row_in_order(pieces):
    sizes = [BATCH_BYTES + 5, *[1000] * 2500, BATCH_BYTES // 2, BATCH_BYTES // 2, 1, BATCH_BYTES]
    batch = batch_of([chr(97 + i % 26) * size for i, size in enumerate(sizes)])
    step = -(-len(batch) // pieces)
    out = list(rebatch(batch.slice(i, step) for i in range(0, len(batch), step)))
    for piece in out:
        size = sum(len(text) for text in piece["text"].to_pylist())
        assert len(piece) <= BATCH_DOCUMENTS and (size <= BATCH_BYTES or len(piece) == 1)
    assert pa.Table.from_batches(out).equals(pa.Table.from_batches([batch]))
    assert len(out) < 10 + pieces


def test_a_file_whose_writing_failed_is_not_there(tmp_path):
    with pytest.raises(KeyError), PartFile(tmp_path / "p.parquet", SCHEMA) as file:
        file.write(batch_of(["a"]))
        raise KeyError
    assert not (tmp_path / "p.parquet").exists()
    write(tmp_path / "p.parquet", batch_of(["a"]), SCHEMA)
    assert pq.read_table(tmp_path / "p.parquet")["text"].to_pylist() == ["a"]
