"""The memory formulas: what makes a part smaller does, and on a CPU they come near the compiler."""

import dataclasses
import math

import pytest

from nanojaxlm.config import Config
from nanojaxlm.model.remat import REMAT_POLICIES
from nanojaxlm.planning.inventory import Inventory, Layout
from nanojaxlm.planning.memory import Memory, estimate
from nanojaxlm.planning.search import with_batch, with_remat
from nanojaxlm.planning.validation import cases, example, figures
from nanojaxlm.sharding import MeshConfig

FSDP = MeshConfig(data=1, fsdp=8)


def of(config: Config, mesh: MeshConfig = FSDP) -> Memory:
    return estimate(config, Layout.of(mesh, 8, tiled=False), Inventory.of(config))


def test_what_is_kept_follows_the_table_of_policies():
    """Each policy keeps less than the one before it."""
    config = example(FSDP)
    order = ["none", "dots", "qkv", "attention", "full", "residual_offload"]
    kept = [of(with_remat(config, policy)).kept for policy in order]
    assert kept == sorted(kept, reverse=True) and len(set(kept)) == len(kept)
    for policy in REMAT_POLICIES:
        assert of(with_remat(config, policy)).peak > 0


def test_activations_follow_the_batch_and_the_state_does_not():
    small, large = of(example(FSDP, rows=32)), of(example(FSDP, rows=64))
    assert large.kept == pytest.approx(2 * small.kept)
    assert large.layer == pytest.approx(2 * small.layer)
    assert (large.parameters, large.optimizer) == (small.parameters, small.optimizer)


def test_fsdp_splits_the_state_and_data_copies_it():
    split, copied = of(example(FSDP)), of(example(FSDP), MeshConfig(data=8))
    assert split.parameters < copied.parameters / 7
    assert split.optimizer < copied.optimizer / 7
    assert copied.gathered == 0 < split.gathered
    assert split.kept == copied.kept


def test_accumulation_halves_what_is_kept_and_doubles_gradients():
    once, twice = of(example(FSDP)), of(example(FSDP, accumulation=2))
    assert twice.kept == pytest.approx(once.kept / 2)
    assert twice.gradients == 2 * once.gradients


def test_tensor_parallelism_splits_layers_and_sequence_what_lies_between():
    plain = of(example(FSDP), MeshConfig(data=8))
    tensor = of(example(FSDP), MeshConfig(data=1, fsdp=1, tensor=8))
    sequence = of(example(FSDP), MeshConfig(data=1, tensor=8, sequence=True))
    assert tensor.parameters < plain.parameters / 4
    assert tensor.head < plain.head * 8  # eight times the rows, an eighth of the vocabulary
    assert sequence.kept < tensor.kept / 7


def test_a_pipeline_keeps_its_own_layers_and_a_little_more():
    config = dataclasses.replace(example(FSDP), mesh=MeshConfig())
    alone = of(config, MeshConfig(data=8))
    piped = of(config, MeshConfig(data=4, stage=2))
    assert alone.kept < piped.kept < 4 * alone.kept  # twice the rows a device, half the layers
    assert piped.parameters < 0.8 * alone.parameters


def test_shorter_moments_take_less():
    sizes = [
        of(cases()[f"decoder, fsdp=8{kind}"]).optimizer
        for kind in ("", ", bfloat16 moments", ", int8 moments")
    ]
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < 0.4 * sizes[0]


def test_a_larger_batch_fits_until_it_does_not():
    peaks = [of(with_batch(example(FSDP), 8 * 2**i)).peak for i in range(6)]
    assert peaks == sorted(peaks) and math.isfinite(peaks[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoder, fsdp=8", "decoder, fsdp=8, int8 moments"])
def test_the_formula_comes_near_what_xla_compiles(name: str):
    found = figures(cases()[name])
    assert found["formula"] == pytest.approx(found["compiled"], rel=0.35)
