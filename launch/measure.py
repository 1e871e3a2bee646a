"""Runs one command and notes its wall time and peak memory in a JSON file.

    python launch/measure.py --timings=FILE --name=STEP -- COMMAND ARGUMENT…
    python launch/measure.py --timings=FILE --name=STEP --seconds=S      (measured elsewhere)

The file is {"steps": [{"name", "command", "runs": [{"seconds", "peak_memory_bytes",
"exit_code"}, …]}, …]}: a step that was interrupted and started again has several runs. The peak
is that of the largest process (ru_maxrss), the command and what it started. Needs nothing but
Python; ends with the command's exit code, 128 + n where signal n ended it.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def measure(command: Sequence[str]) -> dict[str, float | int]:
    """Runs `command` to its end: wall time in seconds, peak memory in bytes, exit code."""
    started = time.monotonic()
    # Ctrl-C reaches the command too, which saves its work; here it only must not end the wait.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        )
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts KiB on Linux
    return {
        "seconds": round(time.monotonic() - started, 3),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit,
        "exit_code": code if code >= 0 else 128 - code,
    }


def record(timings: Path, name: str, command: Sequence[str], run: dict[str, float | int]) -> None:
    """Adds `run` to the step's runs in the file, atomically; a broken file is begun afresh."""
    try:
        steps = json.loads(timings.read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError):
        steps = []
    step = next((step for step in steps if step["name"] == name), None)
    if step is None:
        step = {"name": name, "command": [], "runs": []}
        steps.append(step)
    step["command"] = list(command)
    step["runs"].append(run)
    partial = timings.with_name(timings.name + ".partial")
    partial.write_text(json.dumps({"steps": steps}, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, timings)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Wall time and peak memory of a command.")
    parser.add_argument("--timings", type=Path, required=True, help="the JSON file to add to")
    parser.add_argument("--name", required=True, help="the step's name")
    parser.add_argument("--seconds", type=float, help="note this wall time and run nothing")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --: what to run")
    arguments = parser.parse_args(argv)
    command = arguments.command[arguments.command[:1] == ["--"] :]
    if (arguments.seconds is None) == (not command):
        parser.error("give either -- COMMAND or --seconds")
    if not command:
        run = {"seconds": arguments.seconds, "peak_memory_bytes": 0, "exit_code": 0}
    else:
        run = measure(command)
        print(
            f"{arguments.name}: {run['seconds']:.1f} s, "
            f"peak memory {run['peak_memory_bytes'] / 2**20:,.0f} MiB",
            flush=True,
        )
    try:
        record(arguments.timings, arguments.name, command, run)
    except OSError as error:
        print(f"error: {arguments.timings} cannot be written: {error}", file=sys.stderr)
        return int(run["exit_code"]) or 75
    return int(run["exit_code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
