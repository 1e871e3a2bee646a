"""A lossless SentencePiece tokenizer: trained on a sample, then every document as ids.

Lossless: no normalization, no dummy prefix, white space kept, bytes for unseen characters. One
exception is SentencePiece's own: it writes the space as U+2581, so a U+2581 in the text comes back
as a space. Every document is decoded again, and one that does not return is dropped by the name
"not_lossless", never stored changed.
"""

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece

from nanojaxlm.errors import UserError

UNK, BOS, EOS = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The tokenizer's shape and the sample it learns from."""

    vocab_size: int = 8192
    algorithm: str = "bpe"  # or "unigram": slower to train
    sample_megabytes: float = 16.0  # 10^6 bytes of the shuffled training split
    character_coverage: float = 0.9995  # rarer characters are spelt in bytes
    split_digits: bool = True
    max_piece_length: int = 16  # characters
    user_symbols: tuple[str, ...] = ()  # always one token, such as "<|im_start|>"
    model: str | None = (
        None  # a published SentencePiece model: nothing is trained, its ids are used
    )

    def __post_init__(self):
        if self.vocab_size < 260:
            raise ValueError(
                f"vocab_size must be >= 260 (256 bytes, 3 control tokens and a piece), "
                f"got {self.vocab_size}"
            )
        if self.algorithm not in ("bpe", "unigram"):
            raise ValueError(f"algorithm is 'bpe' or 'unigram', got {self.algorithm!r}")
        if self.sample_megabytes <= 0:
            raise ValueError(f"sample_megabytes must be > 0, got {self.sample_megabytes}")
        if not 0 < self.character_coverage <= 1:
            raise ValueError(f"character_coverage is above 0, at most 1: {self.character_coverage}")


