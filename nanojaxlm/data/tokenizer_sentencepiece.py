"""A SentencePiece model as a tokenizer sees it: the text that each id stands for."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from nanojaxlm.errors import UserError

_proto: Any = sentencepiece_model_pb2  # its classes are made at import, unseen by type checkers
SPACE = "\u2581"  # how SentencePiece writes a space inside a piece
UNKNOWN = "\ufffd"  # what an id without known text reads as


class SentencePieceModel:
    """What `Tokenizer` asks of a model, read off a SentencePiece proto; see there for the fields.

    Lossless means: no normalization, no dummy prefix, no whitespace removed.

    Raises:
        UserError: no SentencePiece model, or one without EOS.
    """

    def __init__(self, data: bytes):
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=data)
            self.proto: Any = _proto.ModelProto.FromString(data)
        except Exception as error:  # protobuf and SentencePiece each raise types of their own
            raise UserError(
                f"the tokenizer is no SentencePiece model and no tokenizer.json ({len(data)} "
                "bytes); name a file that SentencePiece has trained, or a tokenizer.json"
            ) from error
        processor, normalizer = self._processor, self.proto.normalizer_spec
        self.names: tuple[str, ...] = tuple(piece.piece for piece in self.proto.pieces)
        self.eos_id: int = processor.eos_id()
        self.bos_id: int = processor.bos_id() if processor.bos_id() >= 0 else self.eos_id
        if self.eos_id < 0:
            raise UserError(
                "the tokenizer's SentencePiece model has no EOS; train it with bos_id=1 and "
                "eos_id=2"
            )
        self.unk_id: int | None = processor.unk_id()
        self.specials = {
            name: i
            for i, name in enumerate(self.names)
            if processor.is_control(i) or processor.is_unknown(i)
        }
        pad_id: int = processor.pad_id()
        self.pad_id = pad_id if pad_id >= 0 else self.specials.get("<pad>")
        self.mask_id = self.specials.get("<mask>", self.specials.get("[MASK]"))
        self.lossless = not (
            normalizer.precompiled_charsmap
            or normalizer.add_dummy_prefix
            or normalizer.remove_extra_whitespaces
        )
        self.has_dummy_prefix: bool = normalizer.add_dummy_prefix
        self.pieces = tuple(self._piece_bytes(i) for i in range(len(self.names)))
        self.begins_word = np.array([piece[:1].isspace() for piece in self.pieces])

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)

    def encode_special(self, text: str) -> list[int]:
        """As encode, but the names of control ids in the text become those ids."""
        ids: list[int] = []
        for part in split_at(text, self.specials):
            ids += [part] if isinstance(part, int) else self.encode(part)
        return ids

    def _piece_bytes(self, i: int) -> bytes:
        if self._processor.is_byte(i):
            return bytes([int(self.names[i][3:5], 16)])  # "<0x0A>"
        if self._processor.is_control(i):
            return b""
        if self._processor.is_unknown(i):
            return UNKNOWN.encode()
        return self.names[i].replace(SPACE, " ").encode()


def split_at(text: str, ids: dict[str, int]) -> Iterator[str | int]:
    """The text's parts, none of them empty, and the ids of the names between them; of names that
    begin at one place the longest counts."""
    if not ids:
        yield from [text] if text else []
        return
    pattern = "|".join(re.escape(name) for name in sorted(ids, key=len, reverse=True))
    at = 0
    for match in re.finditer(pattern, text):
        if match.start() > at:
            yield text[at : match.start()]
        yield ids[match.group()]
        at = match.end()
    if at < len(text):
        yield text[at:]


def character_model(text: str) -> bytes:
    """A model with one id for each distinct character of `text`, newlines and tabs included.

    Written as a model directly: SentencePiece's trainer splits at newlines, drops long lines.

    Raises:
        UserError: a NUL in the text, which SentencePiece cannot hold.
    """
    if "\0" in text:
        raise UserError(
            f"character {text.index(chr(0))} of the text is NUL; name a text file, or remove it"
        )
    model = _proto.ModelProto()
    types = _proto.ModelProto.SentencePiece.Type
    specials = (("<unk>", types.UNKNOWN), ("<s>", types.CONTROL), ("</s>", types.CONTROL))
    for piece, kind in specials:
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for character in sorted(set(text.replace(SPACE, " "))):
        piece = SPACE if character == " " else character
        model.pieces.add(piece=piece, score=0.0, type=types.NORMAL)
    trainer = model.trainer_spec
    trainer.model_type = _proto.TrainerSpec.ModelType.CHAR
    trainer.vocab_size = len(model.pieces)
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1
    trainer.unk_surface = UNKNOWN
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    return model.SerializeToString()
