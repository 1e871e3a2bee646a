"""Encoder, decoder, or both: the three trained on one text at one size, and what each can do.

    python -m configs.compare_families --text=train.jsonl.gz --held_out=validation.jsonl.gz \
        --pairs=blimp.jsonl.gz --output=out/compare
    python -m configs.compare_families --store=out/curation/store --output=out/compare

A text is a .txt file, one document, or .jsonl, one document a line in its field "text"; either may
be gzipped. Without --held_out, the last tenth of each document is held out. A tokenizer is trained
on it. The three models are of the same modules (RoPE, RMSNorm, squared ReLU), optimizer
(Muon), vocabulary, batches and number of parameters, and read the same number of tokens of text:

    encoder           6 layers; 30% of the tokens are masked
    decoder           6 layers; the next token
    encoder-decoder   3 + 3 layers; of half of the documents 30% of the tokens in spans of 3 on
                      average, of the other half the second half

--output gets comparison.html, comparison.svg, comparison.json, the store, and a run each. An
interrupted comparison goes on when the same command is given again. Without --pairs there are no
minimal pairs. Exit codes as of nanojaxlm.main.
"""

import contextlib
import dataclasses
import gzip
import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console

from data_pipeline.encoder import Encoder
from data_pipeline.tokenize import TokenizerConfig, train_tokenizer
from nanojaxlm.checkpoint import CheckpointConfig
from nanojaxlm.config import Config, EvaluationConfig, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.objectives import CausalLM, Denoiser, MaskedLM, MixtureOfDenoisers, Objective
from nanojaxlm.data.padding import round_up
from nanojaxlm.errors import UserError, run
from nanojaxlm.evaluation.held_out_tokens import (
    HiddenTokens,
    continuations,
    hidden_tokens,
    windows,
)
from nanojaxlm.evaluation.minimal_pairs import Pair, judge, read_pairs
from nanojaxlm.evaluation.scoring import Scorer
from nanojaxlm.loading import Loaded, load
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import AttentionConfig, FeedForwardConfig, ModelConfig, StackConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import Muon, WarmupStableDecay
from nanojaxlm.reporting.comparison import Comparison, Curve, Rate, Subject, plot, render, table
from nanojaxlm.sharding import use_mesh
from nanojaxlm.state import num_parameters
from nanojaxlm.token_store import StoreWriter, TokenStore
from nanojaxlm.train import train
from nanojaxlm.typed_config import parse_command_line
from nanojaxlm.writers import METRICS, replace_text

_FLAGS = flags.FlagValues()
TEXT = flags.DEFINE_multi_string("text", [], "Texts to train on.", flag_values=_FLAGS)
HELD_OUT = flags.DEFINE_multi_string("held_out", [], "Texts to evaluate on.", flag_values=_FLAGS)
STORE = flags.DEFINE_string("store", None, "A token store, instead of texts.", flag_values=_FLAGS)
PAIRS = flags.DEFINE_string(
    "pairs", None, "Minimal pairs, JSON lines of BLiMP's fields, or .gz.", flag_values=_FLAGS
)
VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 4096, "Ids of the tokenizer.", lower_bound=260, flag_values=_FLAGS
)
OUTPUT = flags.DEFINE_string("output", None, "The folder to make.", flag_values=_FLAGS)
STEPS = flags.DEFINE_integer(
    "steps", 500, "Of 2048 tokens of text, of each model.", lower_bound=1, flag_values=_FLAGS
)
PAIRS_LIMIT = flags.DEFINE_integer(
    "pairs_limit", 100, "Pairs of each paradigm.", lower_bound=1, flag_values=_FLAGS
)
HIDDEN = flags.DEFINE_integer(
    "hidden_tokens", 1000, "Held-out tokens to hide.", lower_bound=1, flag_values=_FLAGS
)

D_MODEL, NUM_HEADS, LAYERS = 160, 5, 6
SEQUENCE_LENGTH, BATCH_SIZE = 128, 16
TOKENS_PER_STEP = SEQUENCE_LENGTH * BATCH_SIZE
NUM_SENTINELS = 32
CHECKPOINTS = 5  # of a run, at which hidden tokens are asked for
NUM_CONTINUATIONS = 400
FAMILIES: dict[str, tuple[int, int, int, Objective]] = {
    # layers of the encoder, of the decoder, width of a feed-forward, objective. The decoder's
    # cross-attention takes what the feed-forwards of the encoder-decoder are narrower by.
    "encoder": (LAYERS, 0, 640, MaskedLM(rate=0.3, keep=0.0, random=0.0)),
    "decoder": (0, LAYERS, 640, CausalLM()),
    "encoder-decoder": (
        LAYERS // 2,
        LAYERS // 2,
        480,
        MixtureOfDenoisers(
            denoisers=(
                Denoiser(density=0.3, mean_length=3.0),
                Denoiser(density=0.5, mean_length=None),
            ),
            num_sentinels=NUM_SENTINELS,
        ),
    ),
}


