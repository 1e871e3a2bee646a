"""The one dial: what it sets is monotone, divides, and follows the stated laws."""

import dataclasses
import itertools
import re
import runpy
from pathlib import Path

import pytest

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError
from nanojaxlm.interop.exporting import choose
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import num_parameters, parameter_boxes
from nanojaxlm.typed_config import from_config_dict

FILE = Path(__file__).resolve().parents[2] / "configs" / "models" / "scaled.py"
SCALED = runpy.run_path(str(FILE))
DEPTHS = (1, 2, 3, 4, 7, 8, 12, 16, 24, 32)


def load(dial: str) -> Config:
    return from_config_dict(Config, SCALED["get_config"](dial))


def parameters(config: Config) -> int:
    return num_parameters(parameter_boxes(Transformer(config.model)))


def tokens(config: Config) -> int:
    return config.training.steps * batch_tokens(config)


def batch_tokens(config: Config) -> int:
    return config.data.batch_size * config.data.sequence_length


@pytest.fixture(scope="module")
def configs() -> dict[int, Config]:
    return {depth: load(f"depth={depth}") for depth in DEPTHS}


def test_more_depth_is_more_of_everything_but_the_rate(configs):
    for small, large in itertools.pairwise(configs.values()):
        assert small.model.d_model < large.model.d_model
        assert parameters(small) < parameters(large)
        assert tokens(small) < tokens(large)
        assert batch_tokens(small) <= batch_tokens(large)
        assert small.optimizer.learning_rate > large.optimizer.learning_rate


@pytest.mark.parametrize("depth", DEPTHS)
def test_widths_divide_into_heads_and_batches_over_devices(configs, depth: int):
    model, data = configs[depth].model, configs[depth].data
    attention = model.decoder.attention
    assert model.decoder.num_layers == depth
    assert attention.num_heads * attention.head_dim == model.d_model
    assert attention.num_heads % attention.num_kv_heads == 0
    assert data.batch_size & (data.batch_size - 1) == 0


@pytest.mark.parametrize("depth", DEPTHS)
def test_it_reads_twenty_tokens_a_parameter_and_at_most_one_batch_more(configs, depth: int):
    config = configs[depth]
    over = tokens(config) - 20 * parameters(config)
    assert 0 <= over < batch_tokens(config)


def test_batch_and_rate_are_those_of_the_fitted_laws(configs):
    """By hand for depth 16: 269,519,872 parameters, C = 120 N² = 8.72e18."""
    config = configs[16]
    assert parameters(config) == 269_519_872
    law = 0.2920 * (120 * 269_519_872**2) ** 0.3271
    assert law == pytest.approx(4.7e5, rel=0.05)
    assert law / 2**0.5 < batch_tokens(config) < law * 2**0.5
    assert config.optimizer.learning_rate == pytest.approx(0.3118 * (8.717e18) ** -0.125, rel=1e-3)


def test_a_twentieth_of_a_short_run_warms_up_and_at_most_2000_steps(configs):
    for config in configs.values():
        steps = config.optimizer.schedule.warmup_steps
        assert steps == min(2000, -(-config.training.steps // 20))


def test_the_docstring_has_the_table_that_it_gives():
    rows = re.findall(
        r"^    +(\d+) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+) ", FILE.read_text(), re.M
    )
    assert len(rows) == 8
    for depth, count, num_tokens, batch, steps in rows:
        config = load(f"depth={depth}")
        told = [int(figure.replace(",", "")) for figure in (count, num_tokens, batch, steps)]
        found = parameters(config)
        assert told == [found, 20 * found, batch_tokens(config), config.training.steps]


def test_the_vocabulary_counts():
    small = load("depth=4,vocab_size=4096")
    assert small.model.vocab_size == 4096
    assert tokens(small) < tokens(load("depth=4"))


@pytest.mark.parametrize("dial", ["", "8", "depth", "depth=0", "depth=x", "width=3", "depth=-1"])
def test_a_dial_that_says_nothing_is_refused(dial: str):
    with pytest.raises(UserError, match="give depth=N"):
        load(dial)


def test_the_vocabulary_alone_is_not_enough():
    with pytest.raises(UserError, match="lacks the depth"):
        load("vocab_size=4096")


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_model_can_be_exported_as_qwen3(configs, depth: int):
    family, written = choose(configs[depth].model, FAMILIES, "qwen3")
    assert written["num_hidden_layers"] == depth
    assert dataclasses.replace(
        family.read_config(written), dtype="bfloat16"
    ) == dataclasses.replace(configs[depth].model, dtype="bfloat16")
