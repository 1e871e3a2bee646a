"""A tokenizer.json of the `tokenizers` library as a tokenizer sees it: the bytes of each id.

Its bytes are either the file itself, or a folder's tokenizer files as one JSON object, name to
text: what is known of the ids (which one ends a document) stands in tokenizer_config.json, and an
export gives every file back as it was.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import tokenizers

from nanojaxlm.errors import UserError

TOKENIZER_FILE, CONFIG_FILE, SPECIALS_FILE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
# What ids are called where no file says it, in the order in which they are looked for.
_NAMES = {
    "bos": ("<s>", "<bos>", "[CLS]", "<|begin_of_text|>", "<|startoftext|>"),
    "eos": ("</s>", "<eos>", "[SEP]", "<|end_of_text|>", "<|endoftext|>"),
    "unk": ("<unk>", "[UNK]"),
    "pad": ("<pad>", "[PAD]"),
    "mask": ("<mask>", "[MASK]"),
}
# A text comes back from a lossless tokenizer: these show normalization, prefixes and lost bytes.
_PROBES = (
    "Words, wORDS  and 123;\r\n\n\tdon't .",
    " leading, trailing ",
    "a\u0301 \u00e1 \u212b \u2126 \ufb01 \u00bd \uf900 \u1100\u1161 \u00a0x\u200b\u3000",
    "\u6f22\u5b57 \U0001f642\u200d\U0001f469\U0001f3fd \u05d0\u05d1\u202e \ue000\U000f0000",
    "".join(map(chr, (*range(256), *range(256, 0xD800, 61), *range(0xE000, 0x11000, 61)))),
)
_BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")


def pack_files(files: Mapping[str, str]) -> bytes:
    """A folder's tokenizer files, name to text, as the bytes of one tokenizer."""
    return json.dumps(dict(sorted(files.items())), ensure_ascii=False, indent=0).encode()


def unpack_files(data: bytes) -> dict[str, str]:
    """The files, name to text, of a tokenizer's bytes; the text of a lone tokenizer.json is its
    own.

    Raises:
        UserError: neither.
    """
    try:
        fields = json.loads(data)
        if TOKENIZER_FILE in fields:
            files = fields
        elif "model" in fields:
            files = {TOKENIZER_FILE: data.decode()}
        else:
            raise ValueError("it has no 'model'")
        if all(isinstance(text, str) for text in files.values()):
            return files
        raise ValueError("its files are no texts")
    except (ValueError, TypeError) as error:
        raise UserError(
            f"the tokenizer ({len(data)} bytes) is no tokenizer.json: {error}; name a file that "
            "the tokenizers library has saved"
        ) from error


