"""A folder becomes a workdir that loads, whole or not at all."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nanojaxlm.checkpoint import Checkpoints, to_disk
from nanojaxlm.data.objectives import CausalLM, MaskedLM, PrefixLM, SpanCorruption
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop import importing, reference
from nanojaxlm.interop.arrays import leaves_by_path
from nanojaxlm.interop.check import Question, our_logits
from nanojaxlm.interop.fine_tuning import objective_of
from nanojaxlm.interop.importing import import_folder, load_folder
from nanojaxlm.interop.origin import read_origin
from nanojaxlm.loading import load
from nanojaxlm.sharding import MeshConfig


def refuse(folder: Path, workdir: Path, *said: str, **arguments) -> None:
    """The import tells all of `said` on one line, and leaves nothing."""
    with pytest.raises(UserError) as caught:
        import_folder(folder, workdir, **arguments)
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert "\n" not in message
    assert not workdir.exists()
    assert sorted(path.name for path in workdir.parent.iterdir()) == [folder.name]


@pytest.mark.slow
def test_an_imported_workdir_computes_what_the_folder_says(family_folder, tmp_path):
    theirs = family_folder("llama", shards=3)
    config = import_folder(theirs.path, tmp_path / "run")
    loaded = load(str(tmp_path / "run"))
    assert loaded.step == 0
    assert loaded.config == config
    assert loaded.tokenizer.model == (theirs.path / "tokenizer.model").read_bytes()
    tokens_BT = np.random.default_rng(0).integers(0, 303, (2, 9), dtype=np.int32)
    ours = our_logits(config.model, loaded.params, Question(tokens_BT))
    wanted = reference.logits(theirs.path, tokens_BT)
    np.testing.assert_allclose(ours, wanted, atol=1e-5 * np.abs(wanted).max())
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["model"]["vocab_size"] == 303


def test_the_parameters_alone_are_saved(family_folder, tmp_path):
    theirs = family_folder("llama")
    import_folder(theirs.path, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoints", "config.json", "imported.json",
    ]  # fmt: skip
    saved = Checkpoints(tmp_path / "run", read_only=True)
    assert saved.latest_step() == 0
    tree = saved._manager.item_metadata(0)["state"]
    assert set(getattr(tree, "tree", tree)) == {"params"}
    saved.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh", [MeshConfig(data=2, fsdp=2, tensor=2), MeshConfig(data=1, fsdp=8), MeshConfig()]
)
def test_on_eight_devices_the_same_numbers_are_saved(
    mesh, tiny_config, plain, make_folder, expected, sentencepiece_model, tmp_path
):
    config = tiny_config(vocab_size=304)
    path, values = make_folder(config, plain, shards=2)
    (path / "tokenizer.model").write_bytes(sentencepiece_model())
    saved = import_folder(path, tmp_path / "run", mesh, families=[plain])
    assert saved.mesh == mesh
    found = leaves_by_path(to_disk(load(str(tmp_path / "run")).params))
    for name, array in expected(config, values).items():
        np.testing.assert_array_equal(found[name], array)


def test_a_model_is_loaded_onto_a_mesh_without_a_workdir(family_folder, eight_devices, one_device):
    theirs = family_folder("llama")
    with pytest.raises(UserError, match="does not split evenly"):
        load_folder(theirs.path, eight_devices)
    config, params, tokenizer = load_folder(theirs.path, one_device)
    assert tokenizer == (theirs.path / "tokenizer.model").read_bytes()
    assert config.vocab_size == 303
    (theirs.path / "tokenizer.model").unlink()
    again = load_folder(theirs.path, one_device)
    assert again.tokenizer is None
    for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_types_of_the_source_are_remembered(dtype, family_folder, tmp_path):
    theirs = family_folder("llama", dtype=dtype)
    import_folder(theirs.path, tmp_path / "run")
    origin = read_origin(tmp_path / "run")
    assert origin is not None
    assert (origin.dtype, origin.other_dtypes, origin.model_type) == (dtype, {}, "llama")


def test_a_missing_tensor_leaves_nothing(family_folder, tmp_path):
    theirs = family_folder("llama")
    file = theirs.path / "model.safetensors"
    values = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({n: v for n, v in values.items() if n != name}, file)
    refuse(theirs.path, tmp_path / "run", name, "missing")


def test_a_misshapen_tensor_leaves_nothing(family_folder, tmp_path):
    theirs = family_folder("llama")
    file = theirs.path / "model.safetensors"
    name = "model.norm.weight"
    save_file(load_file(file) | {name: np.ones(7, np.float32)}, file)
    refuse(theirs.path, tmp_path / "run", name, "(7,)", str(file))


def test_an_unknown_field_leaves_nothing(family_folder, tmp_path):
    theirs = family_folder("llama")
    fields = json.loads((theirs.path / "config.json").read_text())
    (theirs.path / "config.json").write_text(json.dumps(fields | {"rotary_twist": 3}))
    refuse(theirs.path, tmp_path / "run", "config.json", "rotary_twist")


@pytest.mark.parametrize("rows", [200, 500])
def test_a_tokenizer_of_another_size_leaves_nothing(rows, family_folder, tmp_path):
    theirs = family_folder("llama")
    file = theirs.path / "model.safetensors"
    values = load_file(file)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in values:
            values[name] = np.ones((rows, values[name].shape[1]), np.float32)
    save_file(values, file)
    fields = json.loads((theirs.path / "config.json").read_text())
    (theirs.path / "config.json").write_text(json.dumps(fields | {"vocab_size": rows}))
    refuse(theirs.path, tmp_path / "run", "tokenizer has 290 ids", str(rows))


def test_a_folder_without_a_tokenizer_leaves_nothing(family_folder, tmp_path):
    theirs = family_folder("llama")
    (theirs.path / "tokenizer.model").unlink()
    refuse(theirs.path, tmp_path / "run", "no tokenizer")


def test_a_mesh_that_does_not_fit_leaves_nothing(family_folder, tmp_path):
    theirs = family_folder("llama")
    refuse(theirs.path, tmp_path / "run", "does not fit 8 devices", mesh=MeshConfig(fsdp=3))
    refuse(theirs.path, tmp_path / "run", "does not split evenly", mesh=MeshConfig(tensor=8))


def test_a_failure_in_the_middle_leaves_nothing(family_folder, tmp_path, monkeypatch):
    theirs = family_folder("llama")

    def fail(*_: object) -> None:
        assert any(tmp_path.glob("run.part/checkpoints/*"))
        raise RuntimeError("in the middle")

    monkeypatch.setattr(importing, "write_origin", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        import_folder(theirs.path, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["llama"]


def test_what_a_killed_import_left_does_not_hinder_the_next(family_folder, tmp_path):
    theirs = family_folder("llama")
    half = tmp_path / "run.part" / "checkpoints" / "0.orbax-checkpoint-tmp-1"
    half.mkdir(parents=True)
    (half / "junk").write_text("half an array")
    import_folder(theirs.path, tmp_path / "run")
    assert load(str(tmp_path / "run")).step == 0
    assert not (tmp_path / "run.part").exists()


def test_a_workdir_that_holds_something_is_left_as_it_is(family_folder, tmp_path):
    theirs = family_folder("llama")
    (tmp_path / "run").mkdir()
    import_folder(theirs.path, tmp_path / "run")  # an empty folder is no one's
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="is there already"):
        import_folder(theirs.path, tmp_path / "run")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"),
    [("gpt2", CausalLM), ("bert", MaskedLM), ("t5", PrefixLM), ("t5gemma", PrefixLM)],
)
def test_the_objective_fits_the_stacks(name, wanted, family_folder, tmp_path):
    theirs = family_folder(name)
    assert type(import_folder(theirs.path, tmp_path / "run").data.objective) is wanted


def test_the_objective_takes_the_vocabularys_own_ids(tiny_config, sentencepiece_model):
    decoder = tiny_config(vocab_size=290).decoder
    both = tiny_config(vocab_size=290, encoder=decoder)
    encoder = dataclasses.replace(both, decoder=None)
    tokenizer = load_tokenizer(sentencepiece_model())
    assert objective_of(both, tokenizer, 64) == PrefixLM(layout="encoder")
    with pytest.raises(UserError, match="no mask token"):
        objective_of(encoder, tokenizer, 64)
    wider = dataclasses.replace(both, vocab_size=303)
    assert objective_of(wider, tokenizer, 64) == SpanCorruption(num_sentinels=13)
    assert objective_of(wider, tokenizer, 1024) == PrefixLM(layout="encoder")
    proto = tokenizer.base.proto
    for name in ("[MASK]", *(f"<extra_id_{i}>" for i in (2, 1, 0))):  # as T5 has them, backwards
        piece = proto.pieces.add()
        piece.piece, piece.type = name, 3  # a control piece
    proto.trainer_spec.vocab_size = len(proto.pieces)
    tokenizer = load_tokenizer(proto.SerializeToString())
    assert objective_of(both, tokenizer, 16) == SpanCorruption(
        num_sentinels=3, first_sentinel=293, sentinel_step=-1
    )
    assert objective_of(encoder, tokenizer, 64) == MaskedLM(mask_id=290)


def test_the_layers_are_saved_one_by_one(family_folder, tmp_path):
    theirs = family_folder("llama")
    import_folder(theirs.path, tmp_path / "run")
    loaded = load(str(tmp_path / "run"))
    paths = leaves_by_path(to_disk(loaded.params))
    kernel = paths["decoder/layer_1/feed_forward/up/kernel"]
    np.testing.assert_array_equal(kernel, theirs.values["model.layers.1.mlp.up_proj.weight"].T)
