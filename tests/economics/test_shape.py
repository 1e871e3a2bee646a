"""A typical model has the parameters that were asked for, and looks like the published ones."""

import jax
import pytest

from nanojaxlm.economics.shape import count, typical_config
from nanojaxlm.metrics import train_flops_per_row
from nanojaxlm.model.config import MixtureConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import num_parameters, parameter_boxes


@pytest.mark.parametrize("exponent", range(10, 25))
@pytest.mark.parametrize("factor", [1.0, 1.7])
def test_parameters_come_within_two_percent(exponent: int, factor: float):
    params = min(factor * 10 ** (exponent / 2), 1e12)
    total, active = count(typical_config(params))
    assert total == active == pytest.approx(params, rel=0.02)


@pytest.mark.parametrize("params", [1e4, 2e4, 5e4])
def test_the_smallest_models_come_near(params: float):
    assert count(typical_config(params))[0] == pytest.approx(params, rel=0.03)


@pytest.mark.parametrize(
    ("params", "width", "depth", "heads", "key_heads", "hidden"),
    [(6.738e9, 4096, 32, 32, 32, 11_008), (13.016e9, 5120, 40, 40, 40, 13_824)],
)
def test_llama_2_comes_out_as_published(
    params: float, width: int, depth: int, heads: int, key_heads: int, hidden: int
):
    model = typical_config(params).model
    stack = model.decoder
    assert stack is not None
    a = stack.attention
    assert (model.d_model, stack.num_layers, model.vocab_size) == (width, depth, 32_000)
    assert (a.num_heads, a.num_kv_heads, a.head_dim) == (heads, key_heads, 128)
    assert getattr(stack.feed_forward, "hidden", None) == hidden


@pytest.mark.parametrize(
    ("params", "active"),
    [
        (46.7e9, 12.9e9),  # Mixtral 8x7B
        (671e9, 37e9),  # DeepSeek-V3
        (235e9, 22e9),  # Qwen 3
        (30e9, 3e9),
        (1e9, 0.3e9),
        (1e7, 3e6),
        (1e10, 9e9),
    ],
)
def test_a_mixture_has_both_numbers(params: float, active: float):
    config = typical_config(params, active_params=active)
    assert config.model.decoder is not None
    assert isinstance(config.model.decoder.feed_forward, MixtureConfig)
    assert count(config) == (pytest.approx(params, rel=0.03), pytest.approx(active, rel=0.03))


def test_all_active_is_no_mixture():
    assert typical_config(1e9, active_params=1e9) == typical_config(1e9)


def test_the_count_is_that_of_the_model_itself():
    for config in (typical_config(1e7), typical_config(1e7, active_params=3e6)):
        assert count(config)[0] == num_parameters(parameter_boxes(Transformer(config.model)))


def test_the_count_of_a_published_mixture_is_the_published_one():
    from configs.models import mixtral
    from nanojaxlm.config import Config
    from nanojaxlm.typed_config import from_config_dict

    total, active = count(from_config_dict(Config, mixtral.get_config("8x7b")))
    assert total == 46_702_792_704
    assert active == pytest.approx(12.9e9, rel=0.005)


def test_no_array_is_made():
    before = len(jax.live_arrays())
    count(typical_config(1e12))
    assert len(jax.live_arrays()) == before


def test_flops_are_six_a_parameter_and_attention():
    config = typical_config(6.74e9)
    flops = train_flops_per_row(config.model, decoder_length=4096) / 4096
    assert 6 * 6.6e9 < flops < 7.5 * 6.74e9


def test_wider_models_have_larger_batches_of_the_length_that_is_asked_for():
    small, large = typical_config(1e8, 1024), typical_config(1e11, 1024)
    assert small.data.sequence_length == large.data.sequence_length == 1024
    assert small.data.batch_size < large.data.batch_size
    tokens = typical_config(6.7e9).data
    assert tokens.batch_size * tokens.sequence_length == 2**21


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0,), "between 10000"),
        ((-1e9,), "between 10000"),
        ((float("nan"),), "between 10000"),
        ((9e3,), "got 9000"),
        ((1e20,), "1e+20"),
        ((1e9, 0), "sequence_length"),
        ((1e9, 4096, 2e9), "active"),
        ((1e9, 4096, -1), "active"),
        ((1e12, 4096, 2e4), "no mixture"),
    ],
)
def test_what_is_impossible_is_refused(arguments: tuple[float, ...], words: str):
    with pytest.raises(ValueError, match=words.replace("+", r"\+")):
        typical_config(*arguments)  # type: ignore[arg-type]
