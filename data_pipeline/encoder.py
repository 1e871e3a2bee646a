"""Texts as the ids of a SentencePiece model, each different word encoded once.

BPE joins neighbours into pieces, best piece first. Two characters that are neighbours in no piece
are never joined, nor does anything reach across them, so that a text may be cut between them and
its parts encoded alone: the ids are the same. Before a space and after a line's end there are
mostly such places, and between them natural text repeats itself: new parts are encoded, a tenth of
its bytes or less, and the others are looked up.

A unigram model weighs whole texts in float32, so that parts alone could give other ids; and a model
that normalizes looks across. Their texts are encoded whole.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

_proto: Any = sentencepiece_model_pb2  # its classes are made at import, unseen by type checkers
SPACE = "\u2581"  # how SentencePiece writes a space inside a piece
# Bytes of the longest part; a longer one is cut there, ids or no. SentencePiece takes 150 bytes of
# memory for each, and a page of base64 has no space.
MAX_PART_BYTES = 2**20
# Parts that an encoder keeps from batch to batch; what Python needs for one that has no byte.
MAX_KNOWN_BYTES, OVERHEAD = 48 * 2**20, 150


@dataclass(frozen=True)
class Encoded:
    """What a tokenizer made of N texts.

    tokens: int32, the ids of all texts one after another, BOS and EOS around each; offsets: int64
    [N + 1]; same: bool [N], whether the ids give the text back; kept: bool [N]; changed_at:
    float64 [N], the first character of a text that is not kept which does not come back, else NaN;
    num_bytes: int64 [N], UTF-8 bytes that the ids stand for; characters, words: int64 [N], words
    being what white space separates.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    same: np.ndarray
    kept: np.ndarray
    changed_at: np.ndarray
    num_bytes: np.ndarray
    characters: np.ndarray
    words: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text: int64 [N]."""
        return np.diff(self.offsets)

    def by_language(self, languages: Sequence[str]) -> dict[str, dict[str, int]]:
        """Sums over the kept texts of each language."""
        ones = np.ones(len(self.kept), np.int64)
        columns = {
            "documents": ones,
            "bytes": self.num_bytes,
            "characters": self.characters,
            "words": self.words,
            "tokens": self.lengths,
        }
        names, rows = np.unique(np.array(languages, str), return_inverse=True)
        found = {}
        for i, name in enumerate(names):
            chosen = (rows == i) & self.kept
            if chosen.any():
                found[str(name)] = {k: int(values[chosen].sum()) for k, values in columns.items()}
        return found


@dataclass(frozen=True)
class Encoder:
    """A SentencePiece model at work; what is pickled is its bytes.

    model: its bytes. require_lossless: a text that its ids do not give back is not kept. The bytes
    of the ids of a model that changes texts (a space put before, NFKC) are those of the text as the
    ids give it back.

    Raises:
        RuntimeError: the bytes are no model (at the first use).
    """

    model: bytes
    require_lossless: bool = True

    def __reduce__(self) -> Any:
        return Encoder, (self.model, self.require_lossless)

    @cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @property
    def _parts(self) -> "_Parts":
        return _parts_of(self.model)

    @property
    def bos_id(self) -> int:
        """The id before a document; EOS where the model has no BOS."""
        return self._processor.bos_id() if self._processor.bos_id() >= 0 else self.eos_id

    @property
    def eos_id(self) -> int:
        """The id after a document; -1 where the model has none, and can make no store."""
        return self._processor.eos_id()

    @property
    def vocab_size(self) -> int:
        return self._processor.vocab_size()

    def encode(self, texts: pa.Array | Sequence[str]) -> Encoded:
        """BOS, the ids that SentencePiece gives, EOS, of each text.

        Args:
            texts: large_string [N], or strings. Of one with more than MAX_PART_BYTES between two
                places where it may be cut, a few ids may be others than SentencePiece's.
        """
        if not isinstance(texts, pa.Array):
            texts = pa.array(texts, pa.large_string())
        known = self._parts.encode(texts, self.bos_id, self.eos_id)
        lossy = np.flatnonzero(~known.same)
        changed_at = np.full(len(texts), np.nan)
        sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
        if self.require_lossless:
            for row in lossy:
                ids = known.tokens[known.offsets[row] + 1 : known.offsets[row + 1] - 1]
                decoded = self._processor.decode(ids.tolist())
                changed_at[row] = _first_change(texts[int(row)].as_py(), decoded)
        return Encoded(
            tokens=known.tokens,
            offsets=known.offsets,
            same=known.same,
            kept=known.same | (not self.require_lossless),
            changed_at=changed_at,
            num_bytes=known.num_bytes if self._parts.changes_texts else sizes,
            characters=pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64),
            words=known.words,
        )


@dataclass(frozen=True)
class _Known:
    """The fields of Encoded that come from the parts."""

    tokens: np.ndarray
    offsets: np.ndarray
    same: np.ndarray
    num_bytes: np.ndarray
    words: np.ndarray


class _Parts:
    """Cuts texts into parts, and encodes each different part once."""

    def __init__(self, model: bytes):
        proto = _proto.ModelProto.FromString(model)
        normalizer = proto.normalizer_spec
        self.changes_texts = bool(
            normalizer.precompiled_charsmap
            or normalizer.add_dummy_prefix
            or normalizer.remove_extra_whitespaces
        )
        self._cuts, self._prefix = _safe_cuts(proto), False
        if self._cuts.any() and normalizer.add_dummy_prefix:
            # The space that it puts before a text, and before no other part, is put there by us.
            normalizer.add_dummy_prefix = False
            self._prefix = True
        self._processor = sentencepiece.SentencePieceProcessor(
            model_proto=proto.SerializeToString()
        )
        self._piece_bytes = _piece_bytes(self._processor)
        self._known: _Dictionary | None = None

    def encode(self, texts: pa.Array, bos: int, eos: int) -> _Known:
        if self._prefix:
            space, nothing = (pa.scalar(text, pa.large_string()) for text in (" ", ""))
            longer = pc.binary_join_element_wise(space, texts, nothing)
            texts = pc.if_else(pc.equal(pc.binary_length(texts), 0), texts, longer)
        data, text_offsets = _bytes_of(texts)
        starts = self._starts(data, text_offsets)
        ends = np.append(starts, len(data)).astype(np.int64)
        parts = pa.LargeStringArray.from_buffers(
            len(starts), pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(data))
        )
        coded = parts.dictionary_encode()
        known = self._known
        if known is None or known.num_bytes > MAX_KNOWN_BYTES:
            known = self._known = _Dictionary(bos, eos)
        numbers = known.numbers(coded.dictionary.to_pylist(), self._encode)
        first = np.searchsorted(starts, text_offsets)  # parts before each text
        # Around the parts of each text stand two more, BOS and EOS.
        at = np.stack([first[:-1], first[1:]], axis=1).ravel()
        order = np.insert(numbers[coded.indices.to_numpy()], at, np.tile([0, 1], len(texts)))
        bounds = first + 2 * np.arange(len(texts) + 1)
        counts = known.lengths[order]
        token_ends = np.append(0, np.cumsum(counts))
        shifts = np.cumsum(known.lengths)[order] - counts - token_ends[:-1]
        assert token_ends[-1] < 2**31, "a batch of more than 2 GB"
        places = np.repeat(shifts.astype(np.int32), counts)
        places += np.arange(token_ends[-1], dtype=np.int32)
        return _Known(
            tokens=known.tokens[places],
            offsets=token_ends[bounds],
            same=_sums(known.changed[order], bounds) == 0,
            num_bytes=_sums(known.sizes[order], bounds),
            words=_sums(known.words[order], bounds),
        )

    def _encode(self, parts: list[str]) -> tuple[np.ndarray, ...]:
        """Tokens of all parts; of each their number, whether it is changed, bytes, words."""
        ends = np.cumsum([len(part) for part in parts]) // MAX_PART_BYTES
        bounds = np.flatnonzero(np.diff(ends, prepend=-1, append=ends[-1] + 1))
        some = (parts[start:end] for start, end in itertools.pairwise(bounds))
        return tuple(map(np.concatenate, zip(*map(self._encode_some, some), strict=True)))

    def _encode_some(self, parts: list[str]) -> tuple[np.ndarray, ...]:
        """As `_encode`: an id takes 8 bytes or more in Python's lists, so of few parts at once."""
        ids = self._processor.encode(parts, num_threads=1)
        decoded = self._processor.decode(ids, num_threads=1)
        tokens, lengths = flat(ids)
        ends = np.cumsum(lengths)
        sizes = np.append(0, np.cumsum(self._piece_bytes[tokens]))
        return (
            tokens,
            lengths,
            np.array([a != b for a, b in zip(parts, decoded, strict=True)], bool),
            sizes[ends] - sizes[ends - lengths],
            np.array([len(part.split()) for part in parts], np.int64),
        )

    def _starts(self, data: np.ndarray, text_offsets: np.ndarray) -> np.ndarray:
        """Where parts begin: int64 [P], ascending."""
        begins = np.zeros(len(data) + 1, bool)
        if self._cuts.any():
            places = 1 + np.flatnonzero((data[1:] == 0x20) | (data[:-1] == 0x0A))
            begins[places[self._cuts[data[places - 1], data[places]]]] = True
        begins[text_offsets] = True
        begins[len(data)] = True
        ends = np.flatnonzero(begins)
        for i in np.flatnonzero(np.diff(ends) > MAX_PART_BYTES):
            place = ends[i] + MAX_PART_BYTES
            while place < ends[i + 1]:
                while data[place] & 0xC0 == 0x80:  # within a character
                    place -= 1
                begins[place] = True
                place += MAX_PART_BYTES
        return np.flatnonzero(begins[:-1])


