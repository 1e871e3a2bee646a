"""Every shipped config loads, validates, comes back from JSON, and stays small."""

import dataclasses
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from nanojaxlm.config import Config
from nanojaxlm.data.objectives import MaskedLM, SpanCorruption
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import dump_json, flatten, from_config_dict, to_config_dict

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NO_EXPERIMENTS = ("__init__", "saved", "compare_families", "scaling_law")
EXPERIMENTS = sorted(p for p in CONFIGS.glob("*.py") if p.stem not in NO_EXPERIMENTS)


def load(path: Path, *argument: str) -> Any:
    return runpy.run_path(str(path))["get_config"](*argument)


def given(tree: Any) -> Any:
    """The config with a text to read, where it names neither store nor text."""
    if not tree.data.stores and tree.data.text is None:
        tree.data.text = "input.txt"
    return tree


@pytest.fixture(params=EXPERIMENTS, ids=lambda path: path.stem)
def experiment(request) -> Path:
    return request.param


def test_there_are_experiments():
    assert {"quickstart", "shakespeare_char"} <= {path.stem for path in EXPERIMENTS}


def test_it_loads_and_validates(experiment: Path):
    config = from_config_dict(Config, given(load(experiment)))
    assert config.training.steps > 0


def test_it_comes_back_from_json(experiment: Path):
    config = from_config_dict(Config, given(load(experiment)))
    assert from_config_dict(Config, json.loads(dump_json(config))) == config


def test_it_has_few_keys(experiment: Path):
    assert 30 < len(flatten(load(experiment).to_dict())) < 120


def test_its_docstring_has_the_command(experiment: Path):
    text = experiment.read_text(encoding="utf-8")
    assert f"python -m nanojaxlm.main --config=configs/{experiment.name}" in text


def test_a_saved_config_starts_the_same_run(tmp_path: Path):
    """`override` is seen too, so that it is not the shipped config that comes back."""
    tree = given(load(CONFIGS / "shakespeare_char.py"))
    tree.training.steps = 123
    config = from_config_dict(Config, tree)
    saved = tmp_path / "config.json"
    saved.write_text(dump_json(config))
    again = load(CONFIGS / "saved.py", str(saved))
    assert from_config_dict(Config, again) == config
    assert again.training.steps == 123


def test_a_saved_config_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot read the saved config .*nowhere\.json"):
        load(CONFIGS / "saved.py", str(tmp_path / "nowhere.json"))


# --- What no room can check alone


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("training.accumulation", 7, "training.accumulation=7 must divide data.batch_size"),
        ("loss.chunk_length", 0, "chunk_length must be >= 1"),
        ("seed", -1, "seed must be in"),
        ("seed", 2**32, "seed must be in"),
        ("model.num_future", 1, "predicts 0 tokens beyond the next, but model.num_future is 1"),
        ("model.embed.num_positions", 32, "rows of 64 tokens are longer than the 32 positions"),
        ("training.steps", 0, "steps must be >= 1"),
        ("evaluation.every", 0, "every must be >= 1"),
        ("checkpoint.keep", 0, "keep must be >= 1"),
        ("model.decoder.attention.head_dim", 7, "head_dim * rope.rate must be even"),
        ("model.decoder.attention.num_kv_heads", 3, "must be a multiple of num_kv_heads=3"),
        ("model.decoder.attention.window", 0, "window must be > 0 or None"),
        ("model.decoder.remat", "some", "remat must be one of none, dots, "),
        ("model.decoder.feed_forward.activation", "tanh", "activation must be one of"),
        ("model.dtype", "float16", "dtype must be one of float32, bfloat16"),
        ("model.logit_softcap", 0.0, "logit_softcap must be > 0"),
        ("model.vocab_size", 1, "vocab_size must be >= 2"),
    ],
)
def test_impossible_values_are_refused_by_name(field: str, value: Any, words: str):
    tree = given(load(CONFIGS / "shakespeare_char.py"))
    with tree.unlocked(), tree.ignore_type():
        tree.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=r"^config") as caught:
        from_config_dict(Config, tree)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (MaskedLM(), "MaskedLM feeds encoder, but model.encoder is None"),
        (SpanCorruption(), "SpanCorruption feeds encoder, but model.encoder is None"),
    ],
)
def test_an_objective_that_the_model_cannot_read_is_refused(objective, words):
    config = from_config_dict(Config, given(load(CONFIGS / "shakespeare_char.py")))
    data = dataclasses.replace(config.data, objective=objective, sequence_length=64)
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(config, data=data)


def test_none_fields_of_the_model_can_be_overridden():
    tree = to_config_dict(from_config_dict(Config, given(load(CONFIGS / "shakespeare_char.py"))))
    tree.model.decoder.attention.window = 16
    tree.model.logit_softcap = 30.0
    tree.evaluation.batches = 4
    config = from_config_dict(Config, tree)
    assert config.model.decoder.attention.window == 16
    assert config.model.logit_softcap == 30.0
    assert config.evaluation.batches == 4
