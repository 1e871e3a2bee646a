"""A lossless SentencePiece tokenizer: trained on a sample, then every document as ids.

Lossless: no normalization, no dummy prefix, white space kept, bytes for unseen characters. One
exception is SentencePiece's own: it writes the space as U+2581, so a U+2581 in the text comes back
as a space. Every document is decoded again, and one that does not return is dropped by the name
"not_lossless", never stored changed.
"""

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece

from nanojaxlm.errors import UserError

UNK, BOS, EOS = 0, 1, 2
_DOCUMENTS_PER_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The tokenizer's shape and the sample it learns from."""

    vocab_size: int = 8192
    algorithm: str = "bpe"  # or "unigram": slower to train
    sample_megabytes: float = 16.0  # 10^6 bytes of the shuffled training split
    character_coverage: float = 0.9995  # rarer characters are spelt in bytes
    split_digits: bool = True
    max_piece_length: int = 16  # characters

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


def encode(
    processor: sentencepiece.SentencePieceProcessor, texts: list[str], num_threads: int
) -> tuple[list[list[int]], list[bool]]:
    """[BOS] ids [EOS] of each text, and whether decoding them gives the text back."""
    ids = processor.encode(texts, num_threads=num_threads)
    decoded = processor.decode(ids, num_threads=num_threads)
    lossless = [a == b for a, b in zip(texts, decoded, strict=True)]
    return [[BOS, *document, EOS] for document in ids], lossless


def read_batches(folder: Path) -> Iterator[pa.Table]:
    """id, text, source of the documents of a split, in order."""
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(_DOCUMENTS_PER_BATCH):
            yield pa.Table.from_batches([batch])


def read_texts(folder: Path) -> Iterator[str]:
    for batch in read_batches(folder):
        yield from batch["text"].to_pylist()


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
