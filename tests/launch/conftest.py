"""What the tests of the scripts share: a copy of the checkout, and stand-ins on PATH that note how
they were called."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = """
printf 'LIBTPU_INIT_ARGS=%s\\n' "${LIBTPU_INIT_ARGS:-}" >>"$WORLD/environments"
[[ ! -s $WORLD/sleeps ]] || { sleep "$(head -1 "$WORLD/sleeps")" & wait $!; }
code=0
if [[ -s $WORLD/codes ]]; then code=$(head -1 "$WORLD/codes"); sed -i 1d "$WORLD/codes"; fi
echo "trained with $*"
exit "$code"
"""


@dataclass(frozen=True)
class World:
    """A home, a PATH with stand-ins, and a copy of the checkout.

    A stand-in appends its command line, quoted as a shell wants it, to the file `calls`.
    """

    folder: Path

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    def stand_in(self, name: str, body: str) -> Path:
        """An executable `name` on PATH: notes its call, then runs these lines of bash."""
        path = self.folder / "bin" / name
        note = 'printf -v line "%q " "${0##*/}" "$@"; printf "%s\\n" "${line% }" >>"$WORLD/calls"\n'
        path.write_text(f"#!/usr/bin/env bash\n{note}{body}")
        path.chmod(0o755)
        return path

    def write(self, name: str, *lines: object) -> None:
        """A file that stand-ins read: what they are to do, a line for each time."""
        (self.folder / name).write_text("".join(f"{line}\n" for line in lines))

    def calls(self, *names: str) -> list[str]:
        """The command lines noted, of these stand-ins or of all."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not names or line.split()[0] in names]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "WORLD": str(self.folder),
            **more,
        }

    def start(self, script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.checkout / "launch" / script), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(**environment),
        )

    def run(self, script: str, *arguments: object, **environment: str):
        process = self.start(script, *arguments, **environment)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def world(tmp_path: Path) -> World:
    for name in ("bin", "home"):
        (tmp_path / name).mkdir()
    shutil.copytree(REPOSITORY / "launch", tmp_path / "checkout" / "launch")
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / "checkout" / name)
    return World(tmp_path)


@pytest.fixture
def with_python(world: World) -> Callable[..., World]:
    """with_python(*codes): the world with a `python` that notes how it is called and ends with
    these codes, one after another, then with 0."""

    def make(*codes: int) -> World:
        world.stand_in("python", PYTHON)
        world.write("codes", *codes)
        return world

    return make
