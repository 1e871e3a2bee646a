"""What an --input stands for."""

import http.server
import os
import sysconfig
import threading
from functools import partial

import pytest

from data_pipeline import installed
from data_pipeline.listing import form_of, list_inputs
from nanojaxlm.errors import RetryableError, UserError


def names(listing):
    return [file.path.rsplit("/", 1)[1] for file in listing.files]


@pytest.fixture
def tree(tmp_path):
    for name in ("a.txt", "sub/b.md", "sub/deep/c.jsonl.gz", "d.png", "LICENSE", ".hidden/e.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path / "tree"


def test_a_folder_is_listed_to_its_depth_and_unknown_files_are_counted(tree):
    listing = list_inputs([str(tree)])
    assert sorted(names(listing)) == ["LICENSE", "a.txt", "b.md", "c.jsonl.gz"]
    assert listing.skipped == {".png": 1}


def test_files_named_twice_are_listed_once(tree):
    listing = list_inputs([str(tree), str(tree / "a.txt"), f"file://{tree}/a.txt"])
    assert names(listing).count("a.txt") == 1


def test_globs_expand(tree):
    assert names(list_inputs([f"{tree}/**/*.md"])) == ["b.md"]


def test_a_file_named_by_the_user_is_read_under_any_name(tree):
    assert [file.form for file in list_inputs([str(tree / "d.png")]).files] == ["text"]


def test_a_json_file_named_by_the_user_is_read_as_lines(tree):
    (tree / "e.json").write_text('{"text": "x"}')
    assert [file.form for file in list_inputs([str(tree / "e.json")]).files] == ["jsonl"]
    assert list_inputs([str(tree)]).skipped == {".png": 1, ".json": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_counted(tree):
    (tree / "sub").chmod(0)
    try:
        assert list_inputs([str(tree)]).skipped == {".png": 1, "(folders that may not be read)": 1}
    finally:
        (tree / "sub").chmod(0o755)


@pytest.mark.parametrize("item", ["nothing_here", "nothing_*.txt"])
def test_a_path_that_is_not_there_is_a_mistake_of_the_user(tmp_path, item):
    with pytest.raises(UserError, match="no such file"):
        list_inputs([str(tmp_path / item)])


def test_a_folder_with_nothing_readable_says_what_was_found(tmp_path):
    with pytest.raises(UserError, match="found no files"):
        list_inputs([str(tmp_path)])
    (tmp_path / "a.bin").write_bytes(b"\0")
    with pytest.raises(UserError, match=r"looked for .*\.jsonl.*found 1 \.bin"):
        list_inputs([str(tmp_path)])


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("a.TXT", "text"),
        ("a.html.gz", "html"),
        ("a.jsonl.zst", "jsonl"),
        ("a.parquet", "parquet"),
        ("a.pdf", "pdf"),
        ("CC-MAIN.warc.gz", "warc"),
        ("CC-MAIN.warc.wet.gz", "warc"),
        ("a.arc.gz", "warc"),
        ("CC-MAIN.warc.wat.gz", None),
        ("c4-train.00000.json.gz", "jsonl"),
        ("package.json", None),
        ("https://x.org/a.txt?v=1", "text"),
        ("COPYING.gz", "text"),
        ("a.gz", None),
        ("a.so", None),
    ],
)
def test_the_form_follows_from_the_name(path, form):
    assert form_of(path) == form


def test_the_default_input_is_this_pythons_own_text():
    files = installed.text_files()
    stdlib = sysconfig.get_path("stdlib")
    found = {(path.removeprefix(stdlib), form) for path, form in files}
    assert ("/ast.py", "text") in found
    assert any(form == "docstrings" and path.endswith("numpy/__init__.py") for path, form in found)
    assert any(form == "metadata" for _, form in found)
    # A docstring of the standard library is in its source: never a document twice.
    assert not any(form == "docstrings" and "-packages/" not in path for path, form in found)


@pytest.fixture
def server(tree):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tree))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_listed(server):
    (file,) = list_inputs([f"{server}/a.txt"]).files
    assert (file.path, file.form) == (f"{server}/a.txt", "text")


def test_a_url_with_nothing_behind_it_is_a_mistake_of_the_user(server):
    with pytest.raises(UserError, match="URL"):
        list_inputs([f"{server}/gone.txt"])


@pytest.mark.slow  # daft tries five times
def test_a_server_that_does_not_answer_is_worth_retrying():
    with pytest.raises(RetryableError, match="cannot be reached"):
        list_inputs(["http://127.0.0.1:9/a.txt"])
