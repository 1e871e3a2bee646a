"""Meshes and the strict table from logical to mesh axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from nanojaxlm.errors import UserError
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import (
    MESH_AXES,
    RULES,
    MeshConfig,
    Named,
    constrain,
    make_mesh,
    resolve,
    use_mesh,
)
from nanojaxlm.state import abstract_params, describe, parameter_boxes, path_name


def test_names_resolve_to_their_mesh_axes_in_order():
    names = ("embed", "heads", "head_dim")
    assert resolve(names) == PartitionSpec(("fsdp", "expert", "context"), "tensor", None)
    rows = ("replica", "data", "fsdp", "expert")
    assert resolve(("batch", "length")) == PartitionSpec(rows, "context")
    assert resolve((None, "mlp")) == PartitionSpec(None, "tensor")


def test_a_misspelt_name_is_refused_not_replicated():
    with pytest.raises(ValueError, match="no rule for logical axis 'embde'"):
        resolve(("embde", "heads"))


def test_two_axes_on_one_mesh_axis_are_refused():
    with pytest.raises(ValueError, match="heads and mlp both want 'tensor'"):
        resolve(("heads", "mlp"))
    with pytest.raises(ValueError, match="batch and embed both want 'fsdp'"):
        resolve(("batch", "embed"))


def test_constrain_checks_names_without_a_mesh_too():
    x = jnp.ones((2, 3), jnp.float32)
    assert constrain(x, "batch", "length") is x
    with pytest.raises(ValueError, match="no rule"):
        constrain(x, "batch", "lenght")


def test_constrain_lays_an_activation_out_under_a_mesh():
    with use_mesh(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
        x = jax.jit(lambda x: constrain(x, "batch", "length", "act_mlp"))(
            jnp.ones((8, 3, 4), jnp.float32)
        )
    assert x.sharding.shard_shape(x.shape) == (2, 3, 2)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (MeshConfig(), {"data": 8}),
        (MeshConfig(data=1, fsdp=-1, tensor=2), {"fsdp": 4, "tensor": 2}),
        (MeshConfig(data=2, fsdp=2, tensor=2), {"data": 2, "fsdp": 2, "tensor": 2}),
        (
            MeshConfig(stage=2, context=2, data=1, expert=-1),
            {"stage": 2, "expert": 2, "context": 2},
        ),
        (MeshConfig(replica=2, data=1, tensor=4), {"replica": 2, "tensor": 4}),
    ],
)
def test_minus_one_takes_the_devices_that_are_left(config: MeshConfig, shape):
    mesh = make_mesh(config)
    assert mesh.shape == dict.fromkeys(MESH_AXES, 1) | shape
    assert sorted(d.id for d in mesh.devices.flat) == sorted(d.id for d in jax.devices())


@pytest.mark.parametrize(
    "config",
    [MeshConfig(data=3), MeshConfig(tensor=3), MeshConfig(data=2, fsdp=2)],
)
def test_a_mesh_that_does_not_fit_names_the_devices(config: MeshConfig):
    with pytest.raises(UserError, match=r"does not fit 8 devices.*config\.mesh"):
        make_mesh(config)


@pytest.mark.parametrize("wrong", [{"data": 0}, {"fsdp": -2}, {"data": -1, "tensor": -1}])
def test_impossible_mesh_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be >= 1 or -1|only one"):
        MeshConfig(**wrong)


def test_the_scan_axis_shifts_what_a_box_says_and_leaves_again():
    box = Named(np.zeros((2, 3, 4)), ("heads", "head_dim", "embed"), (0, 1))
    stacked = box.add_axis(0, {"partition_name": "layers"})
    assert stacked.names == ("layers", "heads", "head_dim", "embed")
    assert stacked.fan_in_axes == (1, 2)
    back = stacked.remove_axis(0, {"partition_name": "layers"})
    assert (back.names, back.fan_in_axes) == (box.names, box.fan_in_axes)


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_has_a_rule_for_each_axis(tiny_config, scan: bool, tied: bool):
    model = Transformer(tiny_config(scan=scan, tie_embeddings=tied, qk_norm="head"))
    boxes = jax.tree.leaves(parameter_boxes(model), is_leaf=lambda x: isinstance(x, Named))
    assert len(boxes) == (11 if scan else 2 * 11) + (2 if tied else 3)
    for box in boxes:
        assert len(box.names) == len(box.value.shape)
        assert set(box.names) <= set(RULES)


def test_every_parameter_of_a_model_with_everything_can_be_laid_out(everything_config):
    """An axis without a name is not split: which those are is listed here."""
    boxes = parameter_boxes(Transformer(everything_config))
    abstract_params(boxes, make_mesh(MeshConfig(), jax.devices()[:1]))
    unnamed = {
        path_name(path).replace("encoder_embed", "embed")
        for path, box in jax.tree_util.tree_leaves_with_path(
            boxes, is_leaf=lambda x: isinstance(x, Named)
        )
        if None in box.names
    }
    assert {name.rsplit("/", 2)[-2] + "/" + name.rsplit("/", 1)[-1] for name in unnamed} == {
        "embed/positions", "embed/types", "relative_bias/table", "shared_gate/kernel",
        "transform/kernel", "transform/bias",
    }  # fmt: skip


def test_a_size_that_does_not_divide_names_the_parameter(tiny_config):
    boxes = parameter_boxes(Transformer(tiny_config()))  # 2 kv heads over 4 devices
    with pytest.raises(
        UserError, match=r"decoder/layers/layer_0/attention/\w/kernel .*does not split"
    ):
        abstract_params(boxes, make_mesh(MeshConfig(data=2, tensor=4)))


def test_describe_has_a_line_for_each_parameter(tiny_config):
    boxes = parameter_boxes(Transformer(tiny_config()))
    params = abstract_params(boxes, make_mesh(MeshConfig(data=2, fsdp=2, tensor=2)))
    lines = describe(params).splitlines()
    assert len(lines) == len(jax.tree.leaves(params))
    wanted = "decoder/layers/layer_0/attention/q/kernel  (2, 16, 4, 8)"
    assert any(wanted in line and "'tensor', None" in line for line in lines)
