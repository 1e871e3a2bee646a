"""Makes a token store of curated documents with the tokenizer of a checkpoint.

    python -m nanojaxlm.tokenize --checkpoint=out/imported --documents=out/curation/documents \
        --output=out/store

For a model that another trained the tokenizer of, such as an imported one that is to learn more.
--documents is the folder that a curation leaves: a folder of Parquet files with a column "text" for
each split. Exit codes as of nanojaxlm.main.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import flags
from rich.console import Console

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError, run
from nanojaxlm.loading import load_tokenizer_of
from nanojaxlm.token_store import StoreWriter
from nanojaxlm.typed_config import parse_command_line

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A workdir, or WORKDIR/checkpoints/STEP.")
DOCUMENTS = flags.DEFINE_string("documents", None, "DIR/documents of a curation.")
OUTPUT = flags.DEFINE_string("output", None, "The token store: a folder or a URL.")

_DOCUMENTS_PER_BATCH = 256


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv)
    checkpoint, documents, output = CHECKPOINT.value, DOCUMENTS.value, OUTPUT.value
    if checkpoint is None or documents is None or output is None:
        given = {"checkpoint": checkpoint, "documents": documents, "output": output}
        missing = next(name for name, value in given.items() if value is None)
        raise UserError(f"--{missing} is missing; see --help")
    tokenizer = load_tokenizer_of(checkpoint)
    folder = Path(documents)
    splits = sorted(path for path in folder.glob("*/") if any(path.glob("*.parquet")))
    if not splits:
        raise UserError(
            f"--documents={folder} has no folders of Parquet files: name the documents/ folder "
            "that python -m data_pipeline.main leaves in its --output"
        )
    num_tokens = num_bytes = 0
    with (
        StoreWriter(
            output,
            tokenizer=tokenizer.model,
            vocab_size=tokenizer.base_size,
            sources=[str(folder)],
            curation={},
        ) as writer,
        ThreadPoolExecutor() as pool,
    ):
        for split in splits:
            for texts in read_texts(split):
                ids = [
                    [tokenizer.bos_id, *document, tokenizer.eos_id]
                    for document in pool.map(tokenizer.encode, texts)
                ]
                size = text_bytes(tokenizer, texts, ids)
                lengths = np.array([len(document) for document in ids], np.int64)
                tokens = np.fromiter(itertools.chain.from_iterable(ids), np.int32)
                writer.write(split.name, tokens, lengths, size)
                num_tokens, num_bytes = num_tokens + len(tokens), num_bytes + size
        writer.finish()
    Console().print(
        f"{num_tokens:,} tokens of {', '.join(split.name for split in splits)}, "
        f"{num_bytes / num_tokens:.2f} bytes each ({output})",
        highlight=False,
        soft_wrap=True,
    )


def read_texts(folder: Path) -> Iterator[list[str]]:
    """The texts of a split, some at a time, in order.

    Raises:
        UserError: a file that is no Parquet, or has no texts.
    """
    for path in sorted(folder.glob("*.parquet")):
        try:
            for batch in pq.ParquetFile(path).iter_batches(_DOCUMENTS_PER_BATCH, columns=["text"]):
                yield batch.column("text").cast(pa.string()).to_pylist()
        except (pa.ArrowException, KeyError, OSError) as error:
            raise UserError(
                f"{path} cannot be read as documents ({str(error).splitlines()[0]}): it needs a "
                'column "text"'
            ) from error


def text_bytes(tokenizer: Tokenizer, texts: list[str], ids: list[list[int]]) -> int:
    """UTF-8 bytes that the tokens stand for: of the texts, or, of a tokenizer that changes them, of
    what it gives back."""
    if tokenizer.lossless:
        return sum(len(text.encode()) for text in texts)
    sizes = tokenizer.bytes_per_token()
    return int(sum(sizes[document].sum() for document in ids))


if __name__ == "__main__":
    run(main)
