"""Which layers of a stack are the same, so that one compiled body serves them all."""

from functools import cache
from typing import NamedTuple

from nanojaxlm.model.config import StackConfig


class Partition(NamedTuple):
    """num_first layers one by one, then `repeats` times the same `period` layers, then num_rest one
    by one."""

    num_first: int
    period: int
    repeats: int
    num_rest: int


@cache
def partition(config: StackConfig) -> Partition:
    """The partition with the fewest bodies to compile; without config.scan, all one by one.

    Layers g l l g l l g (global every third): 0 first, period 3, 2 repeats, 1 rest.
    """
    n = config.num_layers
    best = Partition(n, 0, 0, 0)
    if not config.scan:
        return best
    layers = [config.layer(i) for i in range(n)]
    seen = list(dict.fromkeys(layers))
    kinds = [seen.index(layer) for layer in layers]
    for first in range(min(n, 8)):
        for period in range(1, min(n - first, 16) + 1):
            stop = first + period
            while stop < n and kinds[stop] == kinds[stop - period]:
                stop += 1
            repeats = (stop - first) // period
            rest = n - first - repeats * period
            if first + period + rest < best.num_first + best.period + best.num_rest:
                best = Partition(first, period, repeats, rest)
    return best
