"""FLOPs and hours: units, proportions, and the exact count against 6ND."""

import dataclasses

import pytest

from nanojaxlm.economics.compute import accelerator_hours, exact_per_token, flops_of
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.shape import count, typical_config


def test_hours_are_flops_over_what_a_chip_does_in_an_hour():
    hours = accelerator_hours(6 * 6.74e9 * 2e12, Range(0.3, 0.4, 0.5), 312e12)
    assert hours.central == pytest.approx(6 * 6.74e9 * 2e12 / (312e12 * 0.4) / 3600)
    assert hours.low == pytest.approx(hours.central * 0.4 / 0.5)  # the best MFU, the fewest hours
    assert hours.high == pytest.approx(hours.central * 0.4 / 0.3)


@pytest.mark.parametrize("params", [1e8, 7e9, 7e10])
def test_the_exact_count_is_6nd_without_input_embeddings_and_with_attention(params):
    config = typical_config(params, 4096)
    total, active = count(config)
    flops = flops_of(config, active, 1e12, None)
    embedding = config.model.vocab_size * config.model.d_model
    norms = 1e-3  # which are no products
    without = 6 * (total - embedding) * 1e12
    assert flops.exact - flops.attention == pytest.approx(without, rel=norms)
    layers, heads = config.model.decoder.num_layers, config.model.decoder.attention
    attention = 12 * layers * heads.num_heads * heads.head_dim * 4096 * 1e12
    assert flops.attention == pytest.approx(attention, rel=1e-6)
    assert flops.counted == flops.six_nd == pytest.approx(6 * active * 1e12)


def test_a_config_of_ones_own_is_counted_exactly():
    config = typical_config(1e9, 2048)
    flops = flops_of(config, 1e9, 1e10, 1.05)
    assert flops.counted == pytest.approx(flops.exact / 1.05)
    assert flops.exact == pytest.approx(exact_per_token(config) * 1e10)


def test_longer_rows_cost_more_a_token_and_only_in_attention():
    short = flops_of(typical_config(1e9, 2048), 1e9, 1e10, None)
    config = typical_config(1e9, 2048)
    data = dataclasses.replace(config.data, sequence_length=8192)
    long = flops_of(dataclasses.replace(config, data=data), 1e9, 1e10, None)
    assert long.attention == pytest.approx(4 * short.attention)
    assert long.exact - long.attention == pytest.approx(short.exact - short.attention)
