"""A folder's numbers on a mesh: each where it belongs, and never the model twice."""

import jax
import ml_dtypes
import numpy as np
import pytest

from nanojaxlm.checkpoint import to_disk
from nanojaxlm.interop.arrays import (
    ALIGNMENT,
    aligned,
    check_places,
    leaves_by_path,
    places_of,
    read_on_disk_layout,
    read_params,
    rounded,
)
from nanojaxlm.interop.family import Part, Tensor
from nanojaxlm.interop.folder import Folder
from nanojaxlm.model.config import FeedForwardConfig, LocalConfig, MixtureConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import abstract_params, parameter_boxes

MIXTURE = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=12))
MODELS = {
    "scanned": {},
    "unrolled": {"scan": False},
    "local layers of a period": {
        "num_layers": 5, "local": LocalConfig(window=4, global_every=2, global_first=True),
    },
    "experts": {"feed_forward": MIXTURE},
    "a dense layer first": {
        "num_layers": 3, "feed_forward": MIXTURE, "num_dense": 1,
        "dense": FeedForwardConfig(hidden=20),
    },
}  # fmt: skip


def abstract_of(config, mesh):
    return abstract_params(parameter_boxes(Transformer(config)), mesh)


def assert_equal(tree, expected: dict[str, np.ndarray], mesh) -> None:
    found = leaves_by_path(tree)
    assert found.keys() == expected.keys()
    for path, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(np.asarray(array), expected[path], err_msg=path)
        assert array.sharding.mesh.shape == mesh.shape


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("on", ["one_device", "eight_devices"])
def test_every_number_comes_to_its_place(
    model, on, tiny_config, plain, make_folder, expected, request
):
    config, mesh = tiny_config(vocab_size=52, **MODELS[model]), request.getfixturevalue(on)
    path, values = make_folder(config, plain, shards=3)
    folder = Folder(path)
    places = places_of(folder.check(plain, config))
    abstract = abstract_of(config, mesh)
    check_places(places, to_disk(abstract))
    wanted = expected(config, values)
    assert_equal(read_on_disk_layout(folder, places, to_disk(abstract)), wanted, mesh)
    params = read_params(folder, places, abstract)
    for leaf, like in zip(jax.tree.leaves(params), jax.tree.leaves(abstract), strict=True):
        assert leaf.shape == like.shape
        assert leaf.sharding.is_equivalent_to(like.sharding, leaf.ndim)
    assert_equal(to_disk(params), wanted, mesh)


def test_on_eight_devices_no_large_array_is_whole_on_one(
    tiny_config, plain, make_folder, eight_devices
):
    config = tiny_config(vocab_size=52, feed_forward=MIXTURE)
    path, _ = make_folder(config, plain)
    folder = Folder(path)
    params = read_params(
        folder, places_of(folder.check(plain, config)), abstract_of(config, eight_devices)
    )
    for name, leaf in leaves_by_path(params).items():
        if leaf.ndim >= 2 and "router" not in name and "norm" not in name:
            assert leaf.addressable_shards[0].data.size <= leaf.size // 2, name


def test_devices_that_hold_the_same_shard_do_not_share_its_fate(
    tiny_config, plain, make_folder, eight_devices
):
    """A step gives its old parameters' memory away; the copies on other devices must not move."""
    config = tiny_config(vocab_size=52)
    path, values = make_folder(config, plain)
    folder = Folder(path)
    abstract = abstract_of(config, eight_devices)
    params = read_params(folder, places_of(folder.check(plain, config)), abstract)
    name = "model.decoder.final_norm.scale"
    scale = params["decoder"]["final_norm"]["scale"]
    replicas = [shard.data for shard in scale.addressable_shards]
    double = jax.jit(lambda x: x * 2.0, donate_argnums=0)
    doubled = double(replicas[0])
    np.testing.assert_array_equal(np.asarray(doubled), 2 * values[name])
    for replica in replicas[1:]:
        np.testing.assert_array_equal(np.asarray(replica), values[name])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_types_are_read_exactly(
    dtype, tiny_config, plain, make_folder, expected, one_device
):
    config = tiny_config()
    path, values = make_folder(config, plain, dtype=dtype)
    folder = Folder(path)
    tree = read_on_disk_layout(
        folder,
        places_of(folder.check(plain, config)),
        to_disk(abstract_of(config, one_device)),
    )
    assert_equal(tree, expected(config, values), one_device)


def test_rounding_gives_what_the_tensors_hold(tiny_config, plain, make_folder, one_device):
    config = tiny_config(feed_forward=MIXTURE)
    tensors = plain.tensors(config)
    narrow = "model.decoder.layer_1.feed_forward.experts.up.kernel.2"
    dtypes = {t.name: "bfloat16" if t.name == narrow else "float32" for t in tensors}
    path, values = make_folder(config, plain)
    places, abstract = places_of(tensors), abstract_of(config, one_device)
    params = read_params(Folder(path), places, abstract)
    got = leaves_by_path(to_disk(rounded(params, places, dtypes)))
    before = leaves_by_path(to_disk(params))
    name = "decoder/layer_1/feed_forward/experts/up/kernel"
    wanted = np.array(before[name])
    wanted[2] = values[narrow].T.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert not np.array_equal(wanted, before[name])
    for path_, array in before.items():
        expected = wanted if path_ == name else array
        np.testing.assert_array_equal(np.asarray(got[path_]), np.asarray(expected))


def test_a_table_that_lags_behind_the_model_is_found(tiny_config, plain, one_device):
    config = tiny_config()
    abstract = to_disk(abstract_of(config, one_device))
    tensors = plain.tensors(config)
    with pytest.raises(ValueError, match=r"without a tensor \['embed/embedding'\]"):
        check_places(places_of([t for t in tensors if t.name != "model.embed.embedding"]), abstract)
    more = Tensor("model.more", (3,), (Part("decoder/more", (3,), (0,)),))
    with pytest.raises(ValueError, match=r"without an array \['decoder/more'\]"):
        check_places(places_of([*tensors, more]), abstract)
    twice = Tensor("again", (50, 16), (Part("embed/embedding", (50, 16), (0, 1)),))
    with pytest.raises(ValueError, match="embed/embedding of shape"):
        check_places(places_of([*tensors, twice]), abstract)


@pytest.mark.parametrize("shape", [(), (3,), (5, 7, 2)])
def test_memory_is_aligned_so_that_the_cpu_takes_it_without_a_copy(shape):
    array = aligned(shape, np.float32)
    assert (array.shape, array.dtype) == (shape, np.float32)
    assert array.size == 0 or array.ctypes.data % ALIGNMENT == 0
    array[...] = 3
    assert (array == 3).all()
    large = aligned((1000, 100), np.float32)
    large[...] = 1
    taken = jax.device_put(large, jax.devices()[0])
    assert taken.unsafe_buffer_pointer() == large.ctypes.data
