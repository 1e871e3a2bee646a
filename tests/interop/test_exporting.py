"""A checkpoint becomes a folder: the same bytes that were imported, checked, or nothing."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from nanojaxlm.checkpoint import Checkpoints, Saved
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop import check, exporting
from nanojaxlm.interop.exporting import choose, export, with_ids
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.interop.family import Family, Part, Tensor
from nanojaxlm.interop.importing import import_folder
from nanojaxlm.interop.tokenizer_files import read_tokenizer
from nanojaxlm.loading import load
from nanojaxlm.sharding import MeshConfig
from nanojaxlm.typed_config import to_plain

NAMES = [name for family in FAMILIES for name in family.model_types]


@pytest.fixture(autouse=True)
def without_transformers(request, monkeypatch):
    """The independent reader alone is asked, even where transformers is installed."""
    if not request.node.get_closest_marker("interop"):
        monkeypatch.setattr(check, "transformers_is_installed", lambda: False)


@pytest.fixture
def imported(family_folder, tmp_path):
    """imported("llama") -> (the folder, the workdir made from it)"""

    def make(name: str, **fields) -> tuple[Path, str]:
        theirs = family_folder(name, **fields)
        import_folder(theirs.path, tmp_path / f"run-{name}", MeshConfig())
        return theirs.path, str(tmp_path / f"run-{name}")

    return make


def tensors_in(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """{name: (type, shape, bytes)}"""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118
                value = file.get_tensor(name)
                found[name] = (value.dtype.name, value.shape, value.tobytes())
    return found


def family_named(name: str) -> Family:
    return next(family for family in FAMILIES if name in family.model_types)


def leaves_nothing(workdir: str, out: Path, *said: str, **arguments) -> None:
    before = sorted(out.parent.iterdir())
    with pytest.raises(UserError) as caught:
        export(workdir, out, **arguments)
    assert all(part in str(caught.value) for part in said), caught.value
    assert "\n" not in str(caught.value)
    assert sorted(out.parent.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_gives_the_same_bytes(name, imported, tmp_path, quick_compile):
    folder, workdir = imported(name, shards=2)
    (comparison,) = export(workdir, tmp_path / "out")
    assert 0 < comparison.difference < check.TOLERANCE
    assert tensors_in(tmp_path / "out") == tensors_in(folder)
    before = json.loads((folder / "config.json").read_text())
    after = json.loads((tmp_path / "out" / "config.json").read_text())
    read = family_named(name).read_config
    assert read(after) == read(before)
    assert after["model_type"] == name
    assert set(after["architectures"]) <= set(family_named(name).architectures)


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.parametrize("name", NAMES)
def test_transformers_reads_every_export_the_same(name, imported, tmp_path, quick_compile):
    """Logits, ids of texts and the texts again; the exporter itself asks."""
    _, workdir = imported(name)
    ours, theirs = export(workdir, tmp_path / "out")
    assert "reference" in ours.against
    assert theirs.against.startswith("transformers 5")
    assert theirs.difference < 2e-5  # both in float32
    assert theirs.num_texts == len(check.TEXTS)
    assert theirs.against in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_source_comes_back_as_it_was(dtype, imported, tmp_path, quick_compile):
    folder, workdir = imported("llama", dtype=dtype)
    export(workdir, tmp_path / "out")
    assert tensors_in(tmp_path / "out") == tensors_in(folder)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_type_may_be_chosen(dtype, imported, tmp_path, quick_compile):
    folder, workdir = imported("llama")
    (comparison,) = export(workdir, tmp_path / "out", dtype=dtype)
    assert comparison.difference < check.TOLERANCE  # of the rounded numbers, computed in float32
    before = tensors_in(folder)
    for name, (got, shape, data) in tensors_in(tmp_path / "out").items():
        assert (got, shape) == (dtype, before[name][1])
        wide = np.frombuffer(before[name][2], np.float32)
        assert data == wide.astype(dtype).tobytes()


@pytest.mark.slow
def test_shards_have_the_size_asked_for_and_an_index(imported, tmp_path, quick_compile):
    folder, workdir = imported("llama")
    export(workdir, tmp_path / "out", max_shard_bytes=20_000)
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2
    assert [file.name for file in files] == [
        f"model-{i + 1:05d}-of-{len(files):05d}.safetensors" for i in range(len(files))
    ]
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    before = tensors_in(folder)
    assert index["weight_map"].keys() == before.keys()
    assert index["metadata"]["total_size"] == sum(len(data) for _, _, data in before.values())
    assert tensors_in(tmp_path / "out") == before
    sizes = {name: len(data) for name, (_, _, data) in before.items()}
    for file in files:
        with safe_open(file, "numpy") as opened:
            names = list(opened.keys())
        assert all(index["weight_map"][name] == file.name for name in names)
        assert len(names) == 1 or sum(sizes[name] for name in names) <= 20_000


@pytest.mark.slow
def test_the_folder_is_complete_and_the_card_tells_the_difference(
    imported, tmp_path, quick_compile
):
    _, workdir = imported("llama")
    (comparison,) = export(workdir, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"{comparison.difference:.2e}" in card
    assert "independent reader" in card
    tokenizer = load_tokenizer(read_tokenizer(tmp_path / "out"))
    for text in check.TEXTS:
        assert tokenizer.encode(text) == load(workdir).tokenizer.encode(text)
    ids = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert ids == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_the_longest_row_is_that_of_the_imported_folder(imported, tmp_path, quick_compile):
    folder, workdir = imported("llama", max_position_embeddings=777)
    export(workdir, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["max_position_embeddings"] == 777
    assert folder.exists()


def tampered(name: str, change: Callable[[Part], Part]) -> list[Family]:
    """One family with another table: change(part) -> part."""
    family = family_named(name)

    def tensors(config) -> list[Tensor]:
        return [
            dataclasses.replace(tensor, parts=tuple(change(part) for part in tensor.parts))
            for tensor in family.tensors(config)
        ]

    return [dataclasses.replace(family, tensors=tensors)]


def renamed(names: Mapping[str, str]) -> Callable[[Part], Part]:
    """Words of our paths in each other's place."""

    def change(part: Part) -> Part:
        words = [names.get(word, word) for word in part.path.split("/")]
        return dataclasses.replace(part, path="/".join(words))

    return change


