"""What is saved comes back bit for bit: scanned or not, on any mesh; what does not fit is told."""

import json
import os
import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from nanojaxlm.checkpoint import (
    FOLDER,
    CheckpointConfig,
    Checkpoints,
    Saved,
    disk_paths,
    from_disk,
    to_disk,
)
from nanojaxlm.errors import UserError
from nanojaxlm.model.config import FeedForwardConfig, LocalConfig, MixtureConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, Muon, WarmupCosine
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_state, parameter_boxes, path_name

SCHEDULE = WarmupCosine(warmup_steps=2)
OPTIMIZERS = {
    "adamw": AdamW(learning_rate=1e-3, schedule=SCHEDULE),
    "muon": Muon(learning_rate=1e-2, adam_learning_rate=1e-3, schedule=SCHEDULE),
}
SIZES = {"num_heads": 4, "num_kv_heads": 4, "hidden": 32, "vocab_size": 64}  # divide every mesh


def saved(step):
    return Saved(step, {"seed": step}, {"next_step": step, "data": "ab"}, bytes(range(256)))


def abstract_of(config, mesh_sizes=(8, 1, 1), optimizer="adamw"):
    mesh = make_mesh(MeshConfig(**dict(zip(("data", "fsdp", "tensor"), mesh_sizes, strict=True))))
    boxes = parameter_boxes(Transformer(config))
    return abstract_state(boxes, OPTIMIZERS[optimizer].make(10, boxes), mesh)


def random_state(abstract, seed=0):
    """Every bit pattern of a float32 that is a number, so that a cast would show."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        values = rng.standard_normal(leaf.shape) if leaf.dtype == jnp.float32 else seed + 7
        return jax.device_put(np.broadcast_to(values, leaf.shape).astype(leaf.dtype), leaf.sharding)

    return jax.tree.map(draw, abstract)


def arrays(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same(a, b):
    a, b = arrays(a), arrays(b)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


def save(folder, state, step=10):
    checkpoints = Checkpoints(folder, keep=3)
    checkpoints.save(state, saved(step))
    checkpoints.close()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_comes_back_bit_for_bit_scanned_or_not_on_another_mesh(
    tmp_path, tiny_config, optimizer
):
    scanned = abstract_of(tiny_config(**SIZES), (8, 1, 1), optimizer)
    state = random_state(scanned)
    want = arrays(to_disk(state))
    save(tmp_path, state)
    assert_same(state, random_state(scanned))  # saving leaves the state as it was
    unrolled = tiny_config(**SIZES, scan=False)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    for abstract in (
        scanned,
        abstract_of(tiny_config(**SIZES), (1, 8, 1), optimizer),
        abstract_of(tiny_config(**SIZES), (2, 2, 2), optimizer),
        abstract_of(unrolled, (2, 2, 2), optimizer),
    ):
        restored = checkpoints.restore(abstract)
        assert_same(to_disk(restored), want)
        for leaf, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(abstract), strict=True):
            assert leaf.sharding == wanted.sharding and leaf.shape == wanted.shape
    assert_same(checkpoints.restore(scanned), state)
    save(tmp_path / "back", restored)  # an unrolled one into a scanned one
    back = Checkpoints(tmp_path / "back", read_only=True)
    assert_same(back.restore(scanned), state)
    for each in (checkpoints, back):
        each.close()


def test_on_disk_each_layer_is_alone_and_there_is_no_stacked_array(tmp_path, tiny_config):
    config = tiny_config(num_layers=3)
    state = random_state(abstract_of(config, (8, 1, 1)))
    save(tmp_path, state)
    tree = ocp.PyTreeCheckpointer().metadata(tmp_path / FOLDER / "10" / "state").item_metadata.tree
    found = {
        path_name(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    kernels = {name: shape for name, shape in found.items() if name.endswith("attention/q/kernel")}
    places = ["params/decoder", "opt_state/1/0/mu/decoder", "opt_state/1/0/nu/decoder"]
    assert kernels == {
        f"{place}/layer_{i}/attention/q/kernel": (16, 4, 8) for place in places for i in range(3)
    }
    assert not any("layers" in name.split("/") for name in found)
    q = np.asarray(state.params["decoder"]["layers"]["layer_0"]["attention"]["q"]["kernel"])
    on_disk = to_disk(state)["params"]["decoder"]
    for i in range(3):
        np.testing.assert_array_equal(on_disk[f"layer_{i}"]["attention"]["q"]["kernel"], q[i])


PATTERNS = {  # of 7 layers
    "same": {},
    "local, global, …, and a rest": {"local": LocalConfig(window=3, global_every=2)},
    "dense, then mixtures": {
        "feed_forward": MixtureConfig(num_experts=3, top_k=1, expert=FeedForwardConfig(hidden=6)),
        "num_dense": 2, "dense": FeedForwardConfig(hidden=12),
    },
    "all at once": {
        "local": LocalConfig(window=3, global_every=3, global_first=True), "num_dense": 1,
        "first_attention_norm": False, "dense": FeedForwardConfig(hidden=12),
    },
}  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_from_disk_is_the_inverse_of_to_disk_whatever_repeats(tiny_config, pattern):
    """On disk, layer i is what the config says of layer i, and the form is the unrolled one's."""
    fields = {"kind": "encoder_decoder", "num_layers": 7, "num_future": 1} | PATTERNS[pattern]
    abstract, unrolled = (abstract_of(tiny_config(**fields, scan=scan)) for scan in (True, False))
    state = random_state(abstract)
    on_disk = to_disk(state)
    shapes = {path_name(p): x.shape for p, x in jax.tree_util.tree_leaves_with_path(unrolled)}
    assert {name: a.shape for name, a in arrays(on_disk).items()} == shapes
    assert_same(from_disk(on_disk, abstract), state)
    assert_same(from_disk(on_disk, unrolled), on_disk)


