"""The tokenizer: a lossless SentencePiece model, seen as the UTF-8 bytes that each id stands for.

Lossless means: no normalization, no dummy prefix, no whitespace removed. Then the bytes of a text's
ids, joined, are the text, which makes bits per byte exact on any part of it. One exception is
SentencePiece's own: U+2581 in a text is the same as a space. Imports no jax.
"""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from nanojaxlm.errors import UserError
from nanojaxlm.token_store import tokenizer_fingerprint

_proto: Any = sentencepiece_model_pb2  # its classes are made at import, unseen by type checkers
_SPACE = "\u2581"  # how SentencePiece writes a space inside a piece
_UNKNOWN = "\ufffd"  # what an id without known text reads as


class Tokenizer:
    """A SentencePiece model.

    Attributes:
        model: the serialized model. fingerprint: its sha256 hex.
        vocab_size: number of ids. bos_id, eos_id: the ids around a document.

    Raises:
        UserError: no SentencePiece model, one that is not lossless, or one without BOS and EOS.
    """

    def __init__(self, model: bytes):
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            normalizer = _proto.ModelProto.FromString(model).normalizer_spec
        except Exception as error:  # protobuf and SentencePiece each raise types of their own
            raise UserError(
                f"the tokenizer is no SentencePiece model ({len(model)} bytes); name a file that "
                "SentencePiece has trained"
            ) from error
        self.model = model
        self.fingerprint = tokenizer_fingerprint(model)
        self.vocab_size: int = self._processor.get_piece_size()
        self.bos_id: int = self._processor.bos_id()
        self.eos_id: int = self._processor.eos_id()
        if (
            normalizer.precompiled_charsmap
            or normalizer.add_dummy_prefix
            or normalizer.remove_extra_whitespaces
        ):
            raise UserError(
                f"tokenizer {self.fingerprint[:8]} changes the text it encodes; train it with "
                "normalization_rule_name=identity, add_dummy_prefix=false and "
                "remove_extra_whitespaces=false"
            )
        if min(self.bos_id, self.eos_id) < 0:
            raise UserError(
                f"tokenizer {self.fingerprint[:8]} has no BOS or no EOS; train it with bos_id=1 "
                "and eos_id=2"
            )
        self._bytes = tuple(self._piece_bytes(i) for i in range(self.vocab_size))

    @classmethod
    def characters(cls, text: str) -> "Tokenizer":
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
        for character in sorted(set(text.replace(_SPACE, " "))):
            piece = _SPACE if character == " " else character
            model.pieces.add(piece=piece, score=0.0, type=types.NORMAL)
        trainer = model.trainer_spec
        trainer.model_type = _proto.TrainerSpec.ModelType.CHAR
        trainer.vocab_size = len(model.pieces)
        trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1
        trainer.unk_surface = _UNKNOWN
        normalizer = model.normalizer_spec
        normalizer.name = "identity"
        normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
        normalizer.escape_whitespaces = True
        return cls(model.SerializeToString())

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without BOS or EOS. A character that no id stands for becomes 0."""
        return self._processor.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; control ids have none. Bytes that are no UTF-8 read as U+FFFD."""
        return b"".join(self._bytes[i] for i in ids).decode("utf-8", errors="replace")

    def bytes_per_token(self) -> np.ndarray:
        """int32 [vocab_size]: how many UTF-8 bytes of text each id stands for.

        A piece counts its bytes (U+2581 in it is one space), a byte piece 1, a control id 0. The
        unknown id counts 0: its text is not known. Summed over a text's ids: the text's bytes.
        """
        unknown = self._processor.unk_id()
        return np.array(
            [0 if i == unknown else len(piece) for i, piece in enumerate(self._bytes)], np.int32
        )

    def piece_bytes(self, i: int) -> bytes:
        """The UTF-8 bytes that id `i` stands for; of a byte piece, a part of a character."""
        return self._bytes[i]

    def _piece_bytes(self, i: int) -> bytes:
        piece = self._processor.id_to_piece(i)
        if self._processor.is_byte(i):
            return bytes([int(piece[3:5], 16)])  # "<0x0A>"
        if self._processor.is_control(i):
            return b""
        if self._processor.is_unknown(i):
            return _UNKNOWN.encode()
        return piece.replace(_SPACE, " ").encode()


class StreamDecoder:
    """Text from ids as they arrive: what decode() gives, but a character only once it is whole."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, ids: Sequence[int]) -> str:
        """The text that these ids complete; bytes of a character not yet whole wait."""
        return self._decoder.decode(b"".join(self._tokenizer.piece_bytes(i) for i in ids))

    def finish(self) -> str:
        """What still waits, as U+FFFD; the decoder may then be used for another text."""
        return self._decoder.decode(b"", final=True)
