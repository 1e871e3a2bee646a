"""The tokenizer of a curation: trained here on a sample, or a published SentencePiece model.

One trained here is lossless: no normalization, no dummy prefix, white space kept, bytes for unseen
characters. One exception is SentencePiece's own: it writes the space as U+2581, so a U+2581 in the
text comes back as a space. Every document is decoded again, and one that does not return is dropped
by the name "not_lossless", never stored changed.

A published model is used as it is, and gives the ids that SentencePiece gives with it. Most of them
change some texts (Llama 2 puts a space before each, T5 normalizes); such documents are kept, unless
require_lossless says otherwise, and the report counts them.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from data_pipeline.encoder import SPACE, Encoder
from nanojaxlm.errors import UserError

UNK, BOS, EOS = 0, 1, 2
NUM_CONTROLS, NUM_BYTES = 3, 256
# Unigram training adds float32 sums of each thread, so their number is part of the result.
NUM_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The tokenizer's shape and sample; or a model, and then only require_lossless counts too.

    vocab_size: ids, with 3 control ids, 256 bytes and the user's symbols among them.
    algorithm: "bpe" or "unigram".
    sample_megabytes: 10^6 bytes from the beginning of the shuffled training split.
    character_coverage: of the sample's characters; rarer ones are spelt in bytes.
    split_digits: every digit is an id of its own.
    max_piece_length: characters.
    user_symbols: always one id each, such as "<|im_start|>"; in any document, too, that has it.
    model: file of a published SentencePiece model: nothing is trained.
    require_lossless: drop documents that their ids do not give back; None = for a model that is
        trained here, not for a published one.
    """

    vocab_size: int = 8192
    algorithm: str = "bpe"
    sample_megabytes: float = 16.0
    character_coverage: float = 0.9995
    split_digits: bool = True
    max_piece_length: int = 16
    user_symbols: tuple[str, ...] = ()
    model: str | None = None
    require_lossless: bool | None = None

    def __post_init__(self):
        smallest = NUM_CONTROLS + NUM_BYTES + len(self.user_symbols) + 1
        if self.vocab_size < smallest:
            raise ValueError(
                f"vocab_size must be >= {smallest} ({NUM_BYTES} bytes, {NUM_CONTROLS} control "
                f"tokens, {len(self.user_symbols)} user symbols and a piece), got {self.vocab_size}"
            )
        if self.algorithm not in ("bpe", "unigram"):
            raise ValueError(f"algorithm is 'bpe' or 'unigram', got {self.algorithm!r}")
        if self.sample_megabytes <= 0:
            raise ValueError(f"sample_megabytes must be > 0, got {self.sample_megabytes}")
        if not 0 < self.character_coverage <= 1:
            raise ValueError(f"character_coverage is above 0, at most 1: {self.character_coverage}")
        if not 1 <= self.max_piece_length <= 512:
            raise ValueError(f"max_piece_length is from 1 to 512, got {self.max_piece_length}")
        if len(set(self.user_symbols)) < len(self.user_symbols):
            raise ValueError(f"user_symbols has one twice: {', '.join(self.user_symbols)}")
        for symbol in self.user_symbols:
            if not symbol or symbol in ("<unk>", "<s>", "</s>") or {SPACE, "\0"} & set(symbol):
                raise ValueError(
                    f"user_symbols cannot hold {symbol!r}: it is empty, a control token's name, or "
                    "has a NUL or a U+2581 in it"
                )
        if self.model is not None and self.user_symbols:
            raise ValueError(
                f"user_symbols cannot be added to the published model {self.model}, whose ids are "
                "given; leave one of them out"
            )

    @property
    def drops_lossy(self) -> bool:
        """Whether documents that do not come back are dropped."""
        return self.model is None if self.require_lossless is None else self.require_lossless


def train_tokenizer(
    texts: Iterator[str], config: TokenizerConfig, num_threads: int = NUM_THREADS
) -> bytes:
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
            user_defined_symbols=[s.replace(" ", SPACE) for s in config.user_symbols],
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


def make_encoder(texts: Iterator[str], config: TokenizerConfig) -> Encoder:
    """The published model that the config names, or one trained on `texts`.

    Raises:
        UserError: a model that is none, or a vocabulary larger than the sample supports.
    """
    if config.model is None:
        return Encoder(train_tokenizer(texts, config), config.drops_lossy)
    try:
        model = Path(config.model).read_bytes()
        encoder = Encoder(model, config.drops_lossy)
        if not model:
            raise RuntimeError("it is empty")
        if encoder.eos_id >= 0:
            return encoder
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"config.tokenizer.model={config.model} is no SentencePiece model "
            f"({' '.join(str(error).split())[-200:]}); name the .model file of a published "
            "tokenizer"
        ) from error
    raise UserError(
        f"config.tokenizer.model={config.model} has no EOS id, which ends every document of a "
        "store; name a model that has one"
    )


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
