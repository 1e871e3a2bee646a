"""The command as a user runs it: exit codes, one line of error, no network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = f"--config={ROOT}/configs/curation/quickstart.py"


def no_network():
    """A prefix that takes the network away (Linux namespaces), [] where that is not allowed."""
    prefix = ["unshare", "--map-root-user", "--net"]
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    return prefix if allowed else []


def run(*arguments, before=(), **environment):
    return subprocess.run(
        [*before, sys.executable, "-m", "data_pipeline.main", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_one_line(done, code, *words):
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


def test_help_names_every_flag_and_the_configs_fields():
    done = run("--help")
    assert done.returncode == 0
    for word in ("--input", "--output", "--overwrite", "--config.tokenizer.vocab_size=8192"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=x"], ["--config is missing"]),
        ([CONFIG], ["--output is missing"]),
        ([CONFIG, "--output=x", "--config.tokenizer.vocab=5"], ["vocab_size"]),
        ([CONFIG, "--output=x", "--config.mix.validation_rate=2.0"], ["validation_rate"]),
        ([CONFIG, "--output=x", "--input=/nothing/here"], ["/nothing/here", "no such file"]),
    ],
)
def test_a_mistake_on_the_command_line_is_told_in_one_line(tmp_path, arguments, words):
    assert_one_line(run(*arguments), 2, *words)


@pytest.mark.slow
def test_bad_inputs_and_outputs_are_told_in_one_line(tmp_path, prose_folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    output = f"--output={tmp_path}/out"
    assert_one_line(run(CONFIG, output, f"--input={tmp_path}/empty"), 2, "looked for", ".jsonl")
    done = run(CONFIG, f"--input={prose_folder}", f"--output={tmp_path}/file/out")
    assert_one_line(done, 2, "cannot be written")
    large = run(CONFIG, output, f"--input={prose_folder}", "--config.tokenizer.vocab_size=60000")
    assert_one_line(large, 2, "vocab_size")
    assert_one_line(run(CONFIG, output, "--input=http://127.0.0.1:9/a.txt"), 75, "127.0.0.1:9")


@pytest.mark.slow
def test_a_run_uses_no_network_and_is_left_alone_when_finished(tmp_path, prose_folder):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def watch(event, arguments):\n"
        "    network = event == 'socket.connect' and not isinstance(arguments[1], (str, bytes))\n"
        "    if network or event in ('socket.getaddrinfo', 'urllib.Request'):\n"
        "        print('NETWORK', event, arguments, file=sys.stderr)\n"
        "sys.addaudithook(watch)\n"
    )
    command = (CONFIG, f"--input={prose_folder}", f"--output={tmp_path}/out")
    small = "--config.tokenizer.vocab_size=400"
    done = run(*command, small, before=no_network(), PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stderr
    assert "bytes a token" in done.stdout and "train" in done.stdout
    again = run(*command, small)
    assert again.returncode == 0 and "left as it is" in again.stdout
