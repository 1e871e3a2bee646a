"""The commands on an encoder, an encoder-decoder and a decoder that fills in the middle."""

import dataclasses
import json
import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nanojaxlm.config import Config
from nanojaxlm.data.objectives import FillInTheMiddle, MaskedLM, SpanCorruption
from nanojaxlm.model.config import AttentionConfig, FeedForwardConfig, StackConfig
from nanojaxlm.typed_config import dump_json, from_config_dict

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
STACK = StackConfig(
    num_layers=2,
    attention=AttentionConfig(num_heads=4, num_kv_heads=4, head_dim=8, qk_norm="head"),
    feed_forward=FeedForwardConfig(hidden=64),
)
KINDS = {
    "encoder": (STACK, None, MaskedLM(keep=0.0, random=0.0), "The <mask>iver"),
    "encoder_decoder": (STACK, STACK, SpanCorruption(num_sentinels=9), "The <extra_id_0>"),
    "decoder": (None, STACK, FillInTheMiddle(), "The "),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, text_file, run_module) -> dict[str, Path]:
    """A workdir of each kind, trained for 30 small steps by the command."""
    folder = tmp_path_factory.mktemp("kinds")
    shipped = runpy.run_path(str(ROOT / "configs" / "shakespeare_char.py"))["get_config"]()
    base = from_config_dict(Config, shipped)
    made = {}
    for kind, (encoder, decoder, objective, prompt) in KINDS.items():
        config = dataclasses.replace(
            base,
            model=dataclasses.replace(base.model, d_model=32, encoder=encoder, decoder=decoder),
            data=dataclasses.replace(
                base.data,
                text=str(text_file),
                sequence_length=32,
                batch_size=8,
                objective=objective,
            ),
            training=dataclasses.replace(base.training, steps=30, log_every=10),
            evaluation=dataclasses.replace(
                base.evaluation, every=30, sample_prompts=(prompt,), sample_tokens=8
            ),
            checkpoint=dataclasses.replace(base.checkpoint, every=30),
        )
        (folder / f"{kind}.json").write_text(dump_json(config))
        made[kind] = folder / kind
        saved = f"--config={ROOT / 'configs' / 'saved.py'}:{folder / f'{kind}.json'}"
        done = run_module("nanojaxlm.main", saved, f"--workdir={made[kind]}")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return made


@pytest.fixture
def generate(runs, run_module) -> Callable[..., subprocess.CompletedProcess]:
    def call(kind: str, *arguments: str) -> subprocess.CompletedProcess:
        return run_module("nanojaxlm.generate", f"--checkpoint={runs[kind]}", *arguments)

    return call


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_and_writes_a_sample_of_its_kind(runs, kind):
    lines = [json.loads(line) for line in (runs[kind] / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation_loss"] < lines[0]["loss"]
    sample = json.loads((runs[kind] / "samples.jsonl").read_text())
    assert sample["prompt"] == KINDS[kind][3]
    if kind == "encoder":
        assert re.fullmatch(r"The .?iver", sample["text"], re.DOTALL)


def test_an_encoder_fills_in_masks_and_tells_how_sure_it_was(generate):
    done = generate("encoder", "--prompt=The <mask>iver and the <mask>", "--temperature=0")
    assert (done.returncode, done.stderr) == (0, "")
    text, first, second = done.stdout.splitlines()
    assert re.fullmatch(r"The .?iver and the .?", text)
    for line in (first, second):
        assert 0 < float(re.fullmatch(r" +([\d.]+)%  '.*'", line)[1]) <= 100
    several = generate("encoder", "--prompt=a<mask>", "--prompt=<mask>b", "--at_once")
    assert re.match(r"--- 1\na", several.stdout) and "\n\n--- 2\n" in several.stdout


def test_an_encoder_decoder_writes_the_sentinels_it_was_trained_on(generate):
    arguments = ("--prompt=The <extra_id_0>iver.", "--temperature=0", "--max_tokens=6")
    named, plain = (
        generate("encoder_decoder", *arguments, "--special"),
        generate("encoder_decoder", *arguments),
    )
    assert (named.returncode, named.stderr) == (0, "")
    assert named.stdout.startswith("<extra_id_0>")
    assert plain.stdout == re.sub(r"<\w+>", "", named.stdout)


def test_a_decoder_fills_in_the_middle_between_prompt_and_suffix(generate):
    done = generate("decoder", "--prompt=The ri", "--suffix=er.", "--max_tokens=5")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"The ri.{0,5}er\.\n", done.stdout, re.DOTALL)


def test_what_a_kind_cannot_do_is_told(generate, assert_mistake):
    for kind, arguments, words in (
        ("encoder", ["--prompt=no hole"], ["'no hole' has no <mask>"]),
        ("encoder", ["--prompt=a", "--suffix=b"], ["--suffix is of decoders"]),
        ("encoder", ["--prompt=a", "--stop=b"], ["--stop is of decoders"]),
        ("encoder_decoder", ["--prompt=a", "--suffix=b"], ["--suffix needs a decoder alone"]),
    ):
        assert_mistake(generate(kind, *arguments), 2, *words)


def test_a_plain_decoder_has_no_tokens_for_a_middle(run_module, finished_run, assert_mistake):
    done = run_module(
        "nanojaxlm.generate", f"--checkpoint={finished_run}", "--prompt=a", "--suffix=b"
    )
    assert_mistake(done, 2, "no special token '<fim_prefix>'")


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_has_the_figures_that_are_defined(tmp_path, runs, run_module, kind):
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"UID": "x", "sentence_good": "The river.", "sentence_bad": "The rriev."}] * 3
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run_module(
        "nanojaxlm.evaluate",
        f"--checkpoint={runs[kind]}",
        f"--minimal_pairs={pairs}",
        "--pairs_limit=2",
        "--hidden_tokens=40",
        "--continuations=10",
        f"--output={tmp_path / 'evaluation.json'}",
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "evaluation.json").read_text())
    last = json.loads((runs[kind] / "metrics.jsonl").read_text().splitlines()[-1])
    assert found["loss"] == pytest.approx(last["validation_loss"], rel=1e-6)
    assert found["objective"] == type(KINDS[kind][2]).__name__
    assert (found["bits_per_byte"] is None) == (kind != "decoder")
    assert (found["continuations"] is None) == (kind == "encoder")
    assert 0 < found["hidden_tokens"]["accuracy"] < 1
    assert found["hidden_tokens"]["num_tokens"] == 40
    assert found["minimal_pairs"]["num_pairs"] == 2
    assert "2 minimal pairs right" in done.stdout and "40 hidden tokens" in done.stdout
