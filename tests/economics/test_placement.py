"""The least chips that a model fits, by formula; the compiler's own figure for small ones."""

import dataclasses
import importlib.util
import math

import pytest

from nanojaxlm.accelerators import CHIPS
from nanojaxlm.config import Config
from nanojaxlm.economics.placement import place, smallest_mesh
from nanojaxlm.economics.shape import typical_config
from nanojaxlm.errors import UserError
from nanojaxlm.planning.compilation import compile_step
from nanojaxlm.planning.options import xla_options
from nanojaxlm.planning.search import MARGIN, with_batch
from nanojaxlm.planning.topology import Topology, has_cuda

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: the extra tpu"
)
needs_cuda = pytest.mark.skipif(
    not has_cuda(), reason="JAX's plugin for CUDA is not installed: the extra gpu"
)


@pytest.fixture(scope="module")
def billion() -> Config:
    return typical_config(1e9)


@pytest.fixture(scope="module")
def seven() -> Config:
    return typical_config(6.74e9)


@pytest.mark.parametrize("chip", ["v5e", "v5p", "v6e", "h100", "a100-80gb"])
def test_fewer_chips_than_the_smallest_do_not_fit(seven: Config, chip: str):
    smallest = smallest_mesh(seven, CHIPS[chip])
    assert smallest.fits and smallest.peak_bytes <= MARGIN * smallest.usable_bytes
    for chips in (smallest.chips // 2, smallest.chips // 4):
        if chips >= (4 if chip == "v5p" else 1):
            assert not place(seven, CHIPS[chip], chips).fits
    again = place(seven, CHIPS[chip], smallest.chips)
    assert again == smallest


def test_parts_are_the_peak_and_the_state_is_what_it_is(seven: Config):
    found = smallest_mesh(seven, CHIPS["v5e"])
    assert sum(found.parts.values()) == pytest.approx(found.peak_bytes)
    assert all(size >= 0 for size in found.parts.values())
    # float32 weights and two moments of each
    assert found.parts["parameters"] * found.chips == pytest.approx(4 * 6.74e9, rel=0.01)
    assert found.parts["optimizer"] * found.chips == pytest.approx(8 * 6.74e9, rel=0.01)


def test_the_mesh_has_all_chips_and_the_batch_is_kept(seven: Config):
    for chip in ("v5e", "h100"):
        found = smallest_mesh(seven, CHIPS[chip])
        assert math.prod(found.mesh.over(found.chips).values()) == found.chips
        assert found.config.mesh == found.mesh
        assert found.config.data == seven.data
        assert found.config.training.accumulation * found.chips * found.rows_a_chip == 512


def test_more_chips_need_no_more_micro_batches(billion: Config):
    numbers = [place(billion, CHIPS["v5e"], n).config.training.accumulation for n in (4, 8, 16, 32)]
    assert numbers == sorted(numbers, reverse=True)


def test_larger_models_need_no_fewer_chips():
    chips = [smallest_mesh(typical_config(n), CHIPS["v6e"]).chips for n in (1e8, 1e9, 7e9, 3e10)]
    assert chips == sorted(chips) and chips[0] == 1 and chips[-1] >= 32


def test_longer_rows_need_no_fewer_chips():
    chips = [
        smallest_mesh(typical_config(3e9, n), CHIPS["v5e"]).chips for n in (1024, 8192, 65_536)
    ]
    assert chips == sorted(chips)


def test_a_mixture_needs_memory_for_all_of_it():
    mixture = smallest_mesh(typical_config(46.7e9, active_params=12.9e9), CHIPS["v5p"])
    dense = smallest_mesh(typical_config(12.9e9), CHIPS["v5p"])
    assert mixture.fits and mixture.chips > dense.chips
    state = mixture.parts["parameters"] + mixture.parts["optimizer"]
    assert state * mixture.chips == pytest.approx(12 * 46.7e9, rel=0.05)


def test_less_is_kept_where_that_alone_fits(seven: Config):
    """A config that keeps everything is rematerialised before it is said not to fit."""
    decoder = seven.model.decoder
    assert decoder is not None
    model = dataclasses.replace(seven.model, decoder=dataclasses.replace(decoder, remat="none"))
    config = dataclasses.replace(seven, model=model)
    found = smallest_mesh(config, CHIPS["v5e"])
    assert found.fits and found.config.model.last.remat in ("none", "full")
    assert found.chips <= 2 * smallest_mesh(seven, CHIPS["v5e"]).chips


def test_slices_are_of_sizes_that_there_are(billion: Config):
    assert smallest_mesh(typical_config(1e7), CHIPS["v5p"]).chips == 4
    assert smallest_mesh(billion, CHIPS["v5e"]).chips == 4
    with pytest.raises(UserError, match="v5p comes in 4 or more"):
        smallest_mesh(billion, CHIPS["v5p"], max_chips=2)


def test_pods_beyond_one_are_slices():
    """A v5e pod has 256 chips: of 512 half of the mesh is a copy, or a stage."""
    mesh = place(typical_config(1e9), CHIPS["v5e"], 512).mesh
    assert mesh.replica * mesh.stage == 2


def test_what_fits_nowhere_says_so():
    found = smallest_mesh(typical_config(1e12), CHIPS["v5e"], max_chips=64)
    assert not found.fits and found.chips == 64


def test_an_odd_number_of_chips_or_rows_has_a_mesh_too(billion: Config):
    found = place(billion, CHIPS["h100"], 24)
    assert math.prod(found.mesh.over(24).values()) == 24
    assert found.config.data.batch_size % 3 == 0 and found.config.data.batch_size < 300
    odd = place(with_batch(billion, 7), CHIPS["h100"], 7)
    assert odd.config.data.batch_size == 7 and math.prod(odd.mesh.over(7).values()) == 7
    with pytest.raises(UserError, match="1 or more"):
        place(billion, CHIPS["h100"], 0)


def test_a_config_that_accumulates_is_placed_anew(billion: Config):
    training = dataclasses.replace(billion.training, accumulation=256)
    config = dataclasses.replace(billion, training=training)
    assert place(config, CHIPS["v5e"], 7) == place(billion, CHIPS["v5e"], 7)


def test_more_chips_than_rows_share_rows_or_get_more(billion: Config):
    shared = place(billion, CHIPS["v5p"], 1024)
    assert shared.config.data == billion.data and shared.mesh.tensor >= 4
    more = place(billion, CHIPS["v5p"], 65_536)
    assert more.config.data.batch_size >= 65_536 // 16


def test_tensor_parallelism_of_gpus_stays_within_a_host():
    assert place(typical_config(1e9), CHIPS["h100"], 2048).mesh.tensor <= 8


@pytest.mark.slow
def test_the_largest_models_have_a_place():
    for chip in ("v5p", "v5e", "h100"):
        assert smallest_mesh(typical_config(4.05e11), CHIPS[chip]).fits


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize(("chip", "params"), [("v5e", 1e7), ("v5p", 1e7), ("v5e", 1e8)])
def test_a_tpu_s_compiler_says_the_same_within_a_tenth(chip: str, params: float):
    """Of more and larger models planning/BENCHMARKS.md has both figures."""
    assert_compiled_alike(chip, params)


@pytest.mark.slow
@needs_cuda
@pytest.mark.parametrize(
    ("chip", "params"), [("a100-80gb", 3e9), ("h100", 1e9), ("b200", 1e9), ("h100", 6.74e9)]
)
def test_a_gpu_s_compiler_says_the_same_within_a_tenth(chip: str, params: float):
    assert_compiled_alike(chip, params)


def assert_compiled_alike(chip: str, params: float) -> None:
    found = smallest_mesh(typical_config(params), CHIPS[chip])
    topology = Topology.of(chip, found.chips)
    step = compile_step(found.config, topology, xla_options(topology))
    assert step.memory is not None, step.shortage
    assert found.peak_bytes == pytest.approx(step.memory.peak, rel=0.1)