@lru_cache(maxsize=1)
def _parts_of(model: bytes) -> _Parts:
    """Kept in a process, so that what one bucket's parts were is known for the next."""
    return _Parts(model)


class _Dictionary:
    """Parts that were encoded, by number: 0 is BOS, 1 is EOS.

    tokens: int32, the ids of all; lengths, sizes, words: int64, ids, bytes that the ids stand for
    and words of each; changed: bool, whether the ids do not give it back.
    """

    def __init__(self, bos: int, eos: int):
        self._numbers: dict[str, int] = {}
        self.num_bytes = 0
        self.tokens, self.lengths = flat([[bos], [eos]])
        self.changed = np.zeros(2, bool)
        self.sizes, self.words = np.zeros(2, np.int64), np.zeros(2, np.int64)

    def numbers(
        self, parts: list[str], encode: Callable[[list[str]], tuple[np.ndarray, ...]]
    ) -> np.ndarray:
        """The numbers of different parts, int64; those that are new are encoded."""
        new = [part for part in parts if part not in self._numbers]
        if new:
            count = len(self.lengths)
            self._numbers.update(zip(new, range(count, count + len(new)), strict=True))
            self.num_bytes += sum(map(len, new)) + OVERHEAD * len(new)
            columns = (self.tokens, self.lengths, self.changed, self.sizes, self.words)
            joined = (np.concatenate(pair) for pair in zip(columns, encode(new), strict=True))
            self.tokens, self.lengths, self.changed, self.sizes, self.words = joined
        found = map(self._numbers.__getitem__, parts)
        return np.fromiter(found, np.int64, len(parts))


