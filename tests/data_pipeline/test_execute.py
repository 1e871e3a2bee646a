"""The runner: nothing is done twice, nothing depends on parts, batches or workers."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from data_pipeline import execute
from data_pipeline.document import Verdicts
from data_pipeline.engine import Tasks
from data_pipeline.execute import Runner
from data_pipeline.listing import list_inputs
from data_pipeline.parts import PartFile
from data_pipeline.readers import ReadConfig
from data_pipeline.samples import PER_REASON, SAMPLES
from data_pipeline.stage import Judged, decisions_path


class Shout:
    """Drops documents with an even number, and writes the others in capitals."""

    name, config, rewrites, files = "shout", None, True, ()

    def judge(self, batch: pa.RecordBatch) -> Judged:
        texts = batch["text"].to_pylist()
        numbers = np.array([int(text.split()[1]) for text in texts])
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.drop("even", numbers % 2 == 0, numbers.astype(float))
        notes = {"number": np.array([str(n) for n in numbers], object)}
        return Judged(
            verdicts, pa.array([t.upper() for t in texts], pa.large_string()), notes=notes
        )


class OneOfEach:
    """Of documents with the same last word, the smallest id stays: a comparison."""

    name, config, rewrites, files = "one_of_each", None, False, ()

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        words = [text.split()[-1] for text in batch["text"].to_pylist()]
        return pa.RecordBatch.from_pydict({"id": batch["id"], "word": pa.array(words, pa.string())})

    def decide(self, parts: Sequence, folder: Path, tasks: Tasks) -> dict:
        best: dict[str, str] = {}
        for part in parts:
            for row in pq.read_table(part.keys).to_pylist():
                best[row["word"]] = min(row["id"], best.get(row["word"], "~"))
        for part in parts:
            keys = pq.read_table(part.keys).to_pylist()
            drop = pa.table({"drop": [best[row["word"]] != row["id"] for row in keys]})
            with PartFile(decisions_path(folder, part), drop.schema) as file:
                file.write(drop)
        return {"words": len(best)}

    def judge(self, batch: pa.RecordBatch, decisions: pa.RecordBatch) -> Judged:
        verdicts = Verdicts.keep_all(len(batch))
        drop = decisions["drop"].to_numpy(False)
        verdicts.drop("same_word", drop, np.ones(len(batch)))
        return Judged(verdicts)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    with open(folder / "a.jsonl", "w") as file:
        for i in range(1500):
            file.write(json.dumps({"text": f"Number {i} has word{i % 7}"}) + "\n")
        file.write("{broken\n")
    for i in range(1500, 1520):
        (folder / f"{i}.txt").write_text(f"Number {i} stands\nin a file with word{i % 9}")
    return folder


def run(corpus, folder, workers=0, part_bytes=10**9):
    runner = Runner(Tasks(workers), part_bytes, Console(file=io.StringIO()))
    files = list_inputs([str(corpus)]).files
    read, parts = runner.read(files, ReadConfig(), folder / "read")
    results = []
    for stage in (Shout(), OneOfEach()):
        result, parts = runner.run_stage(stage, parts, folder / stage.name)
        results.append(result)
    documents = [row for part in parts for batch in part.batches() for row in batch.to_pylist()]
    accounts = [row for part in parts for batch in part.accounts() for row in batch.to_pylist()]
    for rows in (documents, accounts):
        rows.sort(key=lambda row: row["id"])
    return read, parts, results, documents, accounts


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return run(corpus, tmp_path_factory.mktemp("whole"))


def test_the_stages_said_what_they_say(whole):
    read, _, (shout, one), documents, accounts = whole
    assert (read["documents"], len(read["failed"])) == (1520, 1)
    assert read["tally"]["notes"]["kind"] == {"prose": 1520}
    assert shout.dropped == {"even": 760}
    assert one.details == {"words": 16 - 7}
    assert {d["text"].split()[-1] for d in documents} == {f"WORD{i}" for i in range(9)}
    assert all(d["record"][0]["what"] == "number" for d in documents)
    dropped = [a for a in accounts if a["reason"]]
    assert len(accounts) == 1520 and len(dropped) == 1520 - len(documents)
    assert {(a["stage"], a["reason"]) for a in dropped} == {
        ("shout", "even"),
        ("one_of_each", "same_word"),
    }


def test_samples_are_the_smallest_ids_of_a_reason(corpus, whole, tmp_path):
    _, _, results, _, accounts = run(corpus, tmp_path, part_bytes=5000)
    even = sorted(a["id"] for a in accounts if a["reason"] == "even")
    table = pq.read_table(tmp_path / "shout" / SAMPLES)
    assert table["id"].to_pylist() == even[:PER_REASON]
    assert "has word" in table["text"][0].as_py() or "stands" in table["text"][0].as_py()
    assert results[0].examples == whole[2][0].examples
    assert [example["id"] for example in results[0].examples["even"]] == even[:3]


def same(a, b):
    """Equal but for times, parts and details of where they lie."""
    assert a[3] == b[3] and a[4] == b[4]
    for one, other in zip(a[2], b[2], strict=True):
        for result in (one, other):
            result.tally["worker_seconds"] = 0
        assert one.tally == other.tally
        assert (one.details, one.examples) == (other.details, other.examples)


def test_the_number_of_parts_changes_nothing(corpus, whole, tmp_path):
    found = run(corpus, tmp_path, part_bytes=5000)
    assert len(found[1]) > 5
    same(found, whole)


@pytest.mark.slow
def test_worker_processes_change_nothing(corpus, whole, tmp_path):
    same(run(corpus, tmp_path, workers=2, part_bytes=9000), whole)


class Killed(BaseException):
    """Stands for a signal: no handler of the pipeline may catch it."""


@pytest.mark.parametrize("where", ["read_task", "judge_part", "write_keys", "write_json"])
@pytest.mark.parametrize("after", [0, 3])
def test_a_killed_run_goes_on_with_what_is_missing(
    corpus, whole, tmp_path, monkeypatch, where, after
):
    original, calls = getattr(execute, where), []

    def kill(*args, **kwargs):
        if len(calls) == after:
            raise Killed
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(execute, where, kill)
    with pytest.raises(Killed):
        run(corpus, tmp_path, part_bytes=9000)
    monkeypatch.undo()
    done = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("part-*.json")}
    same(run(corpus, tmp_path, part_bytes=10**9), whole)  # and whatever its parts are now
    assert done == {p: p.stat().st_mtime_ns for p in done}


def test_what_is_finished_is_not_run_again(corpus, whole, tmp_path, monkeypatch):
    run(corpus, tmp_path)
    for name in ("read_task", "judge_part", "write_keys"):
        monkeypatch.setattr(execute, name, None)
    same(run(corpus, tmp_path), whole)


def test_what_a_worker_raises_is_raised_here(corpus, tmp_path, monkeypatch):
    def fail(self: Shout, batch: pa.RecordBatch) -> Judged:
        raise TypeError("no number")

    monkeypatch.setattr(Shout, "judge", fail)
    with pytest.raises(TypeError):
        run(corpus, tmp_path)
    assert not list(tmp_path.rglob("shout/*.json"))
