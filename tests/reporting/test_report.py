"""The report shows what the folders hold, whole, escaped, and says what is missing."""

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nanojaxlm import errors, report
from nanojaxlm.reporting.chart import Series, line_chart
from nanojaxlm.reporting.findings import gather
from nanojaxlm.reporting.page import render


class Reader(html.parser.HTMLParser):
    """Collects the tags, the text, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "line", "path", "rect", "circle"})

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_folders) -> tuple[Path, Path]:
    return make_folders(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(folders) -> Reader:
    curation, workdir = folders
    return Reader(render(gather(curation, workdir, curation.parent / "timings.json")))


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(page):
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "action"):
            assert not (attributes.get(name) or "").startswith(("http:", "https:", "//"))


def test_hostile_text_of_samples_and_sources_is_shown_not_run(page):
    assert page.text.count("<script>alert('x')</script>") >= 2
    assert "a&b/<i>.html" in page.text


@pytest.mark.parametrize(
    "shown",
    [
        "0.900",  # bits per byte of the model
        "repeated_lines",
        "204",
        "1,096",
        "777",
        "near_duplicate",
        "bad.gz",
        "the file ends too early",
        "3,500,123",
        "3.56",
        "The last sample",
        "data_pipeline.main",
        "nanojaxlm.generate",
        "--config.training.steps",
    ],
)
def test_what_the_folders_hold_is_on_the_page(page, shown):
    assert shown in page.text


def test_a_repeated_step_counts_all_its_runs(folders):
    curation, workdir = folders
    steps = gather(curation, workdir, curation.parent / "timings.json").steps
    train = next(step for step in steps if step.name == "train")
    assert (train.seconds, train.num_runs) == (101.25, 2)
    assert train.peak_memory == 3 * 2**29


def test_the_verdict_is_honest(tmp_path, make_folders):
    def verdict(bits_per_byte: float) -> str:
        root = tmp_path / str(bits_per_byte)
        return gather(*make_folders(root, bits_per_byte=bits_per_byte)).verdict()

    assert "beats both" in verdict(0.1)
    assert "beats neither" in verdict(9.0)


def test_other_text_than_the_baselines_saw_is_not_compared(tmp_path, make_folders):
    curation, workdir = make_folders(tmp_path, bits_per_byte=0.1)
    path = workdir / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bytes": 17}))
    verdict = gather(curation, workdir).verdict()
    assert "do not compare" in verdict
    assert "beats" not in verdict


def test_a_chart_draws_every_point_in_order_and_inside_the_frame():
    xs, ys = [1, 10, 100], [9.0, 4.0, 2.5]
    series = Series(name="training", xs=xs, ys=ys, style="line-1", marked=True)
    svg = line_chart((series,), title="Loss", x_label="step", y_label="loss (nats a token)")
    assert "loss (nats a token)" in svg
    points = re.search(r'points="([^"]+)"', svg)
    assert points is not None
    drawn = [tuple(map(float, pair.split(","))) for pair in points[1].split()]
    assert len(drawn) == 3
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert [y for _, y in drawn] == sorted(y for _, y in drawn)  # down the page as the loss falls
    width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    assert all(0 < x < width and 0 < y < height for x, y in drawn)


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("run/evaluation.json", "nanojaxlm.evaluate"),
        ("run/metrics.jsonl", "nanojaxlm.main"),
        ("run/config.json", "nanojaxlm.main"),
        ("curation/report.json", "data_pipeline.main"),
    ],
)
def test_a_missing_piece_names_the_command_that_makes_it(tmp_path, make_folders, missing, command):
    curation, workdir = make_folders(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(errors.UserError, match=command):
        gather(curation, workdir)


def test_the_entry_point_writes_the_page_and_a_summary(folders, tmp_path, capsys):
    curation, workdir = folders
    output = tmp_path / "below" / "report.html"
    report.main(["", f"--curation={curation}", f"--workdir={workdir}", f"--output={output}"])
    assert Reader(output.read_text(encoding="utf-8")).open == []
    printed = capsys.readouterr().out
    assert "0.900" in printed
    assert "xz -9" in printed
    assert str(output) in printed
    assert "\x1b[31m" not in printed  # a sample's own escape codes do not reach the terminal


def test_a_mistake_ends_with_exit_code_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "nanojaxlm.report", f"--curation={tmp_path}"]
    command += [f"--workdir={tmp_path}", f"--output={tmp_path / 'report.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
