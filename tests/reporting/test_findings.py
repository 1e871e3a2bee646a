"""What a crash or a resumed run leaves in the files is read as one run."""

import json

import pytest

from nanojaxlm.errors import UserError
from nanojaxlm.reporting.findings import gather


@pytest.fixture
def folders(tmp_path, make_folders):
    return make_folders(tmp_path)


def _append(path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def test_steps_that_a_resumed_run_wrote_again_count_once(folders):
    curation, workdir = folders
    before = gather(curation, workdir)
    again = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (150, 151)]
    _append(workdir / "metrics.jsonl", *again)
    after = gather(curation, workdir)
    steps, losses = after.series("loss")
    assert steps == before.series("loss")[0]
    assert losses[149:151] == [1.0, 1.0]
    assert after.series("validation_loss") == before.series("validation_loss")


def test_samples_that_a_resumed_run_wrote_again_are_shown_once(folders):
    curation, workdir = folders
    _append(
        workdir / "samples.jsonl",
        json.dumps({"step": 200, "prompt": "The ", "text": "The second writing"}) + "\n",
    )
    samples = gather(curation, workdir).samples
    assert [(s["step"], s["prompt"]) for s in samples] == [
        (100, "The "),
        (200, "The "),
        (200, "def "),
    ]
    assert samples[1]["text"] == "The second writing"


def test_a_last_line_cut_short_is_left_out(folders):
    curation, workdir = folders
    before = gather(curation, workdir).metrics
    _append(workdir / "metrics.jsonl", '{"step": 201, "lo')
    assert gather(curation, workdir).metrics == before


def test_a_broken_line_in_the_middle_is_named(folders):
    curation, workdir = folders
    _append(workdir / "metrics.jsonl", "garbage\n", '{"step": 202}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 201 is not a JSON object"):
        gather(curation, workdir)


def test_values_that_are_not_finite_are_not_drawn(folders):
    curation, workdir = folders
    _append(workdir / "metrics.jsonl", '{"step": 201, "loss": NaN}\n')
    assert gather(curation, workdir).series("loss")[0][-1] == 200


def test_a_run_without_samples_or_timings_still_reports(folders):
    curation, workdir = folders
    (workdir / "samples.jsonl").unlink()
    findings = gather(curation, workdir, workdir / "no-timings.json")
    assert (findings.samples, findings.steps) == ([], [])
