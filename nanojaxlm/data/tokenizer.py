"""The tokenizer: a SentencePiece model or a tokenizer.json, seen as the bytes of each id.

Of a lossless one, the bytes of a text's ids, joined, are the text, which makes bits per byte exact
on any part of it. One exception is SentencePiece's own: U+2581 in a text is the same as a space.
Published models often change the text (Llama 2 puts a space before it, BERT lowers its case): their
bytes are those of the text as the tokenizer gives it back. They load all the same, since a model
that was trained with one is of no use without it; `lossless` says which kind it is, and the data
pipeline, which makes tokenizers, makes lossless ones only. Imports no jax.
"""

import codecs
from collections.abc import Iterable, Sequence

import numpy as np

from nanojaxlm.data.tokenizer_json import JsonModel
from nanojaxlm.data.tokenizer_sentencepiece import SentencePieceModel, character_model, split_at
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import tokenizer_fingerprint


class Tokenizer:
    """A SentencePiece model or a tokenizer.json, and tokens that an objective adds after its ids.

    Attributes:
        model: its bytes, as token stores and checkpoints carry them. fingerprint: their sha256 hex.
        base: the model behind it. base_size: number of its ids. extra_tokens: names of the next.
        vocab_size: number of ids, the extra ones included.
        bos_id, eos_id: the ids around a document, the same one where the model has no BOS.
        unk_id, pad_id, mask_id: None where the model has none.
        lossless: decode(encode(text)) is the text (of characters that the model knows).

    Raises:
        UserError: neither kind of model, one without EOS, or an extra token that it has already.
    """

    def __init__(self, model: bytes, extra_tokens: Sequence[str] = ()):
        self.model = model
        self.fingerprint = tokenizer_fingerprint(model)
        self.base: SentencePieceModel | JsonModel = (
            JsonModel(model) if model[:1] == b"{" else SentencePieceModel(model)
        )
        self.base_size = len(self.base.names)
        self.extra_tokens = tuple(extra_tokens)
        self.vocab_size = self.base_size + len(self.extra_tokens)
        self.bos_id, self.eos_id = self.base.bos_id, self.base.eos_id
        self.unk_id, self.pad_id = self.base.unk_id, self.base.pad_id
        self.mask_id, self.lossless = self.base.mask_id, self.base.lossless
        self._extra_ids = {name: self.base_size + i for i, name in enumerate(self.extra_tokens)}
        known = set(self.base.names)
        for name in self.extra_tokens:
            if name in known or not name:
                raise UserError(
                    f"extra token {name!r} is an id of the tokenizer already "
                    f"({self.fingerprint[:8]}); give that id to the objective instead"
                )
        if len(self._extra_ids) < len(self.extra_tokens):
            raise UserError(f"extra tokens are named twice: {', '.join(self.extra_tokens)}")
        self._bytes = self.base.pieces + (b"",) * len(self.extra_tokens)

    @classmethod
    def characters(cls, text: str) -> "Tokenizer":
        """A model with one id for each distinct character of `text`, newlines and tabs included.

        Raises:
            UserError: a NUL in the text, which SentencePiece cannot hold.
        """
        return cls(character_model(text))

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of `text`, without BOS or EOS. Where no id stands for a character: unk_id.

        Args:
            special: the names of control ids and of extra tokens in the text ("</s>", "<mask>")
                become those ids; otherwise they are text as any other.
        """
        if not special:
            return self.base.encode(text)
        ids: list[int] = []
        for part in split_at(text, self._extra_ids):
            ids += [part] if isinstance(part, int) else self.base.encode_special(part)
        return ids

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """The text of the ids; bytes that are no UTF-8 read as U+FFFD.

        A space that the tokenizer puts before every text is left out again.

        Args:
            special: control ids and extra tokens read as their names; otherwise as nothing.
        """
        decoder = StreamDecoder(self, continues=False)
        if not special:
            return decoder.push(ids) + decoder.finish()
        text = ""
        for i in ids:
            if self._bytes[i]:
                text += decoder.push([i])
            else:
                text += decoder.finish() + self.name(i)
        return text + decoder.finish()

    def bytes_per_token(self) -> np.ndarray:
        """int32 [vocab_size]: how many UTF-8 bytes of text each id stands for.

        Summed over a text's ids: the bytes of the text, of a lossless tokenizer exactly. A piece
        counts its bytes (U+2581 in it is one space), a byte piece 1, a control id 0. The unknown id
        counts 0: its text is not known.
        """
        sizes = np.array([len(piece) for piece in self._bytes], np.int32)
        if self.unk_id is not None:
            sizes[self.unk_id] = 0
        return sizes

    def piece_bytes(self, i: int) -> bytes:
        """The UTF-8 bytes that id `i` stands for within a text; of some, a part of a character."""
        return self._bytes[i]

    def begins_word(self) -> np.ndarray:
        """bool [vocab_size]: a new word starts at this id.

        The id's text begins with white space (in a WordPiece vocabulary: it has no "##"), or the id
        stands for no text at all. The first id of a document starts a word too, whichever it is.
        """
        no_text = np.array([not piece for piece in self._bytes])
        extra = np.ones(len(self.extra_tokens), bool)
        return np.concatenate([self.base.begins_word, extra]) | no_text

    def name(self, i: int) -> str:
        """How id `i` is written in the vocabulary: "</s>", "▁the", "<mask>"."""
        if i < self.base_size:
            return self.base.names[i]
        return self.extra_tokens[i - self.base_size]

    def special_id(self, name: str) -> int:
        """The id of an extra token or a control id.

        Raises:
            UserError: there is none of that name.
        """
        specials = self.base.specials | self._extra_ids
        if name not in specials:
            raise UserError(
                f"tokenizer {self.fingerprint[:8]} has no special token {name!r}; it has "
                f"{', '.join(specials) or 'none'}"
            )
        return specials[name]


def load_tokenizer(data: bytes, extra_tokens: Sequence[str] = ()) -> Tokenizer:
    """The tokenizer of a token store's or a checkpoint's bytes; see Tokenizer."""
    return Tokenizer(data, extra_tokens)


class StreamDecoder:
    """Text from ids as they arrive: what decode() gives, but a character only once it is whole.

    continues: text stands before these ids already, so that their first space is one.
    """

    def __init__(self, tokenizer: Tokenizer, *, continues: bool = True):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._drops_space = tokenizer.base.has_dummy_prefix and not continues

    def push(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; bytes of a character not yet whole wait."""
        data = b"".join(self._tokenizer.piece_bytes(i) for i in ids)
        if data and self._drops_space:
            data, self._drops_space = data.removeprefix(b" "), False
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What still waits, as U+FFFD; the decoder may then be used for more text."""
        return self._decoder.decode(b"", final=True)
