"""Components against a plain search."""

import random

import numpy as np
import pytest

from data_pipeline.dedup import components as module
from data_pipeline.dedup.components import components, join


def searched(num, left, right):
    """The smallest node of each component, by breadth-first search."""
    neighbours = {i: set() for i in range(num)}
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        neighbours[a].add(b)
        neighbours[b].add(a)
    found = [num] * num
    for start in range(num):
        seen, todo = {start}, [start]
        while todo:
            new = neighbours[todo.pop()] - seen
            seen |= new
            todo += new
        for node in seen:
            found[node] = min(found[node], start)
    return found


@pytest.mark.parametrize("num_edges", [0, 60, 150, 250])
def test_components_equal_a_plain_search(num_edges):
    rng = random.Random(num_edges)
    edges = np.array([rng.sample(range(200), 2) for _ in range(num_edges)], int).reshape(-1, 2)
    left, right = edges.T
    assert components(200, left, right).tolist() == searched(200, left, right)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_edges_that_come_in_pieces_join_the_same(at_once, monkeypatch):
    monkeypatch.setattr(module, "EDGES_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 200, (2, 130))
    labels = np.arange(200, dtype=np.uint32)
    join(labels, left[:50], right[:50])
    join(labels, left[50:], right[50:])
    assert labels.tolist() == searched(200, left, right)


def test_a_long_path_and_a_star_are_one_component():
    order = np.random.default_rng(0).permutation(10_000)
    assert not components(10_000, order[:-1], order[1:]).any()
    assert not components(10_000, np.full(9_999, 9_999), np.arange(9_999)).any()
