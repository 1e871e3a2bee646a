"""Folders are read strictly: what is missing, too much or damaged is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from nanojaxlm.errors import UserError
from nanojaxlm.interop.folder import Folder, family_of, read_config


@pytest.fixture
def config(tiny_config):
    return tiny_config(num_layers=1)


def refuse(folder: Path, family, *said: str) -> None:
    """Opening and checking the folder tells all of `said`, on one line."""
    with pytest.raises(UserError) as caught:
        opened = Folder(folder)
        opened.check(family_of(opened, [family]), read_config(opened, family))
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert "\n" not in message


def accept(folder: Path, family) -> Folder:
    opened = Folder(folder)
    opened.check(family_of(opened, [family]), read_config(opened, family))
    return opened


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_tensor_is_read_as_it_is_stored(config, plain, make_folder, dtype, shards):
    path, values = make_folder(config, plain, shards=shards, dtype=dtype)
    folder = accept(path, plain)
    assert set(folder.dtypes(plain.tensors(config)).values()) == {dtype}
    for name, value in values.items():
        read = folder.read(name)
        assert read.dtype == value.dtype
        assert read.tobytes() == value.tobytes()
    name = "model.decoder.layer_0.attention.qkv"
    block = folder.read(name, (slice(3, 9), slice(1, 4)))
    assert block.tobytes() == values[name][3:9, 1:4].tobytes()


def test_one_file_of_another_name_is_taken(config, plain, make_folder):
    path, _ = make_folder(config, plain)
    (path / "model.safetensors").rename(path / "weights.safetensors")
    accept(path, plain)


def test_a_missing_tensor_is_named(config, plain, make_folder):
    path, values = make_folder(config, plain)
    name = "model.decoder.layer_0.attention.qkv"
    save_file({n: v for n, v in values.items() if n != name}, path / "model.safetensors")
    shape = str(values[name].shape)
    refuse(path, plain, name, shape, "missing", str(path))


def test_a_misshapen_tensor_is_named_with_both_shapes_and_its_file(config, plain, make_folder):
    path, values = make_folder(config, plain)
    name = "model.decoder.layer_0.attention.qkv"
    save_file(values | {name: values[name][:-1]}, path / "model.safetensors")
    wanted, found = values[name].shape, values[name][:-1].shape
    refuse(path, plain, name, str(wanted), str(found), str(path / "model.safetensors"))


def test_a_tensor_too_much_is_named(config, plain, make_folder):
    path, values = make_folder(config, plain)
    save_file(values | {"model.extra": np.ones(3, np.float32)}, path / "model.safetensors")
    refuse(path, plain, "model.extra", "(3,)", "no place")


def test_a_buffer_that_the_family_ignores_may_be_there(config, plain, make_folder):
    path, values = make_folder(config, plain)
    save_file(values | {"model.buffer": np.ones(3, np.float32)}, path / "model.safetensors")
    accept(path, plain)


def test_a_copy_of_a_tied_weight_must_be_one(config, plain, make_folder):
    path, values = make_folder(config, plain)
    copy = values["model.embed.embedding"].copy()
    save_file(values | {"head.weight": copy}, path / "model.safetensors")
    accept(path, plain)
    copy[-1, -1] += 1
    save_file(values | {"head.weight": copy}, path / "model.safetensors")
    refuse(path, plain, "head.weight", "model.embed.embedding", "differ")


def test_a_base_model_without_the_prefix_is_taken(config, plain, make_folder):
    path, values = make_folder(config, plain)
    save_file(
        {name.removeprefix("model."): v for name, v in values.items()}, path / "model.safetensors"
    )
    folder = accept(path, plain)
    name = "model.decoder.layer_0.attention.qkv"
    np.testing.assert_array_equal(folder.read(name), values[name])


def test_old_names_are_read_as_the_new_ones(config, plain_changed, make_folder):
    family = plain_changed(renamed=((r"\.gamma$", ".scale"),))
    path, values = make_folder(config, family)
    old = {name.replace(".scale", ".gamma"): value for name, value in values.items()}
    assert old.keys() != values.keys()
    save_file(old, path / "model.safetensors")
    folder = accept(path, family)
    name = "model.decoder.final_norm.scale"
    np.testing.assert_array_equal(folder.read(name), values[name])


def test_a_type_that_is_no_float_of_ours_is_refused(config, plain, make_folder):
    path, values = make_folder(config, plain)
    name = "model.decoder.final_norm.scale"
    save_file(values | {name: values[name].astype(np.int8)}, path / "model.safetensors")
    refuse(path, plain, name, "I8", "unquantized")


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_truncated_file_is_no_weights(config, plain, make_folder, kept):
    path, _ = make_folder(config, plain, shards=2)
    file = path / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refuse(path, plain, str(file), "no whole safetensors file")


def test_a_header_that_is_no_json_is_refused(config, plain, make_folder):
    path, _ = make_folder(config, plain)
    file = path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[8:12] = b"\xff\xfe{{"
    file.write_bytes(data)
    refuse(path, plain, str(file), "no whole safetensors file")


def test_an_index_must_name_files_that_are_there(config, plain, make_folder):
    path, _ = make_folder(config, plain, shards=2)
    (path / "model-00002-of-00002.safetensors").unlink()
    refuse(path, plain, "model-00002-of-00002.safetensors", "no such file", "index.json")


def test_an_index_may_not_lead_out_of_the_folder(config, plain, make_folder):
    path, _ = make_folder(config, plain, shards=2)
    (path / "model-00002-of-00002.safetensors").rename(path.parent / "away.safetensors")
    index = path / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002-of-00002", "../away"))
    refuse(path, plain, "../away.safetensors", "no such file")


def test_an_index_must_agree_with_the_files(config, plain, make_folder):
    path, _ = make_folder(config, plain, shards=2)
    index = path / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    weight_map["model.embed.embedding"] = (
        first if weight_map["model.embed.embedding"] == second else second
    )
    index.write_text(json.dumps({"weight_map": weight_map}))
    refuse(path, plain, "model.embed.embedding", first, second, "not of one model")
    index.write_text(json.dumps({"weight_map": weight_map | {"model.ghost": first}}))
    refuse(path, plain, "not of one model")


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": {"a": 3}}', "{"])
def test_an_index_that_is_none_is_refused(config, plain, make_folder, text):
    path, _ = make_folder(config, plain, shards=2)
    (path / "model.safetensors.index.json").write_text(text)
    refuse(path, plain, "model.safetensors.index.json")


def test_shards_without_an_index_are_refused(config, plain, make_folder):
    path, _ = make_folder(config, plain, shards=2)
    (path / "model.safetensors.index.json").unlink()
    refuse(path, plain, "2 *.safetensors files", "no model.safetensors.index.json")


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "pytorch_model-1-of-2.bin"])
def test_a_pickle_is_never_read(config, plain, make_folder, file):
    path, _ = make_folder(config, plain)
    (path / "model.safetensors").rename(path / file)
    refuse(path, plain, file, "pickle", "save_pretrained")


def test_a_folder_without_weights_is_refused(config, plain, make_folder):
    path, _ = make_folder(config, plain)
    (path / "model.safetensors").unlink()
    refuse(path, plain, "no model.safetensors")


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot read"), ("{", "is no JSON"), ("[]", "JSON object"), ("\xff", "is no JSON")],
)
def test_a_config_that_cannot_be_read_is_named(config, plain, make_folder, text, said):
    path, _ = make_folder(config, plain)
    (path / "config.json").unlink()
    if text is not None:
        (path / "config.json").write_bytes(text.encode("latin-1"))
    refuse(path, plain, str(path / "config.json"), said)


def test_a_model_type_that_no_family_has_is_refused_with_those_there_are(
    config, plain, make_folder
):
    path, _ = make_folder(config, plain)
    edit(path, model_type="mamba")
    refuse(path, plain, "'mamba'", "plain")


def test_an_architecture_with_another_head_is_refused(config, plain, make_folder):
    path, _ = make_folder(config, plain)
    edit(path, architectures=["PlainForSequenceClassification"])
    refuse(path, plain, "PlainForSequenceClassification", "PlainForAnything")


def test_a_field_that_the_config_refuses_is_told_with_the_file(config, plain, make_folder):
    path, _ = make_folder(config, plain)
    fields = json.loads((path / "config.json").read_text())
    edit(path, ours=fields["ours"] | {"d_model": -1})
    refuse(path, plain, str(path / "config.json"), "d_model must be > 0")
    (path / "config.json").write_text(json.dumps({"model_type": "plain"}))
    refuse(path, plain, str(path / "config.json"), "'ours' is missing")


def test_a_file_that_shrinks_after_its_header_was_read_is_told(config, plain, make_folder):
    path, values = make_folder(config, plain)
    folder = accept(path, plain)
    file = path / "model.safetensors"
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)
    with pytest.raises(UserError, match="cannot be read"):
        for name in values:
            folder.read(name)


def edit(path: Path, **fields: object) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | fields))
