"""Each step has one line, whatever was cut off; a full disk is an error, never a wait."""

import io
import json
import math

import pytest
from rich.console import Console

from nanojaxlm.writers import RunWriter


def quiet():
    return Console(file=io.StringIO(), width=200)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_after_the_checkpoint_are_taken_out_and_the_others_stay_as_they_are(tmp_path):
    first = RunWriter(tmp_path, 0, 9, quiet())
    for step in range(1, 8):
        first.metrics(step, {"loss": step / 3}, show=False)
        first.sample(step, "p", "snow ☃\n")
    first.close()
    before = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    second = RunWriter(tmp_path, 4, 9, quiet())
    second.metrics(5, {"loss": 7.0}, show=False)
    second.close()
    after = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert after[:4] == before[:4]
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert lines(tmp_path / "metrics.jsonl")[-1] == {"step": 5, "loss": 7.0}
    assert [line["step"] for line in lines(tmp_path / "samples.jsonl")] == [1, 2, 3, 4]
    assert lines(tmp_path / "samples.jsonl")[0] == {"step": 1, "prompt": "p", "text": "snow ☃\n"}


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    writer = RunWriter(tmp_path, 0, 9, quiet())
    writer.metrics(1, {"loss": 1.5}, show=False)
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 1.5}]
    writer.close()


def test_without_a_terminal_only_lines_to_show_are_printed(tmp_path):
    console = quiet()
    writer = RunWriter(tmp_path, 0, 9, console)
    writer.metrics(1, {"loss": 1.5}, show=False)
    writer.metrics(2, {"loss": 1.25, "mfu": 0.125, "tokens_per_second": 12345.6}, show=True)
    writer.metrics(3, {"loss": math.e, "validation_loss": 2.0}, show=False)
    writer.close()
    assert console.file.getvalue().splitlines() == [
        "step 2: loss 1.250  tokens/s 12,346  MFU 12.5%",
        "step 3: loss 2.718  validation 2.0000",
    ]


def test_on_a_terminal_a_bar_shows_the_figures_and_the_time_left(tmp_path):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    writer = RunWriter(tmp_path, 0, 4, console)
    writer.metrics(2, {"loss": 1.25, "tokens_per_second": 100.0, "mfu": 0.5}, show=True)
    writer.close()
    shown = console.file.getvalue()
    for text in ("2/4", "loss 1.250", "tokens/s 100", "MFU 50.0%", "ETA"):
        assert text in shown


def test_a_writer_of_another_process_writes_nothing(tmp_path):
    writer = RunWriter(tmp_path, 0, 9, quiet(), enabled=False)
    writer.metrics(1, {"loss": 1.0}, show=True)
    writer.sample(1, "a", "b")
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_an_event_file_that_cannot_be_written_is_an_error_and_all_files_are_closed(
    tmp_path, monkeypatch
):
    writer = RunWriter(tmp_path, 0, 1000, quiet())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tensorboardX.event_file_writer.EventsWriter.flush", full)
    with pytest.raises(OSError, match="No space left"):
        writer.metrics(1, {"loss": 1.0}, show=True)
    with pytest.raises(OSError, match="No space left"):
        writer.close()
    monkeypatch.undo()
    writer._tensorboard.close()
    assert writer._metrics.closed and writer._samples.closed
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 1.0}]
