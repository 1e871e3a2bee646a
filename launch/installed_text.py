"""Collects the text that every Python installation has: quickstart's input where none is named.

    python launch/installed_text.py FOLDER

FOLDER/standard_library: the source of the standard library, without its tests;
FOLDER/language_reference: the chapters behind help("topic"); FOLDER/builtins: the documentation
of the modules written in C; FOLDER/packages: licences, descriptions and documentation files of
the packages installed beside this interpreter. All of it is copied, tens of MB, so that the run
can be repeated on the same bytes after an upgrade. A FOLDER that is there is left as it is.
"""

import email
import importlib
import importlib.metadata
import os
import pydoc
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
DOCUMENTATION = {".md", ".rst", ".txt", ".html"}
LICENCES = ("licen", "copying", "notice", "authors")
SMALLEST, LARGEST = 200, 1_000_000  # bytes: below are markers, above are data tables


def standard_library(root: Path) -> Iterator[tuple[str, bytes]]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix == ".py":
                yield f"standard_library/{path.relative_to(root)}", path.read_bytes()


def language_reference() -> Iterator[tuple[str, bytes]]:
    topics = importlib.import_module("pydoc_data.topics").topics
    for name in sorted(topics):
        yield f"language_reference/{name}.txt", topics[name].encode()


def builtins() -> Iterator[tuple[str, bytes]]:
    for name in sorted(sys.builtin_module_names):
        text = pydoc.plaintext.document(importlib.import_module(name))
        yield f"builtins/{name}.txt", text.encode(errors="replace")


def packages() -> Iterator[tuple[str, bytes]]:
    seen = set()
    for distribution in sorted(
        importlib.metadata.distributions(), key=lambda found: found.metadata["Name"] or ""
    ):
        name = distribution.metadata["Name"]
        if not name or name in seen:
            continue
        seen.add(name)
        description = email.message_from_string(distribution.read_text("METADATA") or "")
        suffix = ".md" if "markdown" in str(description["Description-Content-Type"]) else ".rst"
        body = str(description.get_payload()) + str(description["Description"] or "")
        yield f"packages/{name}/description{suffix}", body.encode(errors="replace")
        for file in sorted(distribution.files or ()):
            in_metadata = file.parts[0].endswith((".dist-info", ".egg-info"))
            licence = any(word in file.name.lower() for word in LICENCES)
            if ".." in file.parts or file.suffix in {".py", ".pyc"}:
                continue
            if licence or (file.suffix in DOCUMENTATION and not in_metadata):
                path = Path(str(distribution.locate_file(file)))
                if path.is_file() and path.stat().st_size <= LARGEST:
                    target = file if file.suffix in DOCUMENTATION else f"{file}.txt"
                    yield f"packages/{name}/{target}", path.read_bytes()


def collect(target: Path) -> tuple[int, int]:
    """Fills `target`, which appears only when it is complete: (documents, bytes)."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    num_documents = num_bytes = 0
    stdlib = Path(sysconfig.get_path("stdlib"))
    for source in (standard_library(stdlib), language_reference(), builtins(), packages()):
        for name, content in source:
            if len(content) < SMALLEST:
                continue
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            num_documents += 1
            num_bytes += len(content)
    partial.rename(target)
    return num_documents, num_bytes


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr if sys.argv[1:] != ["--help"] else sys.stdout)
        return 0 if sys.argv[1:] == ["--help"] else 2
    target = Path(sys.argv[1])
    if target.is_dir():
        print(f"{target} is there already")
        return 0
    try:
        num_documents, num_bytes = collect(target)
    except OSError as error:
        print(f"error: {target} cannot be filled: {error}", file=sys.stderr)
        return 75
    print(f"{num_documents:,} documents, {num_bytes / 1e6:.1f} MB, in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
