"""A run whose batch grows: what it reads, says and goes on with."""

import dataclasses
import io
import json
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from nanojaxlm.config import Config, EvaluationConfig, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.errors import UserError
from nanojaxlm.losses import LossConfig
from nanojaxlm.optimizer import AdamW, WarmupStableDecay
from nanojaxlm.train import train
from nanojaxlm.typed_config import from_config_dict, to_config_dict, to_plain

pytestmark = pytest.mark.usefixtures("quick_compile")
ADAMW = AdamW(learning_rate=1e-2, schedule=WarmupStableDecay(warmup_steps=0, decay_rate=0.0))


@pytest.fixture
def config(text_file, tiny_config) -> Config:
    """Rows a step, over the 8 devices: 8, 8, 16, 16, 32, …; saved after the third."""
    return Config(
        model=dataclasses.replace(tiny_config(), vocab_size=None),
        data=DataConfig(
            text=str(text_file), sequence_length=16, batch_size=32, batch_warmup=((2, 8), (4, 16))
        ),
        optimizer=ADAMW,
        training=TrainingConfig(steps=6, log_every=1),
        loss=LossConfig(chunk_length=16),
        evaluation=EvaluationConfig(every=1000, batches=1),
    )


def with_steps(config: Config, steps: int) -> Config:
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, steps=steps)
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_whose_batch_grows_goes_on_bit_for_bit(tmp_path, config):
    """Six steps, and three and three: the same batches, whose sizes are those of the config."""
    console = Console(record=True, width=200, file=io.StringIO())
    whole = train(config, tmp_path / "whole", console)
    train(with_steps(config, 3), tmp_path / "parts", Console(quiet=True))
    parts = train(config, tmp_path / "parts", Console(quiet=True))
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
    one, other = (
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    )
    assert [line["batch_hash"] for line in one] == [line["batch_hash"] for line in other]
    assert [line["targets"] // (8 * 16) for line in one] == [1, 1, 2, 2, 4, 4]
    assert "6 steps of 128 to 512 are" in console.export_text()


def test_every_size_must_divide_into_micro_batches(config):
    training = dataclasses.replace(config.training, accumulation=16)
    with pytest.raises(ValueError, match=r"accumulation=16 must divide data\.batch_warmup's=8"):
        dataclasses.replace(config, training=training)


@pytest.mark.slow
def test_every_size_must_split_over_the_devices(tmp_path, config):
    data = dataclasses.replace(config.data, batch_warmup=((2, 12),))
    with pytest.raises(UserError, match=r"12 rows .* do not split"):
        train(dataclasses.replace(config, data=data), tmp_path, Console(quiet=True))


def test_the_warmup_goes_through_a_config_dict_and_json_and_back(config):
    tree: Any = to_config_dict(config)
    assert from_config_dict(Config, tree) == config
    assert from_config_dict(Config, json.loads(json.dumps(to_plain(config)))) == config
    plain = to_plain(config)
    plain["data"]["batch_warmup"] = [[2, 8], [4, "many"]]
    with pytest.raises(UserError, match=r"config\.data\.batch_warmup\[1\]\[1\] must be a int"):
        from_config_dict(Config, plain)
