"""What may go wrong on the user's side, and the exit codes that say so.

Exit codes: 0 done; 1 a bug of ours (traceback); 2 a mistake in the command, the config or the
data: mend it
and run again; 75 (EX_TEMPFAIL) worth retrying unchanged: preempted, storage unreachable, disk
full; 130 interrupted.
"""

import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

EXIT_MISTAKE = 2
EXIT_RETRY = 75
EXIT_INTERRUPTED = 130


class UserError(ValueError):
    """A mistake in the command, the config or the data; one line: what, where, how to mend."""


class RetryableError(RuntimeError):
    """A failure of the surroundings, not of the input: the same command may succeed later."""


def explain(error: BaseException) -> tuple[int, str] | None:
    """(exit code, one line) for an error of the user or the machine; None for a bug of ours."""
    if isinstance(error, UserError):
        return EXIT_MISTAKE, str(error)
    if isinstance(error, RetryableError):
        return EXIT_RETRY, str(error)
    if isinstance(error, KeyboardInterrupt):
        return (
            EXIT_INTERRUPTED,
            "interrupted; run the same command again to go on from the last checkpoint",
        )
    text = f"{type(error).__name__}: {error}"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # tensorstore, orbax and daft hand the operating system's message on inside their own exception
    # types
    if full or os.strerror(errno.ENOSPC) in text or os.strerror(errno.EDQUOT) in text:
        return (
            EXIT_RETRY,
            f"the disk is full: free space and run the same command again ({_first_line(text)})",
        )
    return None


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Runs an entry point and ends the process with the fitting exit code."""
    _silence_library_threads()
    try:
        main(sys.argv if argv is None else argv)
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:
        explained = explain(error)
        if explained is None:
            raise
        code, message = explained
        print(f"error: {message}", file=sys.stderr, flush=True)
        sys.exit(code)


def _silence_library_threads() -> None:
    """No tracebacks of what fails in threads of Orbax and tensorstore: our next call raises it."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def unraisable(told: Any) -> None:  # tensorstore's, when it finds an event loop closed
        if threading.current_thread() is threading.main_thread():
            sys.__unraisablehook__(told)

    sys.unraisablehook = unraisable


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300]
