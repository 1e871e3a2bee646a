"""The comparison: equal sizes, one text, and what it leaves behind."""

import gzip
import json
import random
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from configs import compare_families
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import num_parameters, parameter_boxes
from nanojaxlm.token_store import StoreWriter, TokenStore


@pytest.fixture(scope="module")
def characters(tmp_path_factory) -> TokenStore:
    """A small store."""
    path = str(tmp_path_factory.mktemp("characters") / "store")
    tokenizer = Tokenizer.characters("abc")
    with StoreWriter(path, tokenizer=tokenizer.model, sources=["test"], curation={}) as writer:
        writer.write("train", np.array([1, 3, 4, 2]), np.array([4]), 2)
        writer.finish()
    return TokenStore.open(path)


def test_the_three_have_the_same_number_of_parameters_within_two_percent(characters):
    counts = []
    for name in compare_families.FAMILIES:
        config = compare_families.family(name, characters, 600)
        counts.append(num_parameters(parameter_boxes(Transformer(config.model))))
    assert max(counts) / min(counts) < 1.02


def test_the_three_read_the_same_batches_of_text_with_the_same_optimizer(characters):
    configs = [compare_families.family(n, characters, 600) for n in compare_families.FAMILIES]
    for config in configs:
        assert config.data.stores == configs[0].data.stores
        assert config.data.sequence_length == configs[0].data.sequence_length
        assert config.data.batch_size == configs[0].data.batch_size
        assert config.optimizer == configs[0].optimizer
        assert config.training == configs[0].training
        lengths = config.data.objective.lengths(config.data.sequence_length)
        assert lengths.row == config.data.sequence_length  # of text, however it is laid out
    kinds = {(c.model.encoder is not None, c.model.decoder is not None) for c in configs}
    assert len(kinds) == 3


@pytest.fixture
def tiny(monkeypatch):
    """Sizes that train in seconds."""
    monkeypatch.setattr(compare_families, "D_MODEL", 20)
    monkeypatch.setattr(compare_families, "SEQUENCE_LENGTH", 32)
    monkeypatch.setattr(compare_families, "TOKENS_PER_STEP", 32 * 16)
    monkeypatch.setattr(compare_families, "CHECKPOINTS", 2)
    families = {
        name: (encoder and 1, decoder and 1, 32, objective)
        for name, (encoder, decoder, _, objective) in compare_families.FAMILIES.items()
    }
    monkeypatch.setattr(compare_families, "FAMILIES", families)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Two documents of made-up words, and pairs."""
    folder = tmp_path_factory.mktemp("material")
    rng = random.Random(0)
    words = ["".join(rng.choices("abdegilmnorstu", k=rng.randint(2, 6))) for _ in range(300)]
    with gzip.open(folder / "text.jsonl.gz", "wt") as file:
        for _ in range(2):
            file.write(json.dumps({"text": " ".join(rng.choices(words, k=4000))}) + "\n")
    with open(folder / "pairs.jsonl", "w") as file:
        for i in range(6):
            good, bad = " ".join(words[i : i + 4]), " ".join(reversed(words[i : i + 4]))
            row = {"UID": f"p{i % 2}", "sentence_good": good, "sentence_bad": bad}
            file.write(json.dumps(row) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("tiny", "quick_compile")
def test_it_leaves_a_page_a_plot_and_the_figures_and_goes_on_where_it_was(
    tmp_path, material, capsys
):
    command = [
        "compare_families",
        f"--text={material / 'text.jsonl.gz'}",
        f"--pairs={material / 'pairs.jsonl'}",
        f"--output={tmp_path / 'out'}",
        "--steps=6",
        "--vocab_size=320",
        "--hidden_tokens=20",
        "--pairs_limit=2",
    ]
    compare_families.main(command)
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    by_name = {subject["name"]: subject for subject in found["subjects"]}
    assert list(by_name) == ["encoder", "decoder", "encoder-decoder"]
    for name, subject in by_name.items():
        assert name in printed
        assert subject["tokens"] == 6 * 32 * 16
        assert subject["hidden"][1] == 20 and subject["pairs"][1] == 4
        assert subject["hidden_accuracy"]["tokens"] == [3 * 512, 6 * 512]
        assert subject["training_loss"]["tokens"][-1] == 6 * 512
        assert (subject["bits_per_byte"] is None) == (name != "decoder")
        assert (subject["second_halves"] is None) == (name == "encoder")
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "<script" not in page and "http" not in page
    ElementTree.parse(tmp_path / "out" / "comparison.svg")

    saved = (tmp_path / "out" / "decoder" / "metrics.jsonl").read_bytes()
    compare_families.main(command)
    assert "finished already" in capsys.readouterr().out
    assert (tmp_path / "out" / "decoder" / "metrics.jsonl").read_bytes() == saved
    again = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert again["subjects"] == found["subjects"]


def flags_of(*arguments):
    compare_families._FLAGS.unparse_flags()
    return ["compare_families", *arguments]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--text=a.txt"], "--output is missing"),
        (["--output=out"], "give --text=FILE, or --store=DIR"),
        (["--output=out", "--text=a", "--store=b"], "give --text=FILE, or --store=DIR"),
        (["--output=out", "--text=no.txt"], r"cannot read no\.txt"),
        (["--output=out", "--store=no"], "no"),
        (["--output=out", "--steps=0", "--text=a"], "steps"),
    ],
)
def test_a_mistake_is_told(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        compare_families.main(flags_of(*arguments))


def test_held_out_text_is_the_last_tenth_or_what_is_named(tmp_path, material):
    text = str(material / "text.jsonl.gz")
    other = tmp_path / "other.txt"
    other.write_text("abba " * 50)
    whole = list(compare_families.read_documents(text))
    own = TokenStore.open(compare_families.make_store([text], [], tmp_path / "own", 320))
    named = TokenStore.open(
        compare_families.make_store([text], [str(other)], tmp_path / "named", 320)
    )
    tokenizer = Tokenizer(own.tokenizer)
    held = own.split("validation")
    tokens = held.read(0, held.num_tokens).tolist()
    assert tokenizer.decode(tokens) == "".join(t[len(t) * 9 // 10 :] for t in whole)
    assert named.split("validation").num_bytes == 250
    assert named.split("train").num_bytes == sum(map(len, whole))


def test_a_line_without_a_text_is_refused(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(UserError, match="line 2 has no field 'text'"):
        list(compare_families.read_documents(str(path)))


def test_a_text_too_small_for_the_vocabulary_names_the_flag(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text("a few words " * 20)
    with pytest.raises(UserError, match="--vocab_size=5000") as caught:
        compare_families.make_store([str(path)], [], tmp_path / "store", 5000)
    assert "config.tokenizer" not in str(caught.value)
