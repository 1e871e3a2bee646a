"""The commands of interop, as a user runs them."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nanojaxlm.errors import EXIT_MISTAKE
from nanojaxlm.loading import load, load_tokenizer_of
from nanojaxlm.token_store import StoreWriter

pytestmark = pytest.mark.slow
INTEROP = "nanojaxlm.interop"


@pytest.fixture(scope="module")
def trained(small_run, run_module, tmp_path_factory) -> str:
    """The workdir of a short training whose model a family can hold."""
    workdir = str(tmp_path_factory.mktemp("trained") / "run")
    flags = (
        "decoder.attention.kv_shift=False", "decoder.feed_forward.activation=silu",
        "decoder.feed_forward.gated=True", "embed.scale=1.0",
    )  # fmt: skip
    done = run_module(
        "nanojaxlm.main", *small_run, *(f"--config.model.{flag}" for flag in flags),
        "--config.training.steps=3", "--config.evaluation.batches=1", f"--workdir={workdir}",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return workdir


@pytest.fixture(scope="module")
def back_again(trained, run_module, tmp_path_factory) -> str:
    """The workdir of that model exported and imported."""
    folder = tmp_path_factory.mktemp("exported")
    out, workdir = str(folder / "out"), str(folder / "again")
    done = run_module(INTEROP, "export", f"--checkpoint={trained}", f"--folder={out}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "independent reader" in done.stdout and "within" in done.stdout
    done = run_module(INTEROP, "import", f"--folder={out}", f"--workdir={workdir}")
    assert (done.returncode, done.stderr) == (0, "")
    assert workdir in done.stdout
    return workdir


def test_a_trained_model_that_went_out_and_came_back_says_the_same(trained, back_again, run_module):
    prompt = ("--prompt=The ", "--max_tokens=20", "--temperature=0")
    before, after = (
        run_module("nanojaxlm.generate", f"--checkpoint={run}", *prompt)
        for run in (trained, back_again)
    )
    assert (before.returncode, before.stderr) == (0, "")
    assert (after.returncode, after.stdout) == (0, before.stdout), after.stderr


def test_an_imported_model_trains_on(back_again, run_module, tmp_path, text_file):
    """On a store made with its own tokenizer, from its own numbers."""
    tuned = str(tmp_path / "tuned")
    tokenizer = load_tokenizer_of(back_again)
    ids = np.array([tokenizer.bos_id, *tokenizer.encode(text_file.read_text()), tokenizer.eos_id])
    store = StoreWriter(
        str(tmp_path / "store"), tokenizer=tokenizer.model, sources=[], curation={},
        vocab_size=tokenizer.vocab_size,
    )  # fmt: skip
    for split in ("train", "validation"):
        store.write(split, ids[:4000], np.array([4000]), 4000)
    store.finish()
    done = run_module(
        "nanojaxlm.main", f"--config=configs/saved.py:{back_again}/config.json",
        f"--config.training.start_from={back_again}", f"--config.data.stores={tmp_path / 'store'}",
        "--config.data.sequence_length=32", "--config.data.batch_size=8",
        "--config.training.steps=2", "--config.evaluation.batches=1",
        "--config.mesh.data=1", f"--workdir={tuned}",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    before, after = (jax.tree.leaves(load(run).params) for run in (back_again, tuned))
    for one, other in zip(before, after, strict=True):
        moved = np.abs(np.asarray(one) - np.asarray(other)).max()
        assert 0 < moved < 1e-4  # two steps of at most 1e-5


def test_mistakes_in_a_call_are_told_in_one_line(
    run_module, assert_mistake, family_folder, tmp_path
):
    theirs = family_folder("llama")
    file = theirs.path / "model.safetensors"
    name = "model.norm.weight"
    save_file({n: v for n, v in load_file(file).items() if n != name}, file)
    workdir = tmp_path / "run"
    for arguments, words in (
        ((), ["say import or export"]),
        (("improt", "--folder=x"), ["improt"]),
        (("import", "--folder=x"), ["import needs --workdir"]),
        (("export", "--folder=x"), ["export needs --checkpoint"]),
        (("import", f"--folder={tmp_path}", f"--workdir={workdir}"), ["config.json"]),
        (("import", f"--folder={theirs.path}", f"--workdir={workdir}"), [name, "missing"]),
        (("export", f"--checkpoint={workdir}", f"--folder={tmp_path}/out"), ["no checkpoint"]),
        (("import", "--folder=x", f"--workdir={workdir}", "--mesh.fdsp=2"), ["fdsp"]),
    ):
        assert_mistake(run_module(INTEROP, *arguments), EXIT_MISTAKE, *words)
        assert not workdir.exists()
        assert not (tmp_path / "out").exists()


@pytest.mark.interop
def test_transformers_is_asked_by_the_command_too(trained, run_module, tmp_path):
    out = tmp_path / "out"
    done = run_module(INTEROP, "export", f"--checkpoint={trained}", f"--folder={out}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "transformers 5" in done.stdout
    assert "transformers 5" in (out / "README.md").read_text()
