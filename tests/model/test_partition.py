"""How a stack is cut for the scan: the same layers in the same order, in the fewest bodies."""

import itertools

import pytest

from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    LocalConfig,
    MixtureConfig,
    StackConfig,
)
from nanojaxlm.model.partition import Partition, partition

ATTENTION = AttentionConfig(num_heads=2, num_kv_heads=2, head_dim=8)
FEED_FORWARD = FeedForwardConfig(hidden=8)
MIXTURE = MixtureConfig(num_experts=4, top_k=2, expert=FEED_FORWARD)


def stack(num_layers: int, **fields) -> StackConfig:
    defaults = {"attention": ATTENTION, "feed_forward": FEED_FORWARD}
    return StackConfig(num_layers=num_layers, **defaults | fields)


def gemma(num_layers: int, every: int, **fields) -> StackConfig:
    return stack(num_layers, local=LocalConfig(window=4, global_every=every), **fields)


def deepseek(num_layers: int, num_dense: int) -> StackConfig:
    dense = FeedForwardConfig(hidden=16)
    return stack(num_layers, feed_forward=MIXTURE, num_dense=num_dense, dense=dense)


def modernbert(num_layers: int) -> StackConfig:
    local = LocalConfig(window=4, global_every=3, global_first=True)
    return stack(num_layers, local=local, first_attention_norm=False)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (stack(12), Partition(0, 1, 12, 0)),
        (stack(1), Partition(1, 0, 0, 0)),  # nothing to loop over
        (stack(12, scan=False), Partition(12, 0, 0, 0)),
        (gemma(26, 2), Partition(0, 2, 13, 0)),
        (gemma(26, 6), Partition(0, 6, 4, 2)),
        (deepseek(62, 1), Partition(1, 1, 61, 0)),
        (modernbert(22), Partition(1, 3, 7, 0)),
    ],
)
def test_a_known_pattern_is_cut_into_its_period(config: StackConfig, expected: Partition):
    assert partition(config) == expected


@pytest.mark.parametrize("num_layers", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("every", [1, 2, 3, 6])
def test_the_parts_are_all_layers_in_order_and_no_cut_has_fewer_bodies(num_layers, every):
    for config in (
        gemma(num_layers, every),
        gemma(num_layers, every, first_attention_norm=False),
        gemma(num_layers, every, num_dense=1, dense=FeedForwardConfig(hidden=16)),
    ):
        layers = [config.layer(i) for i in range(num_layers)]

        def rebuilt(cut: Partition, layers=layers) -> list:
            """The layers that run, where each repeat is the first one's."""
            period = layers[cut.num_first : cut.num_first + cut.period]
            rest = layers[len(layers) - cut.num_rest :]
            return layers[: cut.num_first] + period * cut.repeats + rest

        found = partition(config)
        assert rebuilt(found) == layers
        bodies = found.num_first + found.period + found.num_rest
        for first, period in itertools.product(range(num_layers), range(1, num_layers + 1)):
            for repeats in range(1, (num_layers - first) // period + 1):
                rest = num_layers - first - period * repeats
                if rebuilt(Partition(first, period, repeats, rest)) == layers:
                    assert bodies <= first + period + rest
