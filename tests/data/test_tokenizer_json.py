"""A tokenizer.json gives the library's own ids, and the bytes of each are known."""

import json

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import Tokenizer as Library

from nanojaxlm.data.tokenizer import StreamDecoder, Tokenizer, load_tokenizer
from nanojaxlm.data.tokenizer_json import pack_files, unpack_files
from nanojaxlm.errors import UserError

CORPUS = ["some plain words here", "more words of a text, don't you?", "café ﬁve 漢字 42"] * 30
TEXTS = (
    "plain words",
    "  two  spaces   three ",
    "line\n\nline\r\n\ttab\n",
    "é 漢字 🙂🙃 ﬁ ½ a\u0301 עברית",
    "",
    "\n",
    " ",
    "some\u2581text 12345",
    "x" * 1000 + "\n" * 50,
)


def gpt2() -> Library:
    """Byte-level BPE; one token begins and ends documents."""
    tokenizer = Library(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def llama3() -> Library:
    """Byte-level BPE behind a regex, BOS by the post-processor, specials after the vocabulary."""
    tokenizer = gpt2()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}{1,3}| ?\p{L}+|[^\p{L}\p{N}]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    bos_id = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", bos_id)]
    )
    return tokenizer


def bert() -> Library:
    tokenizer = Library(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=specials, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def gemma() -> Library:
    """BPE with a token for each byte, spaces as U+2581, one added token that is no special one."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{i:02X}>" for i in range(256))]
    letters = [*"abcdefghijklmnopqrstuvwxyz\u2581", "th", "the", "\u2581the"]
    vocabulary = {name: i for i, name in enumerate([*names, *letters])}
    merges = [("t", "h"), ("th", "e"), ("\u2581", "the")]
    model = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Library(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(names[:4])
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False)])
    return tokenizer


def t5() -> Library:
    """Unigram behind a dummy prefix, EOS after the text, sentinels after the vocabulary."""
    tokenizer = Library(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<extra_id_1>", "<extra_id_0>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


KINDS = {"gpt2": gpt2, "llama3": llama3, "bert": bert, "gemma": gemma, "t5": t5}


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[Library, Tokenizer]]:
    libraries = {name: make() for name, make in KINDS.items()}
    return {name: (lib, Tokenizer(lib.to_str().encode())) for name, lib in libraries.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_the_librarys(kind, made):
    library, tokenizer = made[kind]
    for text in TEXTS:
        assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids
    assert tokenizer.vocab_size == library.get_vocab_size(with_added_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_the_librarys_whole_or_streamed(kind, made):
    library, tokenizer = made[kind]
    for text in TEXTS:
        ids = tokenizer.encode(text)
        expected = library.decode(ids, skip_special_tokens=True)
        assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id]) == expected
        decoder = StreamDecoder(tokenizer, continues=False)
        assert "".join(decoder.push([i]) for i in ids) + decoder.finish() == expected


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "gemma"])
def test_bytes_per_token_sum_to_the_bytes_of_the_text_where_bytes_are_known(kind, made):
    tokenizer = made[kind][1]
    sizes = tokenizer.bytes_per_token()
    assert (sizes.dtype, sizes.shape) == (np.int32, (tokenizer.vocab_size,))
    for text in TEXTS:
        text = text.replace("\u2581", " ") if kind == "gemma" else text
        assert sizes[tokenizer.encode(text)].sum() == len(text.encode())
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert sizes[[tokenizer.bos_id, tokenizer.eos_id]].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("kind", "lossless"),
    [("gpt2", True), ("llama3", True), ("gemma", True), ("bert", False), ("t5", False)],
)
def test_lossless_is_said_of_the_kinds_that_keep_every_byte(kind, lossless, made):
    assert made[kind][1].lossless == lossless


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}},
    ],
)
def test_a_byte_level_tokenizer_that_changes_the_text_is_not_lossless(change, made):
    fields = json.loads(made["gpt2"][1].model) | change
    assert not Tokenizer(json.dumps(fields).encode()).lossless


@pytest.mark.parametrize(
    ("kind", "roles"),
    [
        ("gpt2", ("<|endoftext|>", "<|endoftext|>", None, None)),
        ("llama3", ("<|begin_of_text|>", "<|end_of_text|>", None, None)),
        ("bert", ("[CLS]", "[SEP]", "[PAD]", "[MASK]")),
        ("gemma", ("<bos>", "<eos>", "<pad>", None)),
        ("t5", ("</s>", "</s>", "<pad>", None)),
    ],
)
def test_the_ids_around_a_document_are_found_in_the_file(kind, roles, made):
    tokenizer = made[kind][1]
    found = tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.mask_id
    assert tuple(None if i is None else tokenizer.name(i) for i in found) == roles


def test_the_config_beside_the_file_has_the_first_word(made):
    config = {"bos_token": None, "eos_token": {"content": "[MASK]"}, "pad_token": "[UNK]"}
    files = {
        "tokenizer.json": made["bert"][1].model.decode(),
        "tokenizer_config.json": json.dumps(config),
        "chat_template.jinja": "{{ é }}",
    }
    tokenizer = Tokenizer(pack_files(files))
    assert unpack_files(tokenizer.model) == files
    assert tokenizer.encode("plain words") == made["bert"][1].encode("plain words")
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (2, 4, 1)


def test_names_of_special_tokens_are_read_in_a_text_only_when_asked(made):
    library, base = made["llama3"]
    tokenizer = load_tokenizer(base.model, ("<mask>",))
    text = "some<|begin_of_text|> words <mask>"
    ids = library.encode("some<|begin_of_text|> words ", add_special_tokens=False).ids
    assert base.bos_id in ids
    assert tokenizer.encode(text, special=True) == [*ids, base.vocab_size]
    assert base.bos_id not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([*ids, base.vocab_size], special=True) == text


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("gpt2", "some plain\nwords", [b"some", b" plain", b"\nwords"]),
        ("bert", "some plain, words", [b" some", b" plain", b",", b" words"]),
        ("gemma", "the the\nthe", [b"the", b" the", b"\nthe"]),
        ("t5", "some plain words", [b" some", b" plain", b" words"]),
    ],
)
def test_words_begin_where_the_kind_writes_it(kind, text, words, made):
    tokenizer = made[kind][1]
    begins = tokenizer.begins_word()
    found: list[bytes] = []
    for i in tokenizer.encode(text):
        if begins[i] or not found:
            found.append(b"")
        found[-1] += tokenizer.piece_bytes(i)
    assert found == words


def test_a_text_longer_than_the_files_truncation_is_encoded_whole(made):
    library = Library.from_str(made["gpt2"][1].model.decode())
    library.enable_truncation(8)
    library.enable_padding(length=64)
    tokenizer = Tokenizer(library.to_str().encode())
    assert tokenizer.encode("plain words" * 20) == made["gpt2"][1].encode("plain words" * 20)


def test_an_older_file_that_does_not_name_its_kind_is_read(made):
    fields = json.loads(made["bert"][1].model)
    del fields["model"]["type"]
    older = Tokenizer(json.dumps(fields).encode())
    assert older.begins_word().tolist() == made["bert"][1].begins_word().tolist()
    assert older.encode("some words") == made["bert"][1].encode("some words")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "no tokenizer.json"),
        (b"{}", "no 'model'"),
        (b'{"tokenizer.json": 3}', "no texts"),
        (b'{"model": {"type": "Words"}}', "cannot be read by tokenizers"),
    ],
)
def test_a_file_that_is_none_is_told(data, message):
    with pytest.raises(UserError, match=message):
        Tokenizer(data)


def test_a_file_that_does_not_say_what_ends_a_document_is_told():
    library = Library(models.BPE({"a": 0, "b": 1}, []))
    with pytest.raises(UserError, match='"eos_token"'):
        Tokenizer(library.to_str().encode())
    with pytest.raises(UserError, match="is no JSON"):
        Tokenizer(pack_files({"tokenizer.json": library.to_str(), "tokenizer_config.json": "["}))
