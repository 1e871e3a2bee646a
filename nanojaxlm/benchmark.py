"""Measures how fast batches are made, objective by objective: they must never be what a step waits
for.

    python -m nanojaxlm.benchmark
    python -m nanojaxlm.benchmark --sequence_length=2048 --batch_size=8 --seconds=5

Reads a token store in memory through the whole input: rows, objective, global arrays. A token is
one of the text that is read. Each number is the best of three runs, since other work on the machine
only slows.
"""

import os
import platform
import time
from collections.abc import Sequence

import grain
import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from nanojaxlm.data.input import DataConfig, make_batches
from nanojaxlm.data.objectives import (
    CausalLM,
    FillInTheMiddle,
    MaskedLM,
    Mixture,
    MixtureOfDenoisers,
    NextTokens,
    Objective,
    PrefixLM,
    SpanCorruption,
)
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.errors import run
from nanojaxlm.token_store import StoreWriter, TokenStore
from nanojaxlm.typed_config import parse_command_line

LENGTH = flags.DEFINE_integer("sequence_length", 512, "Tokens a row.", lower_bound=16)
ROWS = flags.DEFINE_integer("batch_size", 32, "Rows a batch.", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 2.0, "Of each of the three runs.", lower_bound=0.1)

OBJECTIVES: dict[str, Objective] = {
    "CausalLM": CausalLM(),
    "NextTokens(4)": NextTokens(num_tokens=4),
    "PrefixLM, decoder": PrefixLM(),
    "PrefixLM, encoder-decoder": PrefixLM(layout="encoder"),
    "FillInTheMiddle": FillInTheMiddle(),
    "MaskedLM": MaskedLM(),
    "MaskedLM, whole words": MaskedLM(whole_words=True),
    "SpanCorruption, encoder-decoder": SpanCorruption(),
    "SpanCorruption, decoder": SpanCorruption(layout="prefix"),
    "UL2, encoder-decoder": MixtureOfDenoisers(),
    "UL2, decoder": MixtureOfDenoisers(layout="prefix"),
    "Mixture of causal and FIM": Mixture(objectives=(CausalLM(), FillInTheMiddle())),
}
NUM_DOCUMENTS, LONGEST = 20_000, 1000  # tokens


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv)
    store, vocabulary = example_store()
    versions = f"jax {jax.__version__}, grain {grain.__version__}, numpy {np.__version__}"
    table = Table(
        "objective",
        "million tokens/s",
        "of CausalLM",
        title=f"{LENGTH.value} tokens x {ROWS.value} rows, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {versions}",
    )
    first = None
    for name, objective in OBJECTIVES.items():
        speed = max(tokens_per_second(store, vocabulary, objective) for _ in range(3))
        first = first or speed
        table.add_row(name, f"{speed / 1e6:.2f}", f"{speed / first:.2f}")
    Console().print(table)


def example_store() -> tuple[TokenStore, Vocabulary]:
    """Random documents of up to LONGEST tokens, half of which begin a word."""
    characters = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 8000))
    tokenizer = Tokenizer.characters(characters)
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, LONGEST, NUM_DOCUMENTS)
    tokens = rng.integers(3, tokenizer.base_size, int(lengths.sum())).astype(np.int32)
    ends = np.cumsum(lengths)
    tokens[ends - lengths], tokens[ends - 1] = tokenizer.bos_id, tokenizer.eos_id
    path = "memory://benchmark/"
    with StoreWriter(path, tokenizer=tokenizer.model, sources=[], curation={}) as writer:
        writer.write("train", tokens, lengths, 3 * len(tokens))
        writer.finish()
    begins_word_V = rng.random(tokenizer.base_size) < 0.5
    vocabulary = Vocabulary.of(tokenizer)._replace(begins_word_V=begins_word_V)
    return TokenStore.open(path), vocabulary


def tokens_per_second(store: TokenStore, vocabulary: Vocabulary, objective: Objective) -> float:
    """Tokens of text that are read a second."""
    config = DataConfig(
        stores=(store.path,),
        sequence_length=LENGTH.value,
        batch_size=ROWS.value,
        objective=objective,
    )
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    batches = make_batches(config, [store], sharding, seed=0, vocabulary=vocabulary)
    try:
        for _ in range(2 * config.prefetch):
            next(batches)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS.value:
            jax.block_until_ready(next(batches))
            count += 1
        seconds = time.perf_counter() - start
    finally:
        batches.close()
    return count * ROWS.value * objective.lengths(LENGTH.value).row / seconds


if __name__ == "__main__":
    run(main)
