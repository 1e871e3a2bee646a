"""A SentencePiece model and the tokenizer.json written of it: the same ids, the same text."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer as Library

from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop.tokenizer_check import check_tokenizer
from nanojaxlm.interop.tokenizer_conversion import tokenizer_json
from nanojaxlm.interop.tokenizer_files import write_tokenizer

SENTENCE = "the river of a village; defined in winter, then a letter: teacher's 42 gardens"
TEXTS = (
    "",
    " ",
    "\n",
    "a",
    " the river  of   a village ",
    "line\n\nline\r\n\ttab\n\n\n",
    "é 漢字 漢 🙂🙃 ﬁ ½ עברית",
    "12345 in 1842, 3.14",
    "undefined, then defined again <tool> the<tool>the",
    "\u2581the \u2581\u2581 a",
    "<0x0A>the<0x41> <0x41",
    "the river " * 200,
    "winter" + " " * 7 + "a" * 50,
)


def train(**options: Any) -> bytes:
    """A small model, by the lossless settings of the data pipeline unless told otherwise."""
    rng = random.Random(0)
    lines = (" ".join(rng.choices(SENTENCE.split(), k=30)) for _ in range(300))
    code = "".join(f"def f{i}(x):\n    return x < {i} - 0x{i:02X}\n\n" for i in range(100))
    writer = io.BytesIO()
    settings = {
        "model_type": "bpe",
        "vocab_size": 420,
        "hard_vocab_limit": False,
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": -1,
        "max_sentence_length": 2**30,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(  # type: ignore[attr-defined]
        sentence_iterator=iter([*lines, code]), model_writer=writer, **(settings | options)
    )
    return writer.getvalue()


SYMBOLS = {"user_defined_symbols": ["def", "the", "\n\n", "<tool>", "漢字", " of"]}
PUBLISHED = {
    "normalization_rule_name": "nmt_nfkc",
    "add_dummy_prefix": True,
    "remove_extra_whitespaces": True,
    "byte_fallback": False,
    "vocab_size": 120,
}
KINDS: dict[str, dict[str, Any]] = {
    "bpe": {},
    "unigram": {"model_type": "unigram"},
    "bpe, symbols": SYMBOLS,
    "unigram, symbols": {"model_type": "unigram", **SYMBOLS},
    "bpe, padding": {"pad_id": 3, "control_symbols": ["<cls>"]},
    "bpe, no bytes": {"byte_fallback": False, "vocab_size": 120},
    "bpe, dummy prefix": {"add_dummy_prefix": True},
    "bpe, dummy prefix, symbols": {"add_dummy_prefix": True, **SYMBOLS},
    "unigram, as T5": {"model_type": "unigram", **PUBLISHED},
    "bpe, normalized": PUBLISHED,
}


@pytest.fixture(scope="module")
def models() -> dict[str, bytes]:
    trained = {kind: train(**options) for kind, options in KINDS.items()}
    return trained | {"characters": Tokenizer.characters("".join(TEXTS[:8])).model}


def library_of(tokenizer: Tokenizer) -> Library:
    return Library.from_str(json.dumps(tokenizer_json(tokenizer, ([], []))))


@pytest.mark.parametrize("kind", [*KINDS, "characters"])
def test_ids_and_text_are_sentencepieces(kind, models):
    reference = sentencepiece.SentencePieceProcessor(model_proto=models[kind])
    tokenizer = load_tokenizer(models[kind], ("<mask>",))
    library = library_of(tokenizer)
    assert library.get_vocab_size() == reference.get_piece_size() + 1
    rng = random.Random(1)
    drawn = [rng.choices(range(3, reference.get_piece_size()), k=30) for _ in range(50)]
    for text in (*TEXTS, *(tokenizer.decode(ids) for ids in drawn)):
        ids = reference.encode(text)
        assert library.encode(text).ids == ids, text
        if reference.unk_id() not in ids:
            assert library.decode(ids) == reference.decode(ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", [*KINDS, "characters"])
def test_the_check_accepts_what_is_written(kind, models):
    tokenizer = load_tokenizer(models[kind], ("<mask>", "<extra_id_0>"))
    check_tokenizer(tokenizer, json.dumps(tokenizer_json(tokenizer, ([1], [2]))))


def test_names_of_control_and_extra_tokens_are_read_in_a_text(models):
    tokenizer = load_tokenizer(models["bpe, padding"], ("<mask>", "<extra_id_0>"))
    size = tokenizer.base_size
    ids = library_of(tokenizer).encode("<mask>the <pad><extra_id_0></s><cls>").ids
    the = tokenizer.encode("the ")
    assert ids == [size, *the, 3, size + 1, 2, tokenizer.special_id("<cls>")]
    assert library_of(tokenizer).decode(ids) == "the "


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_name_of_a_byte_piece_in_a_text_is_text(kind, models):
    tokenizer = Tokenizer(models[kind])
    ids = library_of(tokenizer).encode("<0x0A>").ids
    assert len(ids) >= 3
    assert library_of(tokenizer).decode(ids) == "<0x0A>"


def test_ids_around_a_text_are_put_there_unless_told_not_to(models):
    tokenizer = Tokenizer(models["bpe"])
    library = Library.from_str(json.dumps(tokenizer_json(tokenizer, ([1], [2]))))
    the, river = tokenizer.encode("the"), tokenizer.encode("river")
    assert library.encode("the").ids == [1, *the, 2]
    assert library.encode("the", "river").ids == [1, *the, 2, 1, *river, 2]
    assert library.encode("the", add_special_tokens=False).ids == the


def test_segmentations_of_equal_score_may_differ(models):
    """49 spaces are 3 pieces of 16 and 1 of 1 in any order; float32 decides in SentencePiece."""
    tokenizer = Tokenizer(models["unigram"])
    fields = tokenizer_json(tokenizer, ([], []))
    check_tokenizer(tokenizer, json.dumps(fields), [" " * i for i in range(200)])


def test_another_segmentation_is_refused_with_the_text(models):
    tokenizer = Tokenizer(models["bpe"])
    fields = tokenizer_json(tokenizer, ([], []))
    merges = fields["model"]["merges"]
    river = tokenizer.name(tokenizer.encode("river")[0])
    fields["model"]["merges"] = [pair for pair in merges if "".join(pair) != river]
    with pytest.raises(UserError, match=r"differs from it on 'river': id 0 is \["):
        check_tokenizer(tokenizer, json.dumps(fields), ["", "a", "river"])
    fields["model"]["merges"] = merges[::-1]
    with pytest.raises(UserError, match="differs from it on"):
        check_tokenizer(tokenizer, json.dumps(fields))
    unigram = Tokenizer(models["unigram"])
    fields = tokenizer_json(unigram, ([], []))
    fields["model"]["vocab"][unigram.encode("river")[0]][1] -= 30
    with pytest.raises(UserError, match="differs from it on 'river'"):
        check_tokenizer(unigram, json.dumps(fields), ["river"])


def test_another_text_and_another_size_are_refused(models):
    tokenizer = Tokenizer(models["bpe"])
    fields = tokenizer_json(tokenizer, ([], []))
    text = json.dumps(fields | {"decoder": {"type": "Fuse"}})
    with pytest.raises(UserError, match=r"'e r': comes back as 'e▁r' instead of 'e r'"):
        check_tokenizer(tokenizer, text, ["", "e r"])
    with pytest.raises(UserError, match="has 420 ids, the tokenizer 421"):
        check_tokenizer(load_tokenizer(tokenizer.model, ("<mask>",)), json.dumps(fields))
    with pytest.raises(UserError, match="cannot be read by tokenizers"):
        check_tokenizer(tokenizer, "{}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "word", "byte_fallback": False}, "whole words"),
        ({"treat_whitespace_as_suffix": True}, "suffixes"),
    ],
)
def test_models_that_have_no_counterpart_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        tokenizer_json(Tokenizer(train(**options)), ([], []))


def test_a_model_with_unused_pieces_is_refused(models):
    base = Tokenizer(models["bpe"]).base
    base.proto.pieces[400].type = 5
    with pytest.raises(UserError, match="unused pieces"):
        tokenizer_json(Tokenizer(base.proto.SerializeToString()), ([], []))


@pytest.mark.interop
@pytest.mark.parametrize("kind", [*KINDS, "characters"])
def test_transformers_reads_the_folder_and_gives_our_ids(kind, models, tmp_path: Path):
    tokenizer = load_tokenizer(models[kind], ("<mask>", "<extra_id_0>"))
    check_with_transformers(tokenizer, tmp_path, "llama")


@pytest.mark.interop
@pytest.mark.parametrize(
    "model_type",
    [
        *("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "bert"),
        *("mixtral", "qwen2_moe", "qwen3_moe", "dots1", "roberta", "modernbert", "t5", "t5gemma"),
        None,
    ],
)
def test_transformers_does_so_beside_a_model_of_any_family(model_type, models, tmp_path: Path):
    tokenizer = load_tokenizer(models["bpe, symbols"], ("<mask>",))
    check_with_transformers(tokenizer, tmp_path, model_type)


def check_with_transformers(tokenizer: Tokenizer, folder: Path, model_type: str | None) -> None:
    from transformers import AutoTokenizer

    if model_type is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    write_tokenizer(folder, tokenizer, model_type=model_type, model_max_length=512)
    theirs = AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == tokenizer.vocab_size
    for text in (*TEXTS, "<mask>the</s> <unk>"):
        ids = tokenizer.encode(text, special=True)
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids, text
        assert theirs(text)["input_ids"] == [1, *ids]
        if tokenizer.unk_id not in ids:
            assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
    found = theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id, theirs.mask_token_id
    assert found == (1, 2, 0, tokenizer.special_id("<mask>"))
    assert theirs.pad_token_id == (2 if tokenizer.pad_id is None else tokenizer.pad_id)
    assert theirs.model_max_length == 512