def train_tokenizer(texts: Iterator[str], config: TokenizerConfig, num_threads: int) -> bytes:
    """The serialized model, trained on the first sample_megabytes of `texts`.

    Raises:
        UserError: a vocabulary larger than the sample supports; the message has the largest size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sample(texts, config.sample_megabytes * 1e6),
            model_writer=model,
            model_type=config.algorithm,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            byte_fallback=True,
            split_digits=config.split_digits,
            user_defined_symbols=list(config.user_symbols),
            max_sentencepiece_length=config.max_piece_length,
            max_sentence_length=2**30,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_id=-1,
            num_threads=num_threads,
            minloglevel=2,
        )
    except (RuntimeError, ValueError) as error:
        raise _vocabulary_error(error, config) from error
    return model.getvalue()


@dataclass(frozen=True)
class Encoded:
    """What a tokenizer made of N texts.

    tokens: int32, the ids of the texts that are kept and of the others, one after another, with BOS
    and EOS; offsets: int64 [N + 1]; kept: bool [N]; changed_at: float [N], the first character at
    which a text does not come back; num_bytes: int64 [N], UTF-8 bytes that the ids stand for.
    """

    tokens: np.ndarray
    offsets: np.ndarray
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
        """Sums over the kept texts of each language; words are what white space separates."""
        found: dict[str, dict[str, int]] = {}
        columns = (self.num_bytes, self.characters, self.words, self.lengths)
        for row in np.flatnonzero(self.kept):
            sums = found.setdefault(
                languages[row],
                {"documents": 0, "bytes": 0, "characters": 0, "words": 0, "tokens": 0},
            )
            for name, value in zip(sums, (1, *(column[row] for column in columns)), strict=True):
                sums[name] += int(value)
        return found


@dataclass(frozen=True)
class Encoder:
    """A SentencePiece model at work; can be pickled.

    model: its bytes. require_lossless: a text that its ids do not give back is not kept. A
    published model that changes texts (a space put before, NFKC) is used with False: its texts are
    kept, and the bytes of their ids are those of the text as the ids give it back.
    """

    model: bytes
    require_lossless: bool = True

    @cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @property
    def bos_id(self) -> int:
        """The id before a document; EOS where the model has no BOS."""
        return self._processor.bos_id() if self._processor.bos_id() >= 0 else self.eos_id

    @property
    def eos_id(self) -> int:
        return self._processor.eos_id()

    @property
    def vocab_size(self) -> int:
        return self._processor.vocab_size()

    @cached_property
    def _piece_bytes(self) -> np.ndarray:
        """UTF-8 bytes that each id stands for, 0 for control and unknown ids: int64 [V]."""
        p = self._processor
        sizes = np.zeros(p.vocab_size(), np.int64)
        for i in range(len(sizes)):
            if p.is_byte(i):
                sizes[i] = 1
            elif not (p.is_control(i) or p.is_unknown(i)):
                sizes[i] = len(p.id_to_piece(i).replace("\u2581", " ").encode())
        return sizes

    def encode(self, texts: list[str]) -> Encoded:
        """BOS, the ids, EOS of each text."""
        ids = self._processor.encode(texts, num_threads=1)
        decoded = self._processor.decode(ids, num_threads=1)
        same = np.array([a == b for a, b in zip(texts, decoded, strict=True)], bool)
        changed_at = np.array(
            [np.nan if a == b else _first_change(a, b) for a, b in zip(texts, decoded, strict=True)]
        )
        bos, eos = self.bos_id, self.eos_id
        tokens, lengths = flat([[bos, *document, eos] for document in ids])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        if self.require_lossless:
            num_bytes = np.array([len(text.encode()) for text in texts], np.int64)
        else:
            sizes = np.concatenate([[0], np.cumsum(self._piece_bytes[tokens])])
            num_bytes = np.diff(sizes[offsets])
        return Encoded(
            tokens=tokens,
            offsets=offsets,
            kept=same if self.require_lossless else np.ones(len(texts), bool),
            changed_at=changed_at,
            num_bytes=num_bytes,
            characters=np.array([len(text) for text in texts], np.int64),
            words=np.array([len(text.split()) for text in texts], np.int64),
        )


def _first_change(before: str, after: str) -> float:
    pairs = enumerate(zip(before, after, strict=False))
    return float(next((i for i, (a, b) in pairs if a != b), min(len(before), len(after))))


def make_encoder(texts: Iterator[str], config: TokenizerConfig, num_threads: int) -> Encoder:
    """The published model that the config names, or one trained on `texts`.

    Raises:
        UserError: a model that is none, or a vocabulary larger than the sample supports.
    """
    if config.model is None:
        return Encoder(train_tokenizer(texts, config, num_threads))
    try:
        model = Path(config.model).read_bytes()
        encoder = Encoder(model, require_lossless=False)
        if encoder.eos_id >= 0:
            return encoder
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"config.tokenizer.model={config.model} is no SentencePiece model ({error}); name the "
            ".model file of a published tokenizer"
        ) from error
    raise UserError(
        f"config.tokenizer.model={config.model} has no EOS id, which ends every document of a store"
    )


def encode(
    processor: sentencepiece.SentencePieceProcessor, texts: list[str], num_threads: int
) -> tuple[list[list[int]], list[bool]]:
    """[BOS] ids [EOS] of each text, and whether decoding them gives the text back."""
    ids = processor.encode(texts, num_threads=num_threads)
    decoded = processor.decode(ids, num_threads=num_threads)
    lossless = [a == b for a, b in zip(texts, decoded, strict=True)]
    return [[BOS, *document, EOS] for document in ids], lossless


def flat(ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Documents joined: tokens int32 [sum of lengths], lengths int64 [documents]."""
    lengths = np.array([len(document) for document in ids], np.int64)
    tokens = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
    return tokens, lengths


def _sample(texts: Iterator[str], num_bytes: float) -> Iterator[str]:
    """Documents in order until num_bytes are reached; the last one is cut to fit.

    A document is one sentence, line ends and all, so that pieces may learn them.
    """
    left = int(num_bytes)
    for text in texts:
        size = len(text.encode())
        if size >= left:
            yield text.encode()[:left].decode(errors="ignore")
            return
        left -= size
        yield text


def _vocabulary_error(error: Exception, config: TokenizerConfig) -> UserError:
    text = " ".join(str(error).split())
    if match := re.search(r"value <= (\d+)", text):
        return UserError(
            f"config.tokenizer.vocab_size={config.vocab_size} is more than the text supports: set "
            f"--config.tokenizer.vocab_size={match.group(1)} or less, or add documents"
        )
    return UserError(
        f"the tokenizer cannot be trained with vocab_size={config.vocab_size}: {text[-200:]}; set "
        "a smaller --config.tokenizer.vocab_size or add documents"
    )
