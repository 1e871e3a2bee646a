"""One result for every way to compute a stack: scanned or unrolled, made again or kept."""

import jax
import numpy as np
import pytest

from nanojaxlm.checkpoint import from_disk, to_disk
from nanojaxlm.model.config import (
    FeedForwardConfig,
    LayerNormConfig,
    LocalConfig,
    MixtureConfig,
    RelativeBiasConfig,
    Rope,
)
from nanojaxlm.model.partition import Partition, partition
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_params, parameter_boxes

pytestmark = pytest.mark.usefixtures("quick_compile")
VOCAB = 50
MIXTURE = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=6))

# What differs from layer to layer -> how the stack is cut.
PATTERNS = {
    "local_global_and_a_rest": (
        {"num_layers": 5, "local": LocalConfig(window=3, global_every=2, rope=Rope(theta=50.0))},
        Partition(0, 2, 2, 1),
    ),
    "first_without_norm": (
        {
            "kind": "encoder", "num_layers": 3, "first_attention_norm": False,
            "norm": LayerNormConfig(bias=False),
        },
        Partition(1, 1, 2, 0),
    ),
    "first_dense_then_mixtures": (
        {
            "num_layers": 3, "num_dense": 1, "dense": FeedForwardConfig(hidden=12),
            "feed_forward": MIXTURE,
        },
        Partition(1, 1, 2, 0),
    ),
    "both_stacks": (
        {
            "kind": "encoder_decoder", "rope": None, "relative_bias": RelativeBiasConfig(),
            "kv_shift": True,
        },
        Partition(0, 1, 2, 0),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_scanned_equals_unrolled(
    tiny_config, build, loss_and_gradient, assert_trees_close, packed_batch, one_device, pattern
):
    """The parameters and the gradient go through the form on disk, the same for both."""
    overrides, parts = PATTERNS[pattern]
    scanned = build(tiny_config(**overrides))
    assert partition(scanned.model.config.last) == parts
    model = Transformer(tiny_config(**overrides, scan=False))
    on_disk = to_disk(scanned.params)
    params = from_disk(on_disk, abstract_params(parameter_boxes(model), one_device))
    num_layers = scanned.model.config.last.num_layers
    for name in overrides.get("kind", "decoder").split("_"):
        found = {layer for layer in params[name] if layer.startswith("layer")}
        assert found == {f"layer_{i}" for i in range(num_layers)}
    batch = packed_batch(3, 8, VOCAB, kind=overrides.get("kind", "decoder"))
    (loss, sums), gradient = loss_and_gradient(model, params, batch)
    (wanted, wanted_sums), wanted_gradient = loss_and_gradient(scanned.model, scanned.params, batch)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    np.testing.assert_allclose(sums, wanted_sums, rtol=1e-5)
    assert_trees_close(gradient, to_disk(wanted_gradient), relative=2e-5)


def test_norms_stand_before_after_or_over_the_sum(tiny_config):
    """Llama has those before, OLMo 2 those after, Gemma both, BERT those over the sum."""
    variants = {
        ("_norm",): {},
        ("_post_norm",): {"pre_norm": False, "post_norm": True},
        ("_norm", "_post_norm"): {"post_norm": True},
        ("_sum_norm",): {"pre_norm": False, "sum_norm": True, "final_norm": False},
    }
    for kinds, overrides in variants.items():
        boxes = parameter_boxes(Transformer(tiny_config(kind="encoder_decoder", **overrides)))
        for stack, branches in (
            ("encoder", ("attention", "feed_forward")),
            ("decoder", ("attention", "cross", "feed_forward")),
        ):
            norms = {name for name in boxes[stack]["layers"]["layer_0"] if name.endswith("norm")}
            assert norms == {branch + kind for branch in branches for kind in kinds}
            assert ("final_norm" in boxes[stack]) == ("_sum_norm" not in kinds)


def test_a_mesh_axis_does_not_split_the_layers(tiny_config):
    """What is scanned over lies whole on each device."""
    boxes = parameter_boxes(Transformer(tiny_config(kind="encoder")))
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    for leaf in jax.tree.leaves(abstract_params(boxes, mesh)["encoder"]["layers"]):
        assert leaf.sharding.shard_shape(leaf.shape)[0] == 2