def heads_inside_out(part: Part) -> Part:
    """Rows of q taken as [H, N] instead of [N, H]."""
    if not part.path.endswith("/attention/q/kernel"):
        return part
    n, h, d = part.split
    assert part.axes == (2, 0, 1)
    return dataclasses.replace(part, split=(h, n, d), axes=(2, 1, 0))


TAMPERED = {
    "swapped norms": renamed(
        {"attention_norm": "feed_forward_norm", "feed_forward_norm": "attention_norm"}
    ),
    "gate for up": renamed({"gate": "up", "up": "gate"}),
    "k for v": renamed({"k": "v", "v": "k"}),
    "heads inside out": heads_inside_out,
    "layers in another order": renamed({"layer_0": "layer_1", "layer_1": "layer_0"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", TAMPERED)
def test_a_wrong_table_is_refused(how, imported, tmp_path, quick_compile):
    """It would read its own folder again without a difference: only others see it."""
    _, workdir = imported("llama")
    families = tampered("llama", TAMPERED[how])
    said = ("the written model is not the trained one", "logits differ", "nothing was exported")
    leaves_nothing(workdir, tmp_path / "out", *said, families=families)
    export(workdir, tmp_path / "out", families=tampered("llama", lambda part: part))


@pytest.mark.slow
def test_interleaved_rope_halves_are_refused(imported, tmp_path, quick_compile, monkeypatch):
    """Each head's dimensions written 0, H/2, 1, H/2 + 1, …, as GPT-J rotates them."""
    _, workdir = imported("llama")
    write = exporting.write_weights

    def interleaved(folder, tensors, arrays, *rest) -> None:
        def changed(paths):
            return {path: interleave(path, array) for path, array in arrays(paths).items()}

        write(folder, tensors, changed, *rest)

    def interleave(path: str, array: np.ndarray) -> np.ndarray:
        if not path.endswith(("/attention/q/kernel", "/attention/k/kernel")):
            return array
        pairs = np.arange(array.shape[-1]).reshape(2, -1).T.reshape(-1)
        return array[..., pairs]

    monkeypatch.setattr(exporting, "write_weights", interleaved)
    leaves_nothing(workdir, tmp_path / "out", "logits differ", "nothing was exported")


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"rms_norm_eps": 1e-2}, {"rope_parameters": None}])
def test_a_wrong_config_is_refused(changes, imported, tmp_path, quick_compile):
    _, workdir = imported("llama", rope_theta=500.0, rope_parameters=None)
    family = family_named("llama")

    def write_config(config):
        return family.write_config(config) | changes | {"rope_theta": 10_000.0}

    wrong = dataclasses.replace(family, write_config=write_config)
    leaves_nothing(workdir, tmp_path / "out", "logits differ", families=[wrong])