def flat(ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of ids joined: int32 [sum of lengths], and their lengths, int64."""
    lengths = np.array([len(one) for one in ids], np.int64)
    tokens = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
    return tokens, lengths


def _safe_cuts(proto: Any) -> np.ndarray:
    """Between which bytes a text may be cut, before a space or after a line's end: bool [256, 256].

    ["a", " "] = True: no piece holds "a" and then a space. False everywhere: encode texts whole.
    """
    safe = np.zeros((256, 256), bool)
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    if (
        trainer.model_type != _proto.TrainerSpec.ModelType.BPE
        or not trainer.byte_fallback  # unknown neighbours are joined into one unknown id
        or trainer.treat_whitespace_as_suffix
        or normalizer.precompiled_charsmap
        or normalizer.remove_extra_whitespaces
        or not normalizer.escape_whitespaces
    ):
        return safe
    types = _proto.ModelProto.SentencePiece.Type
    neighbours = np.zeros((256, 256), bool)
    for piece in proto.pieces:
        if piece.type in (types.NORMAL, types.USER_DEFINED, types.UNUSED):
            data = np.frombuffer(piece.piece.replace(SPACE, " ").encode(), np.uint8)
            neighbours[data[:-1], data[1:]] = True
    safe[:, 0x20] = safe[0x0A, :] = True
    safe &= ~neighbours
    safe[:, 0x80:0xC0] = False  # within a character
    # U+2581 in a text is a space to SentencePiece, and its bytes here are E2 96 81.
    safe[0x81, 0x20] = safe[0x0A, 0xE2] = False
    return safe


def _piece_bytes(processor: sentencepiece.SentencePieceProcessor) -> np.ndarray:
    """UTF-8 bytes that each id stands for, 0 for control and unknown ids: int64 [V]."""
    sizes = np.zeros(processor.vocab_size(), np.int64)
    for i in range(len(sizes)):
        if processor.is_byte(i):
            sizes[i] = 1
        elif not (processor.is_control(i) or processor.is_unknown(i)):
            sizes[i] = len(processor.id_to_piece(i).replace(SPACE, " ").encode())
    return sizes


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts, uint8, and where each begins: int64 [N + 1]."""
    texts = texts.cast(pa.large_string())
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if not len(offsets):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    found = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return found[offsets[0] : offsets[-1]], offsets - offsets[0]


def _sums(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Sums between bounds, ascending: int64 [N]."""
    ends = np.append(0, np.cumsum(values, dtype=np.int64))[bounds]
    return np.diff(ends)


def _first_change(before: str, after: str) -> float:
    pairs = enumerate(zip(before, after, strict=False))
    return float(next((i for i, (a, b) in pairs if a != b), min(len(before), len(after))))