def family(name: str, store: TokenStore, steps: int) -> Config:
    """The config of one of the three."""
    encoder, decoder, hidden, objective = FAMILIES[name]

    def stack(num_layers: int) -> StackConfig | None:
        if not num_layers:
            return None
        return StackConfig(
            num_layers=num_layers,
            scan=False,
            attention=AttentionConfig(
                num_heads=NUM_HEADS,
                num_kv_heads=NUM_HEADS,
                head_dim=D_MODEL // NUM_HEADS,
                qk_norm="head",
            ),
            feed_forward=FeedForwardConfig(hidden=hidden, activation="relu_squared", gated=False),
        )

    return Config(
        model=ModelConfig(
            d_model=D_MODEL,
            vocab_size=round_up(store.manifest.vocab_size + NUM_SENTINELS),
            encoder=stack(encoder),
            decoder=stack(decoder),
            tie_embeddings=False,
            dtype="float32",
        ),
        data=DataConfig(
            stores=(store.path,),
            sequence_length=SEQUENCE_LENGTH,
            batch_size=BATCH_SIZE,
            objective=objective,
        ),
        optimizer=Muon(
            learning_rate=0.02,
            adam_learning_rate=0.005,
            schedule=WarmupStableDecay(warmup_steps=min(20, steps // 10), decay_rate=0.8),
        ),
        training=TrainingConfig(steps=steps, log_every=max(1, steps // 20)),
        loss=LossConfig(chunk_length=64),
        evaluation=EvaluationConfig(every=steps),
        checkpoint=CheckpointConfig(every=-(-steps // CHECKPOINTS), keep=CHECKPOINTS),
    )


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    if OUTPUT.value is None:
        raise UserError("--output is missing; name a folder, such as --output=out/compare")
    if bool(TEXT.value) == (STORE.value is not None):
        raise UserError("give --text=FILE, or --store=DIR, a token store")
    output, console, start = Path(OUTPUT.value), Console(), time.perf_counter()
    pairs = read_pairs(PAIRS.value, PAIRS_LIMIT.value) if PAIRS.value else []
    path = STORE.value or make_store(TEXT.value, HELD_OUT.value, output / "store", VOCAB_SIZE.value)
    store = TokenStore.open(path)
    split = DataConfig().validation_split
    texts = windows([store], split, SEQUENCE_LENGTH, HIDDEN.value)
    subjects = []
    for name in FAMILIES:
        console.print(f"\n{name}", style="bold")
        config, workdir = family(name, store, STEPS.value), output / name
        train(config, workdir, console)
        subjects.append(examine(name, config, workdir, texts, pairs))
    minutes = (time.perf_counter() - start) / 60
    validation = store.split(split)
    comparison = Comparison(
        subjects=tuple(subjects),
        most_frequent=most_frequent(texts, store),
        facts=(
            ("Training text", f"{store.split('train').num_tokens:,} tokens"),
            ("Held-out text", f"{validation.num_bytes:,} bytes"),
            ("Vocabulary", f"{store.manifest.vocab_size:,} ids"),
            ("A batch", f"{BATCH_SIZE} rows of {SEQUENCE_LENGTH} tokens"),
            ("Steps", f"{STEPS.value:,}"),
            ("Device", f"{jax.device_count()} x {jax.devices()[0].device_kind}"),
            ("jax", jax.__version__),
            ("Time of this command", f"{minutes:.1f} minutes"),
        ),
    )
    replace_text(output / "comparison.html", render(comparison))
    replace_text(output / "comparison.svg", plot(comparison))
    replace_text(
        output / "comparison.json", json.dumps(dataclasses.asdict(comparison), indent=2) + "\n"
    )
    console.print()
    console.print(table(comparison))
    console.print(f"{output / 'comparison.html'}, {output / 'comparison.svg'}", highlight=False)


def examine(
    name: str, config: Config, workdir: Path, texts: Sequence[Sequence[int]], pairs: Sequence[Pair]
) -> Subject:
    """Evaluates a finished run and its checkpoints; see Subject."""
    scorer = Scorer(Transformer(config.model))  # one for all checkpoints: it compiles once
    steps, every = config.training.steps, config.checkpoint.every
    saved = [*range(every, steps, every), steps]
    accuracies = [
        ask(scorer, load_step(workdir, step), texts, max(1, HIDDEN.value // 4)).accuracy
        for step in saved[:-1]
    ]
    loaded = load_step(workdir, steps)
    model, params, tokenizer = loaded.config.model, loaded.params, loaded.tokenizer
    hidden = ask(scorer, loaded, texts, HIDDEN.value)
    with use_mesh(loaded.mesh):
        judged = judge(scorer, params, model, tokenizer, pairs) if pairs else None
        some = texts[:: math.ceil(len(texts) / NUM_CONTINUATIONS)]
        continued = continuations(scorer, params, model, tokenizer, some)
    lines = [json.loads(line) for line in (workdir / METRICS).read_text().splitlines()]
    speeds = [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    whole_text = lines[-1]["validation_bits_per_byte"] if model.encoder is None else None
    return Subject(
        name=name,
        objective=describe(config.data.objective),
        parameters=num_parameters(params),
        tokens=steps * TOKENS_PER_STEP,
        tokens_per_second=statistics.median(speeds),
        loss=lines[-1]["validation_loss"],
        bits_per_byte=whole_text,
        second_halves=continued.bits_per_byte if continued else None,
        hidden=Rate(hidden.accuracy, hidden.num_tokens),
        pairs=Rate(judged.accuracy, judged.num_pairs) if judged else None,
        training_loss=averaged([line["loss"] for line in lines]),
        hidden_accuracy=Curve(
            tokens=[step * TOKENS_PER_STEP for step in saved],
            values=[*accuracies, hidden.accuracy],
        ),
    )


def load_step(workdir: Path, step: int) -> Loaded:
    return load(str(workdir / "checkpoints" / str(step)))


def ask(
    scorer: Scorer, loaded: Loaded, texts: Sequence[Sequence[int]], number: int
) -> HiddenTokens:
    """Of `number` hidden tokens of the texts."""
    with use_mesh(loaded.mesh):
        model = loaded.config.model
        return hidden_tokens(scorer, loaded.params, model, loaded.tokenizer, texts, number)


def averaged(losses: Sequence[float], most: int = 60) -> Curve:
    """Means over runs of steps: single batches differ much."""
    width = -(-len(losses) // most)
    ends = range(width, len(losses) + 1, width)
    return Curve(
        tokens=[end * TOKENS_PER_STEP for end in ends],
        values=[statistics.mean(losses[end - width : end]) for end in ends],
    )


def describe(objective: Objective) -> str:
    """What the objective hides, for the table."""
    if not objective.encodes:
        return "the next token"
    return "hidden tokens" if not objective.decodes else "hidden spans and second halves"


def most_frequent(texts: Sequence[Sequence[int]], store: TokenStore) -> float:
    """The part of the texts' tokens that is their commonest one."""
    counts = np.bincount(np.concatenate([np.asarray(text[1:]) for text in texts]))
    assert store.manifest.vocab_size >= len(counts)
    return float(counts.max() / counts.sum())


def make_store(texts: Sequence[str], held_out: Sequence[str], path: Path, vocab_size: int) -> str:
    """Trains a tokenizer on the texts and writes a token store; one that is there is kept.

    Raises:
        UserError: a text cannot be read or is too short.
    """
    with contextlib.suppress(UserError):
        return TokenStore.open(str(path)).path
    documents = [document for text in texts for document in read_documents(text)]
    if held_out:
        splits = {
            "train": documents,
            "validation": [document for text in held_out for document in read_documents(text)],
        }
    else:
        cuts = [len(document) * 9 // 10 for document in documents]
        splits = {
            "train": [document[:cut] for document, cut in zip(documents, cuts, strict=True)],
            "validation": [document[cut:] for document, cut in zip(documents, cuts, strict=True)],
        }
    tokenizer_config = TokenizerConfig(vocab_size=vocab_size, sample_megabytes=8.0)
    try:
        model = train_tokenizer(iter(splits["train"]), tokenizer_config)
    except UserError as error:  # it names the field of the curation's config
        flag = str(error).replace("--config.tokenizer.", "--").replace("config.tokenizer.", "--")
        raise UserError(flag) from None
    encoder = Encoder(model)
    sources = [*texts, *held_out]
    with StoreWriter(str(path), tokenizer=model, sources=sources, curation={}) as writer:
        for split, documents in splits.items():
            encoded = encoder.encode(documents)
            writer.write(split, encoded.tokens, encoded.lengths, int(encoded.num_bytes.sum()))
        writer.finish()
    return str(path)


def read_documents(path: str) -> Iterator[str]:
    """The documents of a file.

    Raises:
        UserError: it cannot be read, or a line lacks its text.
    """
    opened: Any = gzip.open if path.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            if not path.removesuffix(".gz").endswith(".jsonl"):
                yield file.read()
                return
            for number, line in enumerate(file, start=1):
                document = json.loads(line).get("text") if line.strip() else ""
                if not isinstance(document, str):
                    raise UserError(f"{path} line {number} has no field 'text' that is a text")
                if document:
                    yield document
    except UserError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}; name a UTF-8 .txt "
            "or .jsonl file"
        ) from None


if __name__ == "__main__":
    run(main)
