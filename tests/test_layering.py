"""The house's rules, read off the source: who may import whom, and what lives where."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Lower lines import higher ones, never the reverse and never beside them. An entry is a module, or
# a folder whose modules may import one another.
ROOMS = (
    ("errors",),
    ("typed_config", "storage", "peers", "compilation_cache", "host_memory", "devices"),
    ("token_store",),
    ("batch", "sharding", "accelerators", "writers", "distributed"),
    ("model", "moments"),
    ("losses", "optimizer", "metrics"),
    ("data",),
    ("state",),
    ("step", "checkpoint"),
    ("evaluation", "inference", "reporting"),
    ("config",),
    ("loading", "progress", "assembly", "preflight"),
    ("planning",),
    ("economics",),
    ("train", "interop"),
    ("main", "evaluate", "generate", "report", "tokenize", "benchmark", "plan"),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
ABOVE_THE_CONFIG = {
    "loading", "assembly", "preflight", "planning", "economics", "train", "interop", "main",
    "evaluate", "generate", "report", "tokenize", "plan",
}  # fmt: skip
FOR_THE_PIPELINE = {"errors", "typed_config", "token_store"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room(path: Path) -> str:
    """nanojaxlm/model/stack.py -> model; nanojaxlm/step.py -> step."""
    return path.relative_to(ROOT / "nanojaxlm").parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, within functions too: `a.b` and, of `from a import b`,
    `a.b` where that is a module or a package of ours, else `a`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = ROOT / node.module.replace(".", "/") / alias.name
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def rooms_imported(path: Path) -> set[str]:
    names = [name.split(".") for name in imported(path)]
    return {parts[1] for parts in names if parts[0] == "nanojaxlm" and len(parts) > 1}


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


OURS = [path for path in modules("nanojaxlm") if path != ROOT / "nanojaxlm" / "__init__.py"]
ALL = [path for folder in ("nanojaxlm", "data_pipeline", "configs") for path in modules(folder)]


def test_every_module_has_its_room():
    assert {room(path) for path in OURS} == set(LEVEL)


@pytest.mark.parametrize("path", OURS, ids=by_name)
def test_lower_rooms_import_higher_ones_only(path: Path):
    ours = room(path)
    for other in rooms_imported(path) - {ours}:
        assert LEVEL[other] < LEVEL[ours], f"{by_name(path)} must not import {other}"


def test_the_root_config_stays_at_the_root():
    """The rooms below get the value or the sub-config that they need."""
    importers = {room(path) for path in OURS if "config" in rooms_imported(path)}
    assert importers <= ABOVE_THE_CONFIG


@pytest.mark.parametrize("path", modules("data_pipeline"), ids=by_name)
def test_the_pipeline_imports_no_jax_and_little_of_us(path: Path):
    names = set(imported(path))
    assert not {n.split(".")[0] for n in names} & {"jax", "flax", "optax", "orbax", "grain"}
    assert rooms_imported(path) <= FOR_THE_PIPELINE
    assert "nanojaxlm" not in names


@pytest.mark.parametrize("path", OURS, ids=by_name)
def test_training_imports_nothing_of_the_pipeline(path: Path):
    assert not [name for name in imported(path) if name.split(".")[0] in ("data_pipeline", "daft")]


def names_used(path: Path) -> set[str]:
    """Every identifier and attribute, dotted: PartitionSpec, jax.jit."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
    return used


@pytest.mark.parametrize(
    ("names", "homes"),
    [
        ({"PartitionSpec", "jax.P", "jax.sharding.PartitionSpec"}, {"sharding"}),
        (
            {"jax.jit", "jax.pjit", "pjit", "nn.jit"},
            {"step", "state", "checkpoint", "inference", "evaluation", "accelerators"},
        ),
        ({"jax.set_mesh"}, {"sharding"}),
        ({"os.environ", "os.getenv"}, {"planning"}),  # libtpu reads nothing else
        ({"flags.FLAGS"}, {"typed_config"}),
    ],
    ids=lambda value: ", ".join(sorted(value)) if value else "nowhere",
)
def test_what_has_one_home_is_used_there_only(names: set[str], homes: set[str]):
    assert {room(path) for path in OURS if names_used(path) & names} <= homes


@pytest.mark.parametrize("path", ALL, ids=by_name)
def test_a_file_fits_on_four_hundred_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", ALL, ids=by_name)
def test_a_file_is_named_for_a_noun_and_says_what_it_is(path: Path):
    assert not any(word in path.stem for word in ("util", "common", "helper", "misc"))
    if path.stat().st_size:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "module",
    [
        "nanojaxlm", "nanojaxlm.errors", "nanojaxlm.typed_config", "nanojaxlm.token_store",
        "nanojaxlm.report", "data_pipeline.main",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_runs_without_an_accelerator_does_not_load_jax(module: str):
    program = f"import sys, {module}; print(sorted({{'jax', 'flax', 'torch'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
