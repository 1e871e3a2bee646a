"""The compilation cache: where it lies, what turns it off, and that a second start is faster."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from nanojaxlm.compilation_cache import use_compilation_cache

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def settings_restored() -> Iterator[None]:
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_cache_lies_in_the_users_cache_folder(home):
    folder = use_compilation_cache()
    assert folder is not None and folder.parent == home / ".cache" / "nanojaxlm"
    assert folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    jax.config.update("jax_compilation_cache_dir", None)
    assert use_compilation_cache() == folder


def test_what_the_user_set_stays(home):
    jax.config.update("jax_compilation_cache_dir", str(home / "mine"))
    assert use_compilation_cache() == home / "mine"
    assert jax.config.jax_compilation_cache_dir == str(home / "mine")
    assert not (home / ".cache").exists()


def test_what_is_turned_off_stays_off(home):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert use_compilation_cache() is None
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert jax.config.jax_compilation_cache_dir is None
    assert not (home / ".cache").exists()


def test_a_home_that_cannot_be_written_is_no_error(home):
    (home / ".cache").write_text("a file where the folder should be")
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


COMPILE = """
import time
from pathlib import Path
import jax, jax.numpy as jnp
from nanojaxlm.compilation_cache import use_compilation_cache
folder = use_compilation_cache()
def deep(x):
    for i in range(60):
        x = jnp.sin(x @ x + i) * jax.nn.softmax(x) + jnp.sort(x, axis=0)
    return x
lowered = jax.jit(jax.grad(lambda x: deep(x).sum())).lower(jnp.ones((32, 32)))
start = time.monotonic()
lowered.compile()
print(time.monotonic() - start, len(list(folder.glob("*-cache"))))
"""


@pytest.mark.slow
def test_a_second_start_compiles_in_less_than_half_the_time(tmp_path):
    def start() -> tuple[float, int]:
        inherited = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
        done = subprocess.run(
            [sys.executable, "-c", COMPILE],
            capture_output=True,
            text=True,
            check=False,
            env=inherited | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        )
        assert (done.returncode, done.stderr) == (0, "")
        seconds, entries = done.stdout.split()
        return float(seconds), int(entries)

    first, entries = start()
    second, entries_then = start()
    assert entries_then == entries > 0
    assert second < first / 2, (first, second)
