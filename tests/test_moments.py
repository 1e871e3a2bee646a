"""Moments kept short: how far rounding takes them, where it may not, and that training survives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nanojaxlm.losses import LossConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.moments import (
    Blocks,
    block_axis,
    first_in_blocks,
    second_in_blocks,
    to_bfloat16_at_random,
    unpack,
)
from nanojaxlm.optimizer import AdamW, Muon, WarmupStableDecay
from nanojaxlm.sharding import MeshConfig, Named, batch_sharding, make_mesh, use_mesh
from nanojaxlm.state import abstract_state, init_state, parameter_boxes, path_name
from nanojaxlm.step import make_step

pytestmark = pytest.mark.usefixtures("quick_compile")
CONSTANT = WarmupStableDecay(warmup_steps=0, decay_rate=0.0)


def spread(shape: tuple[int, ...], octaves: float, seed: int = 0) -> np.ndarray:
    """Values >= 0 whose logarithms are even over so many octaves."""
    return np.exp2(-octaves * np.random.default_rng(seed).random(shape)).astype(np.float32)


def named(*names: str | None, shape: tuple[int, ...], fan_in: tuple[int, ...] = (0,)) -> Named:
    return Named(jax.ShapeDtypeStruct(shape, jnp.float32), names, fan_in)


# --- Eight bits


@pytest.mark.parametrize(("axis", "block"), [(0, 16), (1, 32), (2, 4)])
def test_a_first_moment_comes_back_within_its_step(axis, block):
    """Half a step of the cube root; the largest of each block exactly."""
    sign = np.sign(np.random.default_rng(1).standard_normal((32, 64, 8))).astype(np.float32)
    x = 3e-5 * spread((32, 64, 8), 20) * sign
    kept = first_in_blocks(jnp.asarray(x), axis, block)
    assert kept.codes.dtype == jnp.int8 and kept.codes.shape == x.shape
    assert kept.scales.shape == tuple(n // block if i == axis else n for i, n in enumerate(x.shape))
    back = np.asarray(unpack(kept))
    largest = np.repeat(np.asarray(kept.scales), block, axis)
    share = np.abs(x) / largest
    steps = 127 * np.cbrt(share.astype(np.float64))
    half_step = ((steps + 0.5) ** 3 - steps**3) / 127**3
    assert (np.abs(back - x) / largest <= 1.0001 * half_step).all()
    at_largest = share == 1
    np.testing.assert_allclose(back[at_largest], x[at_largest], rtol=1e-6)


@pytest.mark.parametrize(("axis", "block"), [(0, 16), (1, 32), (2, 4)])
def test_a_second_moment_comes_back_within_a_step_of_seven_percent(axis, block):
    x = 7e-9 * spread((32, 64, 8), 20)
    kept = second_in_blocks(jnp.asarray(x), axis, block, jax.random.key(0))
    assert kept.codes.dtype == jnp.uint8
    ratio = np.asarray(unpack(kept)) / x
    step = 2 ** (24 / 254)
    assert ratio.min() > 0.9999 / step and ratio.max() < 1.0001 * step
    assert abs(np.mean(ratio) - 1) < 2e-3, "rounding favours neither way"


@pytest.mark.parametrize("octaves", [1.0, 23.0])
def test_rounding_at_random_is_right_in_the_mean(octaves):
    x = jnp.asarray(1e-6 * spread((4, 32), octaves))
    keys = jax.random.split(jax.random.key(0), 1000)
    eight = jax.vmap(lambda key: unpack(second_in_blocks(x, 1, 32, key)))(keys)
    sixteen = jax.vmap(lambda key: to_bfloat16_at_random(x, key).astype(jnp.float32))(keys)
    for drawn, step in ((eight, 0.068), (sixteen, 2**-7)):
        mean = np.asarray(drawn, np.float64).mean(axis=0) / np.asarray(x)
        np.testing.assert_allclose(mean, 1.0, atol=5 * step / 2 / np.sqrt(1000))


def test_a_second_moment_is_zero_only_where_it_was():
    """Adam divides by its root: one that underflows would make a step of any size."""
    x = np.ones((2, 32), np.float32)
    x[0, 1:] = [0.0] + [10.0**-k for k in range(30)]
    x[1] = 0.0
    back = np.asarray(unpack(second_in_blocks(jnp.asarray(x), 1, 32, jax.random.key(0))))
    assert ((back == 0) == (x == 0)).all()
    assert back[0].min(initial=1, where=x[0] > 0) == pytest.approx(2**-24, rel=1e-5)


def test_zeros_stay_zeros():
    x = jnp.zeros((32, 32))
    for kept in (first_in_blocks(x, 1, 32), second_in_blocks(x, 1, 32, jax.random.key(0))):
        assert not np.asarray(unpack(kept)).any()


def test_an_outlier_costs_its_own_block_alone():
    x = spread((2, 64), 3)
    loud = x.copy()
    loud[0, 0] = 1e6
    key = jax.random.key(0)
    for pack in (lambda a: first_in_blocks(a, 1, 32), lambda a: second_in_blocks(a, 1, 32, key)):
        quiet, beside = (np.asarray(unpack(pack(jnp.asarray(a)))) for a in (x, loud))
        np.testing.assert_array_equal(quiet[0, 32:], beside[0, 32:])
        np.testing.assert_array_equal(quiet[1], beside[1])


def test_blocks_lie_along_an_axis_before_the_last_in_parts_of_what_fsdp_leaves_of_it():
    """Worked examples; neither layers' nor experts' axis is one, whatever their number."""
    wide = named("embed", "mlp", shape=(256, 640))
    assert block_axis(wide) == (0, 32)
    assert block_axis(named("mlp", "embed", shape=(640, 256))) == (0, 128)
    stacked = named("layers", "expert", "expert_embed", "mlp", shape=(128, 128, 256, 640))
    assert block_axis(stacked) == (2, 32)
    assert block_axis(named("embed", "heads", "head_dim", shape=(256, 32, 96))) == (0, 32)
    assert block_axis(named("heads", "head_dim", "embed", shape=(32, 96, 256))) == (1, 96)
    assert block_axis(named("vocab", "embed", shape=(50257, 64))) == (0, 29)
    assert block_axis(named("vocab", "embed", shape=(50261, 64))) == (1, 32)  # a prime
    assert block_axis(named("embed", "router", shape=(64, 8))) == (0, 32)
    assert block_axis(named("norm", shape=(4096,), fan_in=())) is None
    assert block_axis(named("embed", "heads", "head_dim", shape=(7, 4, 8))) is None


# --- In an optimizer


@pytest.fixture(scope="module")
def model(tiny_config) -> Transformer:
    """Wide enough for blocks: every matrix has an axis of 16 or more."""
    sizes: dict[str, Any] = {"d_model": 32, "head_dim": 16, "hidden": 48, "vocab_size": 64}
    return Transformer(tiny_config(**sizes, qk_norm="head", tie_embeddings=False))


def adamw(moments: str, **fields: Any) -> AdamW:
    return AdamW(learning_rate=0.01, schedule=CONSTANT, moments=moments, **fields)


def muon(moments: str) -> Muon:
    return Muon(
        learning_rate=0.02, adam_learning_rate=0.01, schedule=CONSTANT, moments=moments
    )  # fmt: skip


def moments_of(state: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda x: isinstance(x, Blocks))
    return {path_name(p): x for p, x in leaves if "/mu/" in path_name(p) or "/nu/" in path_name(p)}


def start(config: AdamW | Muon, model: Transformer) -> Any:
    boxes = parameter_boxes(model)
    return jax.eval_shape(config.make(10, boxes).init, nn.meta.unbox(boxes))


@pytest.mark.parametrize("make", [adamw, muon])
def test_what_is_kept_is_of_the_size_it_says(model, make):
    """Bytes a parameter and moment: 4, 2, and 1 with 4 / block for the scales."""

    def size(moments: str) -> int:
        kept = moments_of(start(make(moments), model))
        return sum(x.size * x.dtype.itemsize for one in kept.values() for x in jax.tree.leaves(one))

    whole = size("float32")
    assert size("bfloat16") == whole / 2
    assert whole / 4 < size("int8") < whole / 4 * (1 + 4 / 16) + 4 * 1000


def test_norms_stay_in_float32_and_matrices_and_embeddings_do_not(model):
    for name, kept in moments_of(start(adamw("int8"), model)).items():
        assert isinstance(kept, Blocks) == (not name.endswith("scale")), name


def test_float32_leaves_the_state_as_optax_has_it(model):
    """So that checkpoints from before there was a choice still restore."""
    names = {
        path_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(start(adamw("float32"), model))
    }
    assert "1/0/mu/decoder/layers/layer_0/attention/q/kernel" in names


@pytest.mark.slow
@pytest.mark.parametrize("make", [adamw, muon])
def test_updates_stay_near_those_of_float32(make):
    """After 20 steps of gradients that keep their direction in part; in the mean over a parameter,
    in relation to its update."""
    boxes = {
        "kernel": named("embed", "mlp", shape=(64, 128)),
        "embedding": named("vocab", "embed", shape=(96, 64), fan_in=()),
        "scale": named("norm", shape=(64,), fan_in=()),
    }
    rng = np.random.default_rng(0)
    draw = {name: (lambda box=box: rng.standard_normal(box.value.shape).astype(np.float32))
            for name, box in boxes.items()}  # fmt: skip
    params, drift = ({name: of() for name, of in draw.items()} for _ in range(2))
    gradients = {
        name: np.stack([drift[name] * 0.3 + of() for _ in range(20)]) for name, of in draw.items()
    }

    def last_update(config: AdamW | Muon) -> Any:
        optimizer = config.make(100, boxes)

        def step(state: Any, gradient: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(gradient, state, params)
            return state, updates

        def run(gradients: Any) -> Any:
            return jax.tree.map(
                lambda x: x[-1], jax.lax.scan(step, optimizer.init(params), gradients)[1]
            )

        with jax.numpy_dtype_promotion("standard"):
            return jax.jit(run)(gradients)

    wanted = last_update(make("float32"))
    for moments, tolerance in (("bfloat16", 0.01), ("int8", 0.1)):
        for name, got in last_update(make(moments)).items():
            error = np.abs(got - wanted[name]).mean() / np.abs(wanted[name]).mean()
            assert error < tolerance, (name, moments)
            assert (error > 0) == (moments == "bfloat16" or name != "scale")


@pytest.mark.slow
@pytest.mark.parametrize("moments", ["bfloat16", "int8"])
def test_a_second_moment_decays_however_slowly(moments):
    """b2 = 0.999: rounded to the nearest, a thousandth less would be the same again each step."""
    boxes = {"w": named("embed", "mlp", shape=(8, 128))}
    optimizer = adamw(moments, b2=0.999, clip_norm=None).make(10, boxes)
    params = {"w": jnp.ones((8, 128))}
    state = optimizer.init(params)
    gradient = {"w": jnp.asarray(spread((8, 128), 4))}
    zeros = jax.tree.map(jnp.zeros_like, gradient)

    @jax.jit
    def steps(state: Any) -> Any:
        def one(state: Any, i: jax.Array) -> tuple[Any, None]:
            now = jax.tree.map(lambda g, z: jnp.where(i == 0, g, z), gradient, zeros)
            return optimizer.update(now, state, params)[1], None

        return jax.lax.scan(one, state, jnp.arange(1001))[0]

    with jax.numpy_dtype_promotion("standard"):
        kept = moments_of(steps(state))
    (nu,) = (np.asarray(unpack(x)) for name, x in kept.items() if "/nu/" in name)
    expected = 0.001 * np.asarray(gradient["w"]) ** 2 * 0.999**1000
    assert np.mean(nu / expected) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("make", [adamw, muon])
def test_blocks_lie_as_their_parameter_does(model, make):
    """Codes exactly so; of the scales a device has as small a part, along whichever axis."""
    boxes = parameter_boxes(model)
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    state = abstract_state(boxes, make("int8").make(10, boxes), mesh)
    params = {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(state.params)}
    seen = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state):
        name, _, part = path_name(path).rpartition("/")
        param = next((x for other, x in params.items() if name.endswith(other)), None)
        if param is None or part not in ("codes", "scales"):
            continue
        seen += 1
        if part == "codes":
            assert leaf.sharding == param.sharding
        shares = [
            np.prod(x.sharding.shard_shape(x.shape)) / np.prod(x.shape) for x in (leaf, param)
        ]
        assert shares[0] == shares[1], name
    assert seen >= 2 * len(params) - 20


@pytest.mark.slow
def test_a_small_model_learns_as_well(model, packed_batch, one_device):
    """The same batch again and again, until it is known in part: losses are those of float32 to a
    fiftieth."""
    batch = jax.device_put(packed_batch(8, 12, 64), batch_sharding(one_device))

    def losses(moments: str) -> np.ndarray:
        with use_mesh(one_device):
            boxes = parameter_boxes(model)
            optimizer = adamw(moments).make(24, boxes)
            abstract = abstract_state(boxes, optimizer, one_device)
            state = init_state(model, optimizer, 0, abstract)
            step = make_step(model, optimizer, LossConfig(chunk_length=12), 1, abstract, one_device)
            seen = []
            for _ in range(24):
                state, report = step(state, batch)
                seen.append(float(report.sums.nll / report.sums.count))
        return np.array(seen)

    wanted = losses("float32")
    assert wanted[-1] < wanted[0] - 1
    for moments in ("bfloat16", "int8"):
        np.testing.assert_allclose(losses(moments), wanted, rtol=0.02, atol=0.02)


def test_other_moments_are_refused_by_name():
    for make in (adamw, muon):
        with pytest.raises(ValueError, match="moments must be one of float32, bfloat16, int8, got"):
            make("int4")
