"""The default input: text that every Python installation already has.

The standard library's source code; the documentation strings of installed packages; and the
licences, documentation files and long descriptions of both. The docstrings of the standard library
are not taken once more on their own: they are in its source, and a text that stands in two
documents could fall into both splits.
"""

import os
import site
import sys
import sysconfig
from collections.abc import Iterator

PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
# Nothing to learn from: caches, and package tests, which are long and have no docstrings.
SKIPPED = frozenset({"__pycache__", "tests", "test", "testing", "node_modules"})
# Test data of the standard library that is undecodable on purpose.
BROKEN = frozenset({"cjkencodings", "tokenizedata", "encoded_modules"})
DOCUMENTS = (".md", ".rst", ".txt")
LICENCES = ("license", "licence", "copying", "notice", "authors", "contributors")


def text_files() -> Iterator[tuple[str, str]]:
    """(path, form) of every file; form is text, docstrings or metadata."""
    packages = _package_folders()
    for path in _walk(sysconfig.get_path("stdlib"), PACKAGE_FOLDERS | BROKEN | {"__pycache__"}):
        if path.endswith((".py", *DOCUMENTS)) or _is_licence(path):
            yield path, "text"
    for folder in packages:
        for path in _walk(folder, SKIPPED):
            name = os.path.basename(path)
            if name.endswith(".py"):
                yield path, "docstrings"
            elif name == "METADATA" or name == "PKG-INFO":
                yield path, "metadata"
            elif _is_licence(path) or (name.endswith(DOCUMENTS) and not _is_record(path)):
                yield path, "text"


def _package_folders() -> list[str]:
    """site-packages or dist-packages of this Python, Debian's /usr/lib/python3 included."""
    paths = sysconfig.get_paths()
    found = [paths["purelib"], paths["platlib"], *site.getsitepackages(), *sys.path]
    real = {os.path.realpath(f) for f in found if os.path.basename(f) in PACKAGE_FOLDERS}
    return sorted(f for f in real if os.path.isdir(f))


def _walk(folder: str, skipped: frozenset[str]) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in skipped)
        for name in sorted(names):
            path = os.path.join(root, name)
            # Many an __init__.py is empty.
            if os.path.isfile(path) and os.path.getsize(path):
                yield path


def _is_licence(path: str) -> bool:
    name = os.path.basename(path).lower()
    return name.startswith(LICENCES) and not name.endswith((".py", ".pyi", ".pyc", ".json", ".so"))


def _is_record(path: str) -> bool:
    """entry_points.txt, top_level.txt and the like: lists for the installer, no text."""
    folder = os.path.dirname(path)
    in_info = folder.endswith((".dist-info", ".egg-info"))
    return in_info and not os.path.basename(path).lower().startswith(("readme", "change", "news"))
