"""A tokenizer.json made of a vocabulary is the one that transformers makes of the same files."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers, trainers

from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop.tokenizer_files import read_tokenizer, write_tokenizer

CORPUS = ["The river of a village, défined in winter: teacher's 42 gardens; don't!"] * 20
TEXTS = (
    "",
    "The river of a Village",
    " two  spaces\n\nand\tlines \r\n",
    "défined De\u0301fined \u212b 漢字 🙂 don't, 12345 x",
    "winter<mask> <s>a</s> [MASK] [SEP]<|endoftext|>b<|im_end|> <tool>c",
)


def word_piece_folder(folder: Path, **config: Any) -> Path:
    """vocab.txt, as BERT's."""
    library = Library(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=config.get("do_lower_case", True))
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=names, show_progress=False)
    library.train_from_iterator(CORPUS, trainer)
    library.model.save(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def byte_pair_folder(folder: Path, names: list[str], **config: Any) -> Path:
    """vocab.json and merges.txt, the named tokens first."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(CORPUS, trainer)
    library.model.save(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def qwen_folder(folder: Path) -> Path:
    """Its special tokens follow the vocabulary, and stand in the config alone."""
    byte_pair_folder(folder, [])
    size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    names = {"<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True, "<tool>": False}
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    added = {
        str(size + i): {"content": name, "special": special, **flags}
        for i, (name, special) in enumerate(names.items())
    }
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": added,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


FOLDERS = {
    "bert": lambda folder: word_piece_folder(folder, tokenizer_class="BertTokenizer"),
    "bert, cased": lambda folder: word_piece_folder(
        folder, tokenizer_class="BertTokenizer", do_lower_case=False
    ),
    "gpt2": lambda folder: byte_pair_folder(
        folder, ["<|endoftext|>"], tokenizer_class="GPT2Tokenizer"
    ),
    "roberta": lambda folder: byte_pair_folder(folder, ROBERTA, tokenizer_class="RobertaTokenizer"),
    "qwen2": qwen_folder,
}


@pytest.mark.parametrize(
    ("kind", "roles", "around"),
    [
        ("bert", ("[CLS]", "[SEP]", "[PAD]", "[MASK]"), (["[CLS]"], ["[SEP]"])),
        ("gpt2", ("<|endoftext|>", "<|endoftext|>", None, None), ([], [])),
        ("roberta", ("<s>", "</s>", "<pad>", "<mask>"), (["<s>"], ["</s>"])),
        ("qwen2", ("<|im_end|>", "<|im_end|>", "<|endoftext|>", None), ([], [])),
    ],
)
def test_the_ids_of_each_kind_have_their_roles(kind, roles, around, tmp_path):
    tokenizer = load_tokenizer(read_tokenizer(FOLDERS[kind](tmp_path)))
    found = tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.mask_id
    assert tuple(None if i is None else tokenizer.name(i) for i in found) == roles
    library = Library.from_str(json.loads(tokenizer.model)["tokenizer.json"])
    before, after = around
    plain = library.encode("river", add_special_tokens=False).tokens
    assert library.encode("river").tokens == [*before, *plain, *after]


def test_a_word_piece_vocabulary_lowers_case_unless_told_not_to(tmp_path):
    for name, config, text in (
        ("lower", {}, "the river"),
        ("cased", {"do_lower_case": False}, "The river"),
    ):
        (tmp_path / name).mkdir()
        folder = word_piece_folder(tmp_path / name, **config)
        tokenizer = load_tokenizer(read_tokenizer(folder))
        assert tokenizer.decode(tokenizer.encode("The  river")) == text


@pytest.mark.parametrize("kind", ["gpt2", "roberta"])
def test_byte_pairs_keep_every_byte(kind, tmp_path):
    tokenizer = load_tokenizer(read_tokenizer(FOLDERS[kind](tmp_path)))
    assert tokenizer.lossless
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_pair_that_follows_the_merges_is_one_piece(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2, "</s>": 3, "abab": 4}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\nab ab\n")
    tokenizer = load_tokenizer(read_tokenizer(tmp_path))
    assert tokenizer.encode("abababa") == [4, 2, 0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocab.txt": "a\nb\n"}, r"vocab.txt has no \[UNK\], \[CLS\], \[SEP\]"),
        ({"vocab.json": "{", "merges.txt": ""}, "do not belong together"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b\n"}, "do not belong together"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a\n"}, "do not belong together"),
        (
            {
                "vocab.json": '{"a": 0}',
                "merges.txt": "",
                "tokenizer_config.json": '{"added_tokens_decoder": {"7": {"content": "</s>"}}}',
            },
            "gives '</s>' the id 7, but the vocabulary",
        ),
    ],
)
def test_files_that_are_not_of_one_model_are_refused(files, message, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_tokenizer(tmp_path)


@pytest.mark.interop
@pytest.mark.parametrize("kind", FOLDERS)
def test_transformers_makes_the_same_ids_of_the_files_and_of_the_export(kind, tmp_path):
    from transformers import AutoTokenizer

    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        model_type = kind.split(",")[0]
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer = load_tokenizer(read_tokenizer(FOLDERS[kind](here)))
    write_tokenizer(there, tokenizer)
    original, exported = (AutoTokenizer.from_pretrained(folder) for folder in (here, there))
    for text in TEXTS:
        ids = original(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.encode(text, special=True) == ids
        assert exported(text)["input_ids"] == original(text)["input_ids"]
        expected = original.decode(ids, skip_special_tokens=True)
        assert exported.decode(ids, skip_special_tokens=True) == expected
        if tokenizer.unk_id not in ids:
            assert tokenizer.decode(ids) == expected
