"""A part moves a block to ours and back, element by element as its line says."""

import numpy as np
import pytest

from nanojaxlm.interop.family import Part, Tensor, block_shape, to_ours, to_theirs


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_torch_linear_of_heads_becomes_our_kernel():
    theirs = numbers(3 * 4, 5)  # [N*H, D]
    ours = to_ours(Part("q/kernel", (3, 4, 5), (2, 0, 1)), theirs)
    assert ours.shape == (5, 3, 4)
    for n, h, d in np.ndindex(3, 4, 5):
        assert ours[d, n, h] == theirs[n * 4 + h, d]


def test_moving_is_a_view():
    theirs = numbers(12, 5)
    part = Part("q/kernel", (3, 4, 5), (2, 0, 1))
    assert np.shares_memory(to_ours(part, theirs), theirs)
    assert np.shares_memory(to_theirs(part, to_ours(part, theirs), (12, 5)), theirs)


@pytest.mark.parametrize(
    "part",
    [
        Part("a", (12, 6), (0, 1)),
        Part("a", (3, 4, 6), (2, 0, 1)),
        Part("a", (2, 3, 12), (1, 2, 0)),
        Part("a", (4, 6), (1, 0), rows=slice(4, 8)),
        Part("a", (12, 2), (1, 0), columns=slice(2, 4)),
        Part("a", (2, 2, 3), (2, 1, 0), rows=slice(8, 12), columns=slice(0, 3)),
    ],
)
def test_there_and_back_is_the_same_block(part: Part):
    tensor = Tensor("a", (12, 6), (part,))
    theirs = numbers(12, 6)
    block = theirs[part.index]
    ours = to_ours(part, block)
    assert ours.shape == part.shape
    assert block_shape(tensor, part) == block.shape
    np.testing.assert_array_equal(to_theirs(part, ours, block.shape), block)
    ours_again = to_ours(part, to_theirs(part, ours, block.shape))
    np.testing.assert_array_equal(ours_again, ours)


def test_a_block_of_another_size_is_refused():
    part = Part("decoder/q", (3, 4), (1, 0), rows=slice(0, 4))
    with pytest.raises(ValueError, match=r"w: a block of shape \(4, 5\).*decoder/q"):
        block_shape(Tensor("w", (8, 5), (part,)), part)
    with pytest.raises(ValueError, match=r"decoder/q has shape \(3, 4\)"):
        to_theirs(part, numbers(3, 4), (4, 3))
