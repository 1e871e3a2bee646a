"""Weights are written as the folder's tables say: split, typed, indexed."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from nanojaxlm.errors import UserError
from nanojaxlm.interop.family import Part, Tensor
from nanojaxlm.interop.weights import split, theirs, write_weights


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, (Part(name, shape, tuple(range(len(shape)))),))


def test_shards_keep_the_order_and_the_bound():
    tensors = [tensor("a", 10), tensor("b", 10), tensor("c", 25), tensor("d", 1), tensor("e", 9)]
    dtypes = dict.fromkeys("abcde", "float32") | {"b": "bfloat16"}
    shards = split(tensors, dtypes, max_shard_bytes=60)
    assert [[t.name for t in shard] for shard in shards] == [["a", "b"], ["c"], ["d", "e"]]
    (whole,) = split(tensors, dtypes, max_shard_bytes=1000)
    assert whole == tensors


def test_a_tensor_of_several_parts_is_put_together_block_by_block():
    whole = Tensor(
        "qkv",
        (4, 6),
        (
            Part("q", (4, 3), (1, 0), columns=slice(0, 3)),
            Part("k", (2, 3), (0, 1), rows=slice(0, 2), columns=slice(3, 6)),
            Part("v", (2, 3), (0, 1), rows=slice(2, 4), columns=slice(3, 6), expert=1),
        ),
    )
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(s, np.float32) for s in ((3, 4), (2, 3), (2, 2, 3)))
    value = theirs(whole, {"q": q, "k": k, "v": v}, "float32")
    np.testing.assert_array_equal(value[:, :3], q.T)
    np.testing.assert_array_equal(value[:2, 3:], k)
    np.testing.assert_array_equal(value[2:, 3:], v[1])
    assert value.flags.c_contiguous


def test_arrays_are_asked_for_a_shard_at_a_time(tmp_path):
    tensors = [tensor(name, 100) for name in "abcd"]
    asked: list[list[str]] = []

    def arrays(paths):
        asked.append(list(paths))
        return {path: np.full(100, ord(path), np.float32) for path in paths}

    write_weights(tmp_path, tensors, arrays, dict.fromkeys("abcd", "float32"), 800)
    assert asked == [["a", "b"], ["c", "d"]]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_parameters": 400, "total_size": 1600}
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(
            load_file(tmp_path / file)[name], np.full(100, ord(name), np.float32)
        )


def test_one_file_needs_no_index(tmp_path):
    write_weights(
        tmp_path, [tensor("a", 3)], lambda _: {"a": np.ones(3, np.float32)}, {"a": "float16"}
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert load_file(tmp_path / "model.safetensors")["a"].dtype == np.float16


def test_a_number_too_large_for_its_type_is_refused_by_name():
    ours = {"a": np.array([1, 70_000], np.float32)}
    with pytest.raises(UserError, match=r"tensor a .*too large for float16.*bfloat16"):
        theirs(tensor("a", 2), ours, "float16")
    assert np.isfinite(theirs(tensor("a", 2), ours, "bfloat16").astype(np.float32)).all()
    endless = {"a": np.array([1, np.inf], np.float32)}  # no fault of the type's
    assert np.isinf(theirs(tensor("a", 2), endless, "float16")[1])
