"""config.json of each family: published ones read as configs/models has them, ours are written and
read as themselves."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nanojaxlm.config import Config
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.interop.families.fit import difference
from nanojaxlm.interop.family import Family
from nanojaxlm.model.config import (
    AttentionConfig,
    BandScaling,
    LinearScaling,
    LocalConfig,
    ModelConfig,
    Rope,
    YarnScaling,
)
from nanojaxlm.typed_config import from_config_dict

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("draw_families.py"))))
NAMES = tuple(DRAW.CLASSES)
MODELS = Path(__file__).resolve().parents[2] / "configs" / "models"
# configs/models file:size -> the fields of the publisher's config.json that matter, in its spelling
PUBLISHED = json.loads((DRAW.FOLDER / "published_configs.json").read_text())


def family_named(name: str) -> Family:
    return next(family for family in FAMILIES if name in family.model_types)


def model_of(file_and_size: str) -> ModelConfig:
    file, _, size = file_and_size.partition(":")
    get_config = runpy.run_path(str(MODELS / f"{file}.py"))["get_config"]
    return from_config_dict(Config, get_config(size), "config").model


@pytest.mark.parametrize("file_and_size", PUBLISHED)
def test_a_published_config_reads_as_the_model_of_configs_models(file_and_size: str):
    published = PUBLISHED[file_and_size]
    read = family_named(published["model_type"]).read_config(published)
    wanted = model_of(file_and_size)
    rows = read.vocab_size if wanted.vocab_size is None else wanted.vocab_size
    assert read.vocab_size == published["vocab_size"]
    assert difference(read, replace(wanted, vocab_size=rows, start_id=read.start_id)) is None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", NAMES)
def test_a_config_that_was_read_is_written_and_read_as_itself(name: str, seed: int):
    family = family_named(name)
    config = family.read_config(DRAW.draw_config(name, seed))
    written = family.write_config(config)
    assert family.read_config(written) == config
    assert written["model_type"] == name
    assert written["architectures"] == [family.architectures[0]] == [DRAW.CLASSES[name]]


@pytest.mark.parametrize("name", NAMES)
def test_how_a_model_is_run_is_not_what_it_is(name: str):
    family = family_named(name)
    config = family.read_config(DRAW.draw_config(name, 0))
    stacks = {
        which: replace(stack, scan=False, remat="full")
        for which in ("encoder", "decoder")
        if (stack := getattr(config, which)) is not None
    }
    written = family.write_config(replace(config, dtype="bfloat16", **stacks))
    assert family.read_config(written) == replace(config, dtype="bfloat16")


ROPES = [
    ({"rope_theta": 5.0}, Rope(theta=5.0)),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, Rope(theta=5.0)),
    (
        {"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        Rope(theta=5.0, scaling=LinearScaling(factor=2.0)),
    ),
    (
        {"rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 5.0}},
        Rope(theta=5.0, scaling=LinearScaling(factor=2.0)),
    ),
    (
        {
            "max_position_embeddings": 99,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
        },
        Rope(
            scaling=BandScaling(
                factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_length=99
            )
        ),
    ),
    (
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}},
        Rope(scaling=YarnScaling(factor=4.0, original_length=64)),
    ),
    (
        {
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
            }
        },
        Rope(scaling=YarnScaling(factor=4.0, original_length=64, attention_factor=1.0)),
    ),
]


@pytest.mark.parametrize(("fields", "rope"), ROPES)
def test_old_and_new_spellings_of_rotary_positions(fields: dict[str, Any], rope: Rope):
    told = DRAW.draw_config("llama", 0)
    del told["rope_parameters"], told["max_position_embeddings"]
    config = family_named("llama").read_config(told | fields)
    assert config.decoder is not None and config.decoder.attention.rope == rope


def slides(config: ModelConfig) -> list[bool]:
    assert config.decoder is not None
    layers = (config.decoder.layer(i) for i in range(config.decoder.num_layers))
    return [layer.attention.window is not None for layer in layers]


@pytest.mark.parametrize("pattern", ["", "s", "f", "sf", "fs", "sss", "sfs", "fsf", "ssf", "fss"])
@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "qwen3", "dots1"])
def test_layer_types_are_kept_layer_by_layer(name: str, pattern: str):
    types = [{"f": "full_attention", "s": "sliding_attention"}[kind] for kind in pattern]
    told = DRAW.draw_config(name, 0)
    told |= {"first_k_dense_replace": 0} if name == "dots1" else {}
    told |= {"use_sliding_window": True, "sliding_window": 3} if name == "qwen3" else {}
    if types:
        told |= {"layer_types": types, "num_hidden_layers": len(types)}
        config = family_named(name).read_config(told)
        assert slides(config) == [kind == "s" for kind in pattern]
        assert family_named(name).write_config(config)["layer_types"] == types


@pytest.mark.parametrize("num_layers", [1, 3, 6, 8])
def test_a_pattern_longer_than_the_model_is_kept(num_layers: int):
    told = DRAW.draw_config("gemma3_text", 0) | {"num_hidden_layers": num_layers}
    del told["layer_types"]
    config = family_named("gemma3_text").read_config(told | {"sliding_window_pattern": 6})
    assert config.decoder is not None and isinstance(config.decoder.local, LocalConfig)
    assert config.decoder.local.global_every == 6
    for name in ("gemma3_text", "qwen3"):
        plain = replace(config.decoder.local, rope=None)
        decoder = replace(config.decoder, local=plain)
        family = family_named(name)
        if name == "qwen3":
            base = family.read_config(DRAW.draw_config(name, 0))
            assert base.decoder is not None
            decoder = replace(
                base.decoder,
                num_layers=num_layers,
                local=plain,
                attention=replace(base.decoder.attention, window=None),
            )
            config = base
        model = replace(config, decoder=decoder)
        assert family.read_config(family.write_config(model)) == model


def test_a_given_default_is_the_default():
    """An attention's scale of head_dim^-0.5 is no obstacle, said or not."""
    family = family_named("llama")
    config = family.read_config(DRAW.draw_config("llama", 0))
    assert config.decoder is not None
    attention: AttentionConfig = config.decoder.attention
    attention = replace(attention, scale=attention.head_dim**-0.5)
    said = replace(config, decoder=replace(config.decoder, attention=attention))
    assert family.read_config(family.write_config(said)) == config


def test_local_layers_with_the_rotation_of_the_global_ones_said_or_not():
    family = family_named("gemma2")
    told = DRAW.draw_config("gemma2", 0) | {"layer_types": ["sliding_attention", "full_attention"]}
    config = family.read_config(told | {"num_hidden_layers": 2})
    assert config.decoder is not None and config.decoder.local is not None
    local = replace(config.decoder.local, rope=config.decoder.attention.rope)
    said = replace(config, decoder=replace(config.decoder, local=local))
    assert family.read_config(family.write_config(said)) == config