def test_the_entries_of_a_stacked_array_are_of_every_other_layer_where_two_repeat(tiny_config):
    config = tiny_config(num_layers=5, local=LocalConfig(window=3, global_every=2))
    params = abstract_of(config).params
    found = disk_paths(params)
    q = "attention/q/kernel"
    assert found[f"decoder/layers/layer_0/{q}"] == tuple(f"decoder/layer_{i}/{q}" for i in (0, 2))
    assert found[f"decoder/layers/layer_1/{q}"] == tuple(f"decoder/layer_{i}/{q}" for i in (1, 3))
    assert found[f"decoder/layer_4/{q}"] == (f"decoder/layer_4/{q}",)
    state = random_state(params)
    stacked = np.asarray(state["decoder"]["layers"]["layer_1"]["attention"]["q"]["kernel"])
    on_disk = to_disk(state)["decoder"]
    for entry, layer in enumerate((1, 3)):
        kernel = on_disk[f"layer_{layer}"]["attention"]["q"]["kernel"]
        np.testing.assert_array_equal(kernel, stacked[entry])


@pytest.mark.slow
def test_a_pattern_that_was_saved_scanned_is_restored_unrolled_and_back(tmp_path, tiny_config):
    fields = SIZES | {
        "kind": "encoder_decoder", "num_layers": 5,
        "local": LocalConfig(window=3, global_every=2),
    }  # fmt: skip
    scanned, unrolled = (
        abstract_of(tiny_config(**fields, scan=scan), (2, 2, 2)) for scan in (True, False)
    )
    state = random_state(scanned)
    save(tmp_path, state)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    restored = checkpoints.restore(unrolled)
    assert_same(restored, to_disk(state))
    checkpoints.close()
    save(tmp_path / "back", restored)
    checkpoints = Checkpoints(tmp_path / "back", read_only=True)
    assert_same(checkpoints.restore(scanned), state)
    checkpoints.close()


def test_everything_a_run_needs_is_in_a_checkpoint(tmp_path, tiny_config):
    save(tmp_path, random_state(abstract_of(tiny_config())), step=3)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.describe() == checkpoints.describe(3) == saved(3)
    assert checkpoints.latest_step() == 3
    for step in (2, 4):
        with pytest.raises(UserError, match=rf"step {step} .*\[3\]"):
            checkpoints.describe(step)
    checkpoints.close()


def test_a_part_of_the_state_can_be_restored_alone(tmp_path, tiny_config):
    abstract = abstract_of(tiny_config())
    state = random_state(abstract)
    save(tmp_path, state)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert_same(checkpoints.restore({"params": abstract.params})["params"], state.params)
    checkpoints.close()


def test_the_newest_are_kept_and_a_step_already_saved_is_left(tmp_path, tiny_config):
    abstract = abstract_of(tiny_config())
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(random_state(abstract, step), saved(step))
    checkpoints.save(random_state(abstract, 9), saved(3))
    checkpoints.close()
    folders = {path.name for path in (tmp_path / FOLDER).iterdir()}
    assert folders == {"2", "3"}
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (2, 3):
        assert_same(checkpoints.restore(abstract, step), random_state(abstract, step))
    checkpoints.close()


