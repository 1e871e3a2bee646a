"""Which files an --input stands for: files, folders, globs, URLs, or `python`."""

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from data_pipeline import installed
from data_pipeline.document import (
    CODE_SUFFIXES,
    COMPRESSIONS,
    HTML_SUFFIXES,
    PROSE_SUFFIXES,
    suffix_of,
)
from data_pipeline.engine import DaftCoreException, DaftTransientError, daft
from nanojaxlm.errors import RetryableError, UserError

PYTHON = "python"  # the --input that means the text of this Python installation
NAMED_TEXTS = ("license", "licence", "copying", "notice", "authors", "readme", "changelog", "news")
FORMS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet", ".pdf": "pdf",
    ".warc": "warc", ".wet": "warc", ".arc": "warc",
}  # fmt: skip
SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})  # and every name that starts with "."
READABLE = (
    ".txt .md .rst .html .pdf .py (and other source code) .jsonl .parquet .warc .wet .arc, "
    "also .gz .zst .bz2 .xz"
)


@dataclasses.dataclass(frozen=True, order=True)
class InputFile:
    """One file to read. size in bytes; mtime in ns, 0 for a URL; form says how to read it."""

    path: str
    size: int
    mtime: int
    form: str  # text, html, jsonl, parquet, pdf, warc, docstrings, metadata


@dataclasses.dataclass(frozen=True)
class Listing:
    """files, sorted by path, each once; skipped: how many files by suffix no reader claims."""

    files: tuple[InputFile, ...]
    skipped: dict[str, int]


def list_inputs(inputs: Sequence[str]) -> Listing:
    """Lists every file behind the inputs; none = the text of this Python installation.

    Raises:
        UserError: a path that does not exist, a glob that matches nothing, or nothing readable.
        RetryableError: a URL that cannot be reached.
    """
    files: dict[tuple[str, str], InputFile] = {}
    skipped: Counter[str] = Counter()
    for item in inputs or (PYTHON,):
        found = _list_python() if item == PYTHON else _list_one(item, skipped)
        files.update(((file.path, file.form), file) for file in found)
    if not files:
        seen = (
            ", ".join(f"{n} {suffix} files" for suffix, n in skipped.most_common(5)) or "no files"
        )
        raise UserError(
            f"nothing to read in {', '.join(inputs)}: looked for {READABLE}, found {seen}; "
            "name a file or folder with such documents"
        )
    return Listing(tuple(sorted(files.values())), dict(skipped))


def form_of(path: str) -> str | None:
    """How a file of this name is read; None = no reader claims it."""
    suffix = suffix_of(path)
    if suffix in PROSE_SUFFIXES or suffix in CODE_SUFFIXES:
        return "text"
    if suffix in HTML_SUFFIXES:
        return "html"
    if suffix in FORMS:
        return FORMS[suffix]
    name = os.path.basename(path.split("?", 1)[0]).lower()
    stem, end = os.path.splitext(name)
    if suffix == ".json" and end in COMPRESSIONS:
        return "jsonl"  # a corpus; a plain .json may be anything
    stem = stem if end in COMPRESSIONS else name
    return "text" if not suffix and stem.startswith(NAMED_TEXTS) else None


def _named_form(path: str) -> str:
    """How a file is read that the user named, whatever its name."""
    return form_of(path) or ("jsonl" if suffix_of(path) == ".json" else "text")


def _list_one(item: str, skipped: Counter[str]) -> Iterator[InputFile]:
    if "://" in item and not item.startswith("file://"):
        yield from _list_url(item, skipped)
        return
    path = os.path.expanduser(item.removeprefix("file://"))
    if os.path.isfile(path):
        # Named by the user: read it even under a name that no reader claims.
        yield _local(path, _named_form(path))
    elif os.path.isdir(path):
        yield from _walk(path, skipped)
    elif matches := sorted(glob.glob(path, recursive=True)):
        for match in matches:
            yield from _list_one(match, skipped)
    else:
        raise UserError(
            f"--input={item}: there is no such file, folder or glob match; check the path "
            f"(relative paths start at {os.getcwd()})"
        )


def _walk(folder: str, skipped: Counter[str]) -> Iterator[InputFile]:
    def closed(error: OSError) -> None:
        skipped["(folders that may not be read)"] += 1

    for root, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and f[0] != ".")
        for name in sorted(names):
            path = os.path.join(root, name)
            if name.startswith(".") or not os.path.isfile(path):
                continue
            form = form_of(path)
            if form is None:
                skipped[suffix_of(path) or "(no suffix)"] += 1
            else:
                yield _local(path, form)


def _local(path: str, form: str) -> InputFile:
    status = os.stat(path)
    return InputFile(os.path.abspath(path), status.st_size, status.st_mtime_ns, form)


def _list_url(url: str, skipped: Counter[str]) -> list[InputFile]:
    web = url.startswith(("http://", "https://"))
    try:
        found = daft.from_glob_path(
            f"{url}**" if url.endswith("/") and not web else url
        ).to_pydict()
        if not web and not set(url) & set("*?[") and found["path"] and url not in found["path"]:
            # A folder named without its "/": daft lists its own files, but not those below.
            found = daft.from_glob_path(f"{url.rstrip('/')}/**").to_pydict()
    except FileNotFoundError as error:
        raise UserError(
            f"--input={url}: there is nothing at this URL; check it and the credentials"
        ) from error
    except (DaftTransientError, OSError) as error:
        raise RetryableError(
            f"--input={url}: cannot be reached ({why(error)}); check the network, then run the "
            "same command again"
        ) from error
    except (DaftCoreException, ValueError) as error:
        raise UserError(
            f"--input={url}: cannot be listed ({why(error)}); check the URL and the credentials"
        ) from error
    files = []
    for path, size in zip(found["path"], found["size"], strict=True):
        form = _named_form(path) if path == url else form_of(path)
        if form is None:
            skipped[suffix_of(path) or "(no suffix)"] += 1
        else:
            files.append(InputFile(path, size or 0, 0, form))
    if not files and not skipped:
        raise UserError(f"--input={url}: nothing matches; check the URL and the credentials")
    return files


def _list_python() -> Iterator[InputFile]:
    for path, form in installed.text_files():
        yield _local(path, form)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def why(error: BaseException) -> str:
    """First and innermost line of an error of daft, which lists its causes one a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(dict.fromkeys((lines or [type(error).__name__])[:: max(len(lines) - 1, 1)]))
