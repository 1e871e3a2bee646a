"""The commands on a trained model, as a user runs them."""

import json
import shutil

import pytest

pytestmark = pytest.mark.slow


def test_one_prompt_streams_and_several_are_told_one_after_another(run_module, finished_run):
    checkpoint = f"--checkpoint={finished_run}"
    one = run_module("nanojaxlm.generate", checkpoint, "--prompt=The r", "--max_tokens=9")
    assert (one.returncode, one.stderr) == (0, "")
    assert one.stdout.startswith("The r") and one.stdout.endswith("\n")
    assert 1 <= len(one.stdout.removeprefix("The r")) - 1 <= 9
    piped = run_module(
        "nanojaxlm.generate", checkpoint, "--prompt=-", "--max_tokens=9", stdin=b"The r"
    )
    assert piped.stdout == one.stdout  # the same seed
    two = run_module(
        "nanojaxlm.generate",
        checkpoint + "/checkpoints/30",
        "--prompt=The ",
        "--prompt=Winter g",
        "--max_tokens=12",
        "--temperature=0",
        "--stop=e",
    )
    assert two.returncode == 0, two.stderr
    first, second = two.stdout.removeprefix("--- 1\n").split("\n\n--- 2\n")
    assert first.startswith("The ") and second.startswith("Winter g")
    assert "e" not in first[4:] + second[8:]


def test_a_stream_arrives_piece_by_piece(module_process, finished_run):
    process = module_process(
        "nanojaxlm.generate", f"--checkpoint={finished_run}", "--prompt=abc", "--max_tokens=100000"
    )
    process.stdin.close()
    try:
        assert process.stdout.read(4)[:3] == b"abc"  # while the rest is still to be made
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_mistakes_in_a_call_are_told_in_one_line(run_module, finished_run, assert_mistake):
    generate = "nanojaxlm.generate"
    here = f"--checkpoint={finished_run}"
    for module, arguments, stdin, words in (
        (generate, [here, "--prompt=a", "--top_p=2"], b"", ["--top_p", "(0, 1]"]),
        (generate, [here, "--prompt=-"], b"caf\xe9", ["standard input", "not UTF-8"]),
        (generate, [here, "--promt=a"], b"", ["promt", "prompt"]),
        (generate, [here + "/checkpoints/7"], b"", ["no checkpoint of step 7", "[30, 40]"]),
        ("nanojaxlm.evaluate", [here, "--split=test"], b"", ["'test'", "train, validation"]),
        ("nanojaxlm.evaluate", [], b"", ["--checkpoint is missing"]),
        ("nanojaxlm.main", ["--workdir=/tmp/none-such"], b"", ["--config is missing"]),
    ):
        assert_mistake(run_module(module, *arguments, stdin=stdin), 2, *words)


def test_evaluate_leaves_its_result_and_it_is_that_of_training(
    tmp_path, run_module, finished_run, assert_mistake
):
    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    done = run_module("nanojaxlm.evaluate", f"--checkpoint={workdir}")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((workdir / "evaluation.json").read_text())
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert result["loss"] == pytest.approx(last["validation_loss"], rel=1e-6)
    assert result["bits_per_byte"] == pytest.approx(last["validation_bits_per_byte"], rel=1e-6)
    assert (result["step"], result["split"], result["seconds"] > 0) == (40, "validation", True)
    manifest = json.loads((workdir / "store" / "manifest.json").read_text())
    split = manifest["splits"]["validation"]
    assert (result["bytes"], result["tokens"]) == (split["num_bytes"], split["num_tokens"] - 1)
    assert f"{result['bits_per_byte']:.4f} bits per byte" in done.stdout
    output = f"--output={workdir}/no/such/folder.json"
    failed = run_module("nanojaxlm.evaluate", f"--checkpoint={workdir}", output)
    assert_mistake(failed, 2, "cannot write", "--output")


@pytest.mark.parametrize("module", ["main", "generate", "evaluate", "report"])
def test_help_tells_how_to_call_it(run_module, module):
    done = run_module(f"nanojaxlm.{module}", "--help")
    assert done.returncode == 0
    assert f"python -m nanojaxlm.{module}" in done.stdout and "--" in done.stdout
