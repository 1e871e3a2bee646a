"""The fingerprint tells batches apart, and does not see how one lies on the devices."""

import re

import jax
import numpy as np
import pytest

from nanojaxlm.batch import Batch, Stream, Targets, fingerprint, fingerprint_hex
from nanojaxlm.sharding import MeshConfig, batch_sharding, make_mesh

hashed = jax.jit(fingerprint)


@pytest.fixture
def batch() -> Batch:
    """Of all that a batch can hold; the encoder's rows are longer."""
    rng = np.random.default_rng(0)

    def integers(count: int, length: int = 16) -> np.ndarray:
        return rng.integers(0, 1000, (count, 8, length)).astype(np.int32)

    def targets() -> Targets:
        return Targets(integers(1)[0], rng.random((8, 16)).astype(np.float32))

    return Batch(targets(), Stream(*integers(4)), Stream(*integers(3, 20)), (targets(),))


def of(batch: Batch) -> tuple[int, int]:
    first, second = np.asarray(hashed(batch)).tolist()
    return first, second


def rebuilt(batch: Batch, leaves: list[np.ndarray]) -> Batch:
    return jax.tree.unflatten(jax.tree.structure(batch), leaves)


@pytest.mark.parametrize("array", range(11))
def test_any_one_element_changes_both_halves(batch: Batch, array: int):
    before = of(batch)
    rng = np.random.default_rng(array)
    for _ in range(20):
        leaves = [leaf.copy() for leaf in jax.tree.leaves(batch)]
        row, column = rng.integers(0, 8), rng.integers(0, 16)
        leaves[array][row, column] += 1
        after = of(rebuilt(batch, leaves))
        assert before[0] != after[0] and before[1] != after[1]


def test_the_same_values_elsewhere_are_another_batch(batch: Batch):
    """A sum alone would not see a swap: of rows, of columns, of two elements, of two arrays."""
    leaves = jax.tree.leaves(batch)
    tokens = batch.targets.tokens_BT
    swapped_elements = tokens.copy()
    swapped_elements[0, 0], swapped_elements[3, 5] = tokens[3, 5], tokens[0, 0]
    others = [
        rebuilt(batch, [leaf[::-1] for leaf in leaves]),
        rebuilt(batch, [leaf[:, ::-1] for leaf in leaves]),
        rebuilt(batch, [leaf[:, [1, 0, *range(2, leaf.shape[1])]] for leaf in leaves]),
        rebuilt(batch, [swapped_elements, *leaves[1:]]),
        rebuilt(batch, [leaves[2], leaves[1], leaves[0], *leaves[3:]]),
        batch._replace(decoder=batch.encoder, encoder=batch.decoder),
    ]
    assert len({of(batch), *map(of, others)}) == 1 + len(others)


def test_the_layout_on_devices_does_not_matter(batch: Batch):
    shapes = [MeshConfig(data=8), MeshConfig(data=2, fsdp=4), MeshConfig(data=1, tensor=8)]
    on_meshes = [jax.device_put(batch, batch_sharding(make_mesh(shape))) for shape in shapes]
    assert {of(placed) for placed in on_meshes} == {of(batch)}


def test_the_hash_is_the_one_of_its_description():
    """Whoever changes the mix makes old and new metrics files incomparable."""
    grid = np.arange(6, dtype=np.int32).reshape(2, 3)
    arrays = [grid, grid.astype(np.float32) / 2, grid, grid, grid]
    batch = Batch(Targets(*arrays[:2]), Stream(*arrays[2:]))
    text = fingerprint_hex(fingerprint(batch))
    assert re.fullmatch("[0-9a-f]{16}", text)
    assert text == numpy_hash(arrays)


def numpy_hash(arrays: list[np.ndarray]) -> str:
    """The same, one element at a time in Python's integers."""
    word = 0xFFFFFFFF

    def mix(h: int) -> int:
        h = ((h ^ (h >> 16)) * 0x85EBCA6B) & word
        h = ((h ^ (h >> 13)) * 0xC2B2AE35) & word
        return h ^ (h >> 16)

    halves = []
    for seed in (0x9E3779B9, 0x85EBCA6B):
        total = 0
        for i, array in enumerate(arrays):
            for (row, column), value in np.ndenumerate(array.view(np.uint32)):
                mixed = mix(int(value) ^ (seed * (i + 1) & word))
                total += mix((mixed + row * 0xC2B2AE35 + column * 0x27D4EB2F) & word)
        halves.append(f"{total & word:08x}")
    return "".join(halves)
