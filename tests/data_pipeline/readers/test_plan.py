"""Which files make a task; that documents do not depend on it."""

import gzip
import json
import pickle

import pytest

from data_pipeline.listing import InputFile, list_inputs
from data_pipeline.readers import ReadConfig, Span, plan


def test_small_files_share_tasks_in_their_order():
    files = [InputFile(f"/{i:03d}.txt", 10, 0, "text") for i in range(100)]
    tasks = plan(files, 95, ReadConfig())
    assert [len(task.spans) for task in tasks] == [9] * 11 + [1]
    assert [span.file for task in tasks for span in task.spans] == files
    assert pickle.loads(pickle.dumps(tasks)) == tasks


def test_compressed_files_count_as_what_comes_out():
    files = [InputFile(f"/{i}.txt.gz", 10, 0, "text") for i in range(4)]
    assert [len(task.spans) for task in plan(files, 80, ReadConfig())] == [2, 2]


def test_large_files_are_cut_where_they_can_be():
    for path, form, num_tasks in (
        ("/a.jsonl", "jsonl", 10),
        ("s3://bucket/a.jsonl", "jsonl", 10),
        ("https://a.org/a.jsonl", "jsonl", 1),
        ("/a.jsonl.zst", "jsonl", 1),
        ("/a.warc", "warc", 1),
        ("/a.txt", "text", 1),
    ):
        tasks = plan([InputFile(path, 1000, 0, form)], 100, ReadConfig())
        assert len(tasks) == num_tasks, path
        spans = [task.spans[0] for task in tasks]
        assert spans[0].start == 0 and spans[-1].stop is None
        assert [span.start for span in spans[1:]] == [span.stop for span in spans[:-1]]


def test_no_files_make_no_tasks():
    assert plan([], 100, ReadConfig()) == []
    with pytest.raises(ValueError, match="part_bytes"):
        plan([], 0, ReadConfig())


def test_a_damaged_parquet_is_left_to_the_reading():
    file = InputFile("/gone.parquet", 1000, 0, "parquet")
    assert plan([file], 100, ReadConfig())[0].spans == (Span(file),)


def test_a_folder_gives_the_same_rows_however_it_is_shared_out(tmp_path, read_task):
    for i in range(12):
        (tmp_path / f"{i:02d}.txt").write_text(f"text {i}")
    lines = "\n".join(json.dumps({"text": f"line {i}"}) for i in range(500))
    (tmp_path / "lines.jsonl").write_text(lines)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    files = list_inputs([str(tmp_path)]).files
    results = []
    for part_bytes in (1, 300, 10**9):
        tasks = plan(files, part_bytes, ReadConfig())
        results.append([row for task in tasks for row in read_task(task, ReadConfig())])
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 12 + 1000 + 1
    assert len({row["id"] for row in results[0]}) == len(results[0])
