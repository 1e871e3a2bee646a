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


def test_accumulation_halves_what_is_kept_and_adds_a_sum_of_gradients():
    once, twice = of(example(FSDP)), of(example(FSDP, accumulation=2))
    assert twice.kept == pytest.approx(once.kept / 2)
    assert twice.gradients == once.gradients
    assert once.summed == 0 and twice.summed == twice.parameters


def test_parts_are_those_of_the_fullest_moment():
    memory = of(example(FSDP))
    assert sum(memory.parts.values()) == memory.peak
    assert {"kept", "layer", "gathered", "gradients"} < memory.parts.keys()
    at_loss = memory._replace(head=10 * memory.layer)
    assert "head" in at_loss.parts and "layer" not in at_loss.parts
    update = memory._replace(fetched=1e12)
    assert "fetched" in update.parts and "kept" not in update.parts
    assert min(at_loss.peak, update.peak) > memory.peak


def test_a_tpu_holds_narrow_heads_as_wide_ones():
    """A head of 64 fills half of the lanes; one of 128 all of them."""

    def kept(head_dim: int, tiled: bool) -> float:
        config = with_remat(example(FSDP), "attention")
        decoder = config.model.decoder
        assert decoder is not None
        attention = dataclasses.replace(decoder.attention, head_dim=head_dim)
        decoder = dataclasses.replace(decoder, attention=attention)
        model = dataclasses.replace(config.model, decoder=decoder)
        config = dataclasses.replace(config, model=model)
        return estimate(config, Layout.of(FSDP, 8, tiled=tiled), Inventory.of(config)).kept

    assert kept(64, tiled=True) == kept(128, tiled=True)
    assert kept(64, tiled=False) < kept(128, tiled=False) == kept(128, tiled=True)


def test_a_tpu_holds_the_heads_gradient_whole():
    """But not that of a tied one summed over micro-batches, which is with the look-up's."""
    halves = Layout.of(MeshConfig(data=4, fsdp=2), 8, tiled=True)  # of 256: registers are full
    config = example(FSDP)
    head = 4 * config.model.d_model * 4096
    memory = estimate(config, halves, Inventory.of(config))
    layers = memory.parameters - 2 * head / 2
    assert memory.gradients == layers + head
    tied = dataclasses.replace(config.model, tie_embeddings=True)
    training = dataclasses.replace(config.training, accumulation=2)
    config = dataclasses.replace(config, model=tied, training=training)
    memory = estimate(config, halves, Inventory.of(config))
    assert memory.summed == memory.parameters


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


@pytest.mark.parametrize("tiled", [True, False])
def test_more_devices_never_need_more_of_one(tiled: bool):
    """From two on: one alone gathers nothing, which a TPU's compiler turns to account."""
    config = example(FSDP, rows=64)
    inventory = Inventory.of(config)
    peaks = [
        estimate(config, Layout.of(MeshConfig(data=1, fsdp=n), n, tiled), inventory).peak
        for n in (2, 4, 8, 16, 32, 64)
    ]
    assert peaks == sorted(peaks, reverse=True)


def test_shorter_rows_need_less():
    peaks = [of(example(FSDP, length=length)).peak for length in (64, 128, 256, 512)]
    assert peaks == sorted(peaks)


def test_a_larger_batch_fits_until_it_does_not():
    peaks = [of(with_batch(example(FSDP), 8 * 2**i)).peak for i in range(6)]
    assert peaks == sorted(peaks) and math.isfinite(peaks[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoder, fsdp=8", "decoder, fsdp=8, int8 moments"])
def test_the_formula_comes_near_what_xla_compiles(name: str):
    found = figures(cases()[name])
    assert found["formula"] == pytest.approx(found["compiled"], rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixture, fsdp=8", "mixture, fsdp=2 expert=4, capacity"])
def test_the_formula_knows_what_a_mixture_holds(name: str):
    found = figures(cases()[name])
    assert found["formula"] == pytest.approx(found["compiled"], rel=0.15)
