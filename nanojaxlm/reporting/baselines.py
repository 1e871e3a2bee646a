"""What simple methods need for the same held-out text, in bits per byte: what a model must beat.

A model of the text that gives it probability p can compress it to -log2 p bits, and a compressor
is a model: so bits per byte compares the two, whatever their alphabet or tokenizer is.
"""

import lzma
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from nanojaxlm.errors import UserError

NUM_BYTES = 256
PORTION_BYTES = 4_000_000


def xz_bits_per_byte(data: bytes) -> float:
    """Bits that `xz -9` needs for each byte of `data`, headers included.

    Takes up to 700 MB of memory, whatever the length of `data` is.

    Raises:
        UserError: `data` is empty.
    """
    _refuse_empty(data)
    return 8 * len(lzma.compress(data, format=lzma.FORMAT_XZ, preset=9)) / len(data)


def bigram_bits_per_byte(train: Iterable[bytes], heldout: bytes) -> float:
    """Cross-entropy in bits per byte of a byte-bigram model, counted on `train`, on `heldout`.

    Witten-Bell interpolation (Witten & Bell 1991, method C; Chen & Goodman 1999, section 2.4),
    which has no constant to tune:

        p(b | a) = (c(a, b) + t(a) p(b)) / (c(a) + t(a))      p(b) = (c(b) + 1) / (n + 256)

    c(a, b) counts the pairs, c(a) = sum over b of c(a, b), t(a) the distinct bytes seen after a,
    n all bytes. After a byte never seen as the first of a pair, and at the start, p(b) stands.

    Args:
        train: one item a document; pairs do not cross from one document to the next.
        heldout: the text to predict, as one string.

    Raises:
        UserError: `heldout` is empty.
    """
    _refuse_empty(heldout)
    pairs = np.zeros(NUM_BYTES * NUM_BYTES, np.int64)
    singles = np.zeros(NUM_BYTES, np.int64)
    for documents in _portions(train):
        pairs += _count_pairs(documents)
        singles += np.bincount(np.frombuffer(b"".join(documents), np.uint8), minlength=NUM_BYTES)
    counts = pairs.reshape(NUM_BYTES, NUM_BYTES)
    unigram = (singles + 1) / (singles.sum() + NUM_BYTES)
    after = counts.sum(axis=1, keepdims=True)
    distinct = (counts > 0).sum(axis=1, keepdims=True)
    smoothed = (counts + distinct * unigram) / np.maximum(after + distinct, 1)
    bigram = np.where(after > 0, smoothed, unigram)
    bits = -np.log2(unigram[heldout[0]])
    bits += _count_pairs([heldout]) @ -np.log2(bigram.reshape(-1))
    return float(bits / len(heldout))


def read_documents(folder: str | Path) -> Iterator[bytes]:
    """The UTF-8 bytes of each text in the Parquet files of a folder of curated documents.

    In the order of the file names and of the rows, a batch of rows in memory at a time.

    Raises:
        UserError: no Parquet file there, or one that cannot be read.
    """
    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        raise UserError(
            f"{folder} holds no .parquet file; curate documents first: "
            "python -m data_pipeline.main --config=… --input=… --output=…"
        )
    for file in files:
        try:
            with pyarrow.parquet.ParquetFile(file) as table:
                if "text" not in table.schema_arrow.names:
                    raise UserError(
                        f"{file} has no column 'text', it holds no documents; remove it"
                    )
                for batch in table.iter_batches(batch_size=1024, columns=["text"]):
                    for text in batch.column("text").to_pylist():
                        yield text.encode()
        except (OSError, pyarrow.ArrowException) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{file} cannot be read as documents ({reason}); remove it and curate again"
            ) from None


def _portions(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lists of documents of some MB: counting one short document at a time would be slow."""
    portion, size = [], 0
    for document in documents:
        portion.append(document)
        size += len(document)
        if size >= PORTION_BYTES:
            yield portion
            portion, size = [], 0
    yield portion


def _count_pairs(documents: Sequence[bytes]) -> np.ndarray:
    """How often byte a is followed by byte b in a document, at index 256 a + b: int64[65536]."""
    codes = np.frombuffer(b"".join(documents), np.uint8)
    index = codes[:-1].astype(np.int32) * NUM_BYTES + codes[1:]
    inside = np.ones(len(codes), bool)
    ends = np.cumsum([len(document) for document in documents], dtype=np.int64) - 1
    inside[ends[ends >= 0]] = False  # the last byte of a document has no follower
    return np.bincount(index[inside[:-1]], minlength=NUM_BYTES * NUM_BYTES)


def _refuse_empty(data: bytes) -> None:
    if not data:
        raise UserError("the held-out text is empty; curate more documents or hold out more")