class JsonModel:
    """What `Tokenizer` asks of a model, read off a tokenizer.json; see there for the fields.

    BOS and EOS are what tokenizer_config.json calls bos_token (or cls_token) and eos_token (or
    sep_token), else what the post-processor puts around a text, else tokens of known names. A
    tokenizer without BOS has EOS in its place: one id between documents, as in GPT-2.

    Raises:
        UserError: no tokenizer.json of the library's, or no EOS to be found.
    """

    def __init__(self, data: bytes):
        self.files = unpack_files(data)
        self._tokenizer = self._make()
        self._json: dict[str, Any] = json.loads(self.files[TOKENIZER_FILE])
        if "type" not in self._json["model"]:  # older files leave it to the fields
            self._json = json.loads(self._tokenizer.to_str())
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        names = {i: name for name, i in vocabulary.items()}
        added = self._tokenizer.get_added_tokens_decoder()
        self.names: tuple[str, ...] = tuple(names.get(i, "") for i in range(max(names) + 1))
        self.specials = {token.content: i for i, token in added.items() if token.special}
        self._set_roles(vocabulary)
        decoders = [part["type"] for part in _parts(self._json.get("decoder"), "decoders")]
        self._byte_level, self._byte_fallback = "ByteLevel" in decoders, "ByteFallback" in decoders
        decoder = self._tokenizer.decoder
        self.has_dummy_prefix = decoder is None or any(
            decoder.decode(["a", name])[1:] == f" {decoder.decode([name])}"
            for name in ("a", "\u2581a")
        )
        self.pieces = tuple(self._piece_bytes(i) for i in range(len(self.names)))
        self.begins_word = self._word_starts()
        self.lossless = all(
            b"".join(self.pieces[i] for i in self.encode(probe)) == probe.encode()
            for probe in _PROBES
        )

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_special(self, text: str) -> list[int]:
        """As encode, but the names of special ids in the text become those ids."""
        return self._special_tokenizer.encode(text, add_special_tokens=False).ids

    @cached_property
    def _special_tokenizer(self) -> tokenizers.Tokenizer:
        tokenizer = self._make()
        tokenizer.encode_special_tokens = False
        return tokenizer

    def _make(self) -> tokenizers.Tokenizer:
        try:
            tokenizer = tokenizers.Tokenizer.from_str(self.files[TOKENIZER_FILE])
        except Exception as error:  # the library raises Exception itself
            raise UserError(
                f"the tokenizer.json cannot be read by tokenizers {tokenizers.__version__}: "
                f"{error}; save it again with that version, or install the one that saved it"
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # as text, that is
        return tokenizer

    def _set_roles(self, vocabulary: Mapping[str, int]) -> None:
        config = {**self._read(SPECIALS_FILE), **self._read(CONFIG_FILE)}
        first, last = _around(self._json.get("post_processor"))

        def find(role: str, *others: str | None) -> int | None:
            fields = {"bos": ("bos", "cls"), "eos": ("eos", "sep")}.get(role, (role,))
            told = [config.get(f"{field}_token") for field in fields]
            named = [token["content"] if isinstance(token, dict) else token for token in told]
            for name in (*named, *others, *_NAMES[role]):
                if name is not None and name in vocabulary:
                    return vocabulary[name]
            return None

        eos_id = find("eos", last)
        if eos_id is None:
            raise UserError(
                "the tokenizer.json does not say which token ends a document; put a "
                'tokenizer_config.json beside it with "eos_token" (and "bos_token")'
            )
        bos_id = find("bos", first)
        self.eos_id: int = eos_id
        self.bos_id: int = eos_id if bos_id is None else bos_id
        self.pad_id, self.mask_id = find("pad"), find("mask")
        unknown = self._json["model"].get("unk_token")
        if self._json["model"].get("unk_id") is not None:
            self.unk_id = int(self._json["model"]["unk_id"])
        else:
            self.unk_id = vocabulary.get(unknown) if unknown else None

    def _read(self, name: str) -> dict[str, Any]:
        try:
            fields = json.loads(self.files.get(name, "{}"))
            if not isinstance(fields, dict):
                raise ValueError("no object")
            return {key: value for key, value in fields.items() if value is not None}
        except ValueError as error:
            raise UserError(f"{name} is no JSON: {error}; mend the file") from error

    def _piece_bytes(self, i: int) -> bytes:
        name = self.names[i]
        if not name or name in self.specials:
            return b""
        if self._byte_level:
            try:
                return bytes(_BYTES[character] for character in name)
            except KeyError:  # an added token that is written as it is
                return name.encode()
        if self._byte_fallback and (match := _BYTE_NAME.fullmatch(name)):
            return bytes([int(match.group(1), 16)])
        if self._tokenizer.decoder is None:
            return b" " + name.encode()
        return self._tokenizer.decoder.decode(["a", name])[1:].encode()

    def _word_starts(self) -> np.ndarray:
        if self._json["model"]["type"] == "WordPiece":
            prefix = self._json["model"]["continuing_subword_prefix"]
            return np.array([not name.startswith(prefix) for name in self.names])
        return np.array([piece[:1].isspace() for piece in self.pieces])


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2): itself where it
    prints, else the next from U+0100 on."""
    printing = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (byte for byte in range(256) if byte not in printing)
    return {chr(byte): byte for byte in printing} | {
        chr(256 + i): byte for i, byte in enumerate(others)
    }


_BYTES = _byte_characters()


def _parts(spec: Mapping[str, Any] | None, plural: str) -> Iterator[Mapping[str, Any]]:
    """A component, or those of a sequence of them, in order."""
    if spec is None:
        return
    if spec["type"] == "Sequence":
        for part in spec[plural]:
            yield from _parts(part, plural)
    else:
        yield spec


def _around(post_processor: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    """The special tokens that stand before and after a single text."""
    for part in _parts(post_processor, "processors"):
        if part["type"] in ("BertProcessing", "RobertaProcessing"):
            return part["cls"][0], part["sep"][0]
        if part["type"] == "TemplateProcessing":
            names = [item.get("SpecialToken", {}).get("id") for item in part["single"]]
            return (names or [None])[0], (names or [None])[-1]
    return None, None