@pytest.mark.slow
def test_a_wrong_tokenizer_is_refused(imported, tmp_path, quick_compile, monkeypatch):
    """Only where transformers is there to read it; here a stand-in for its answer."""
    _, workdir = imported("llama")
    monkeypatch.setattr(check, "transformers_is_installed", lambda: True)

    def answer(folder, questions, texts):
        logits = [check.reference.logits(folder, *question) for question in questions]
        tokenizer = load_tokenizer(read_tokenizer(folder))
        ids = [tokenizer.encode(text) for text in texts]
        ids[1] = ids[1][::-1]
        return check.Answer("a stand-in", logits, ids, [tokenizer.decode(i) for i in ids])

    monkeypatch.setattr(check, "ask_transformers", answer)
    leaves_nothing(workdir, tmp_path / "out", "written tokenizer is not the model's", "a stand-in")


@pytest.mark.slow
def test_a_failure_in_the_middle_leaves_nothing(imported, tmp_path, monkeypatch):
    _, workdir = imported("llama")

    def fail(*_: object) -> None:
        assert (tmp_path / "out.part" / "model.safetensors").exists()
        raise RuntimeError("in the middle")

    monkeypatch.setattr(exporting, "check_folder", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        export(workdir, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    leaves_nothing("nowhere", tmp_path / "out", "is there already")
    assert (tmp_path / "out" / "mine").read_text() == "kept"


def test_an_unknown_type_is_refused(tmp_path):
    leaves_nothing("nowhere", tmp_path / "out", "--dtype", "int8", "bfloat16", dtype="int8")


def test_a_model_that_no_family_holds_is_refused_with_the_nearest_reasons(tiny_config):
    with pytest.raises(UserError) as caught:
        choose(tiny_config(kv_shift=True, qk_norm="head"), FAMILIES)
    message = str(caught.value)
    assert "qwen3: model.decoder.attention.kv_shift=True" in message
    assert message.index("kv_shift") < message.index("qk_norm")  # the field of farther ones
    assert "bert" not in message  # no encoder there
    assert len(message) < 700


def test_a_family_may_be_chosen_by_name(tiny_config):
    config = tiny_config(tie_embeddings=True, scale=8**-0.5)
    config = dataclasses.replace(config, embed=dataclasses.replace(config.embed, scale=1.0))
    first, _ = choose(config, FAMILIES)
    other, written = choose(config, FAMILIES, "mistral")
    assert first.model_types != other.model_types
    assert written["model_type"] == "mistral"
    with pytest.raises(UserError, match=r"--model_type=mamba is not one of .*llama"):
        choose(config, FAMILIES, "mamba")


def test_an_id_that_pads_there_and_is_text_here_is_refused(tiny_config, sentencepiece_model):
    """RoBERTa's positions do not advance at a padding id, wherever it stands."""
    tokenizer = load_tokenizer(sentencepiece_model(0))  # BOS is 1
    written = {"model_type": "roberta", "pad_token_id": 1}
    with pytest.raises(UserError, match=r"roberta.*takes id 1 for padding"):
        with_ids(written, tiny_config(), tokenizer)
    whole = with_ids(written | {"pad_token_id": 0}, tiny_config(), tokenizer)
    assert whole["pad_token_id"] == 0


@pytest.mark.slow
def test_a_model_trained_here_is_written_with_its_own_numbers(
    family_folder, tmp_path, quick_compile, sentencepiece_model
):
    """Of a later step: float32, its own sequence length, and evaluation.json of that step."""
    theirs = family_folder("mistral")
    import_folder(theirs.path, tmp_path / "run")
    loaded = load(str(tmp_path / "run"))
    config = dataclasses.replace(
        loaded.config,
        data=dataclasses.replace(loaded.config.data, sequence_length=77, stores=("/data/web",)),
    )
    checkpoints = Checkpoints(tmp_path / "trained")
    tokenizer = sentencepiece_model(0)
    checkpoints.save({"params": loaded.params}, Saved(12, to_plain(config), {}, tokenizer))
    checkpoints.close()
    evaluation = {"step": 12, "loss": 2.5, "bits_per_byte": 1.25, "bytes": 1000}
    (tmp_path / "trained" / "evaluation.json").write_text(json.dumps(evaluation))
    export(str(tmp_path / "trained"), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["max_position_embeddings"], written["dtype"]) == (77, "float32")
    card = (tmp_path / "out" / "README.md").read_text()
    for said in ("/data/web", "CausalLM", "12 of 32 rows of 77", "2.5000", "1.2500", "1,000"):
        assert said in card
