"""Counts by formula hang together with the model's FLOPs; each kind of parallelism sends what it
must and nothing else."""

import dataclasses

import pytest

from nanojaxlm.config import Config
from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.planning.formulas import Counts, count
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.search import with_remat
from nanojaxlm.planning.validation import example
from nanojaxlm.sharding import MeshConfig

FSDP = MeshConfig(data=1, fsdp=8)


def of(config: Config, mesh: MeshConfig) -> Counts:
    return count(config, Layout.of(mesh, 8, tiled=False), Inventory.of(config))


def flops(counts: Counts) -> float:
    return sum(work.flops * work.count for work in counts.work)


def sent(config: Config, **mesh: int) -> set[tuple[str, tuple[str, ...]]]:
    found = of(config, MeshConfig(**{"data": 1, **mesh}))
    return {(one.kind, one.axes) for one in found.sent}


def test_products_are_those_of_the_models_own_count():
    """Without remat, up to attention, of which half is masked and a fourth part made again."""
    config = with_remat(example(FSDP), "none")
    counts = of(config, FSDP)
    assert flops(counts) == pytest.approx(counts.model_flops, rel=0.05)


@pytest.mark.parametrize(
    "mesh",
    [MeshConfig(data=8), MeshConfig(data=1, tensor=8), MeshConfig(data=2, fsdp=2, tensor=2)],
)
def test_every_mesh_shares_the_same_work(mesh: MeshConfig):
    config = example(FSDP)
    assert flops(of(config, mesh)) == pytest.approx(flops(of(config, FSDP)))


def test_remat_adds_forward_passes():
    by_policy = [
        flops(of(with_remat(example(FSDP), policy), FSDP))
        for policy in ("none", "qkv", "attention", "full")
    ]
    assert by_policy == sorted(by_policy)
    assert by_policy[-1] / by_policy[0] == pytest.approx(4 / 3, rel=0.1)


def test_idle_ticks_of_a_pipeline_cost_time():
    config = example(FSDP)
    piped, plain = of(config, MeshConfig(data=4, stage=2)), of(config, MeshConfig(data=8))
    assert 1.0 < flops(piped) / flops(plain) < 1.25


def test_each_axis_sends_its_own():
    dense = example(FSDP)
    mixture = MixtureConfig(num_experts=8, top_k=2, expert=FeedForwardConfig(hidden=64))
    experts = example(FSDP, feed_forward=mixture)
    assert {kind for kind, _ in sent(dense, data=8)} == {"all-reduce"}
    assert sent(dense, fsdp=8) == {
        ("all-gather", ("fsdp",)),
        ("reduce-scatter", ("fsdp",)),
        ("all-to-all", ("fsdp",)),  # rows of the embedding
    }
    assert sent(dense, tensor=8) == {("all-reduce", ("tensor",))}
    assert ("all-to-all", ("expert",)) in sent(experts, expert=8)
    assert ("all-gather", ("context",)) in sent(dense, context=8)
    assert ("collective-permute", ("stage",)) in sent(dense, stage=2, data=4)


def test_accumulation_changes_no_flops():
    config = example(FSDP)
    twice = dataclasses.replace(
        config, training=dataclasses.replace(config.training, accumulation=2)
    )
    assert flops(of(twice, FSDP)) == pytest.approx(flops(of(config, FSDP)))
