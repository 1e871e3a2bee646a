"""The exit codes and the one line, by what a process does."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nanojaxlm.errors import RetryableError, UserError, explain, run

ROOT = Path(__file__).resolve().parents[1]


def ended(main, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        run(main, ["program"])
    code = caught.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().err


def raising(error: BaseException):
    def main(argv) -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("--workdir is missing"), 2, "error: --workdir is missing\n"),
        (RetryableError("stopped by SIGTERM"), 75, "error: stopped by SIGTERM\n"),
    ],
)
def test_a_mistake_ends_with_2_and_a_passing_failure_with_75(error, code, line, capsys):
    assert ended(raising(error), capsys) == (code, line)


def test_success_ends_with_0_and_gets_the_arguments(capsys):
    seen = []
    assert ended(seen.append, capsys) == (0, "")
    assert seen == [["program"]]


def test_an_interrupt_ends_with_130_and_says_how_to_go_on(capsys):
    code, line = ended(raising(KeyboardInterrupt()), capsys)
    assert code == 130 and "run the same command again" in line


def test_our_own_bug_is_not_dressed_up_as_the_users():
    """A ValueError that is no UserError keeps its traceback, in a process and its exit code."""
    with pytest.raises(ValueError, match="ours"):
        run(raising(ValueError("ours")), ["program"])
    assert explain(ValueError("ours")) is None
    assert explain(OSError(errno.ENOENT, os.strerror(errno.ENOENT))) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_worth_retrying(number: int, capsys):
    code, line = ended(raising(OSError(number, os.strerror(number), "/data/x")), capsys)
    assert code == 75
    assert line.count("\n") == 1 and "the disk is full" in line and "free space" in line


def test_a_full_disk_inside_another_exception_type_is_one_too(capsys):
    """tensorstore and daft hand it on as ValueError and RuntimeError, over several lines."""
    text = f"Error writing local file [{os.strerror(errno.ENOSPC)}]\nsource: kvstore.cc:123"
    code, line = ended(raising(ValueError(text)), capsys)
    assert code == 75 and "the disk is full" in line and line.count("\n") == 1


def test_the_codes_are_those_of_the_process():
    program = textwrap.dedent("""
        import sys
        from nanojaxlm.errors import RetryableError, UserError, run

        def main(argv):
            raise {"2": UserError, "75": RetryableError, "1": KeyError}[argv[1]]("why")

        run(main)
    """)
    for code in (2, 75, 1):
        done = subprocess.run(
            [sys.executable, "-c", program, str(code)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == code
        assert done.stdout == ""
        if code == 1:
            assert "Traceback" in done.stderr and "KeyError" in done.stderr
        else:
            assert done.stderr == "error: why\n"