def test_save_returns_before_the_commit_and_close_waits_for_it(tmp_path, tiny_config, monkeypatch):
    """The state may be donated to the next step at once: what is written is what it was."""
    abstract = abstract_of(tiny_config(scan=False))
    state = random_state(abstract)
    want = arrays(state)
    gate = threading.Event()
    rename = os.rename

    def late(source, target):
        if Path(target).name == "10":
            assert gate.wait(30)
        rename(source, target)

    monkeypatch.setattr("os.rename", late)  # how a folder is committed
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, saved(10))
    overwrite = jax.jit(
        lambda s: jax.tree.map(lambda a: a * 0 + a.dtype.type(3), s), donate_argnums=0
    )
    jax.block_until_ready(overwrite(state))
    assert not (tmp_path / FOLDER / "10").exists()
    gate.set()
    checkpoints.close()
    assert (tmp_path / FOLDER / "10").is_dir()
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert arrays(checkpoints.restore(abstract)).keys() == want.keys()
    assert_same(checkpoints.restore(abstract), random_state(abstract))
    checkpoints.close()


def test_a_checkpoint_of_another_model_names_the_first_array_that_differs(tmp_path, tiny_config):
    save(tmp_path, random_state(abstract_of(tiny_config())))
    checkpoints = Checkpoints(tmp_path, read_only=True)
    for change, words in (
        ({"hidden": 24}, r"layer_0/feed_forward/\S+ has shape .*20.* wants .*24"),
        ({"num_layers": 3}, "no array .*layer_2/"),
        ({"qk_norm": "head"}, "no array .*layer_0/attention/._norm/scale"),
        ({"vocab_size": 51}, r"embed\S* has shape \(50, 16\), the config wants \(51, 16\)"),
    ):
        with pytest.raises(UserError, match=words):
            checkpoints.restore(abstract_of(tiny_config(**change)))
    with pytest.raises(UserError, match=r"no array opt_state.*another model or optimizer"):
        checkpoints.restore(abstract_of(tiny_config(), optimizer="muon"))
    checkpoints.close()


def test_a_half_written_checkpoint_is_none_and_is_written_over(tmp_path, tiny_config):
    abstract = abstract_of(tiny_config())
    save(tmp_path, random_state(abstract, 1), step=1)
    half = tmp_path / FOLDER / "2.orbax-checkpoint-tmp"  # as a kill during the save leaves it
    shutil.copytree(tmp_path / FOLDER / "1", half)
    for name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
        (half / name).unlink(missing_ok=True)
    shutil.rmtree(half / "state" / "d")
    checkpoints = Checkpoints(tmp_path, keep=3)
    assert checkpoints.latest_step() == checkpoints.describe().step == 1
    assert_same(checkpoints.restore(abstract), random_state(abstract, 1))
    checkpoints.save(random_state(abstract, 2), saved(2))
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert_same(checkpoints.restore(abstract), random_state(abstract, 2))
    checkpoints.close()


@pytest.mark.parametrize("damage", ["state/_METADATA", "config/metadata", "tokenizer"])
def test_a_damaged_checkpoint_is_told_with_what_to_do(tmp_path, tiny_config, damage):
    abstract = abstract_of(tiny_config())
    save(tmp_path, random_state(abstract))
    place = tmp_path / FOLDER / "10" / damage
    for file in place.rglob("*") if place.is_dir() else [place]:
        if file.is_file():
            file.write_bytes(file.read_bytes()[:5])
    checkpoints = Checkpoints(tmp_path, read_only=True)
    with pytest.raises(UserError, match=r"checkpoints/10 cannot be read .*move that folder away"):
        checkpoints.describe()
        checkpoints.restore(abstract)
    checkpoints.close()


def test_where_there_is_no_checkpoint_the_error_says_so(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint in .*name the --workdir of a training run"):
        Checkpoints(tmp_path, read_only=True)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step() is None
    with pytest.raises(UserError, match="has not saved one yet"):
        checkpoints.describe()
    checkpoints.close()


@pytest.mark.parametrize("field", ["every", "keep"])
def test_impossible_numbers_are_refused_by_name(field):
    with pytest.raises(ValueError, match=field):
        CheckpointConfig(**{field: 0})


@pytest.mark.slow
def test_a_runs_checkpoint_holds_its_resolved_config_and_its_tokenizer(finished_run: Path):
    checkpoints = Checkpoints(finished_run, read_only=True)
    found = checkpoints.describe()
    assert found.config == json.loads((finished_run / "config.json").read_text())
    assert found.config["model"]["vocab_size"] > 10
    assert found.tokenizer == (finished_run / "store" / "tokenizer.model").read_bytes()
    assert found.input["next_step"] == found.step == 40
    checkpoints.close()
