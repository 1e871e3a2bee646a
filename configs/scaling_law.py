"""A ladder of small runs, the law L(N, D) fitted to them, and a larger run that tests it.

    python -m configs.scaling_law --text=train.jsonl.gz --held_out=validation.jsonl.gz \
        --output=out/scaling
    python -m configs.scaling_law --store=DIR/store --output=out/scaling

Texts are as configs.compare_families reads them. Every run has one recipe: size k is a decoder of k
layers and k heads of 16, 16 k wide; Muon, whose rates need no change with width; batches of 1,024
tokens; a rate that falls in a line to 0 at the run's end; no token read twice. Sizes and amounts
are combined where the run costs no more than --most_flops. The fit is written to
scaling_law.json before the larger run begins, and once more, with its loss, after it;
scaling_law.html shows both. Finished runs, below --output/runs, are not repeated.

On 19 English novels (15,977,884 bytes, 8,031,158 tokens; 300,000 bytes of three by other authors
held out), 2026-11-27, two cores of an Intel Xeon shared with as much other work, jax 0.10.2, commit
b9fdad3: 9 runs of 57,568 to 466,960 parameters and 0.8 to 3.2 million tokens in about 20 minutes,
then 763,296 parameters and 2,199,552 tokens, 4.0 times the most compute of the 9, in 10:

    L = 2.295 + 140.1 / N^0.487 + 3719 / D^0.663      N: all parameters; nats a token of 1.96 bytes
    alpha 0.304 to 0.718, beta 0.534 to 0.998         90% intervals
    2.7204 predicted (2.6572 to 2.7294), 2.7022 measured: off by 0.67%

A first ladder, up to 1.3e12 FLOPs and with runs of 400,000 tokens too, predicted 2.8562 (2.8041 to
2.9194) for a run of 4.3 times its most compute that came to 2.8263: off by 1.06%. Its residuals
showed that 390 steps are too few for a law, and they were left out; the runs that both have in
common were made once. Both erred upwards. So short runs say little of E, and of what a thousand
times the compute would bring: see the intervals.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from rich.console import Console

from configs.compare_families import make_store, read_documents
from nanojaxlm.checkpoint import CheckpointConfig
from nanojaxlm.config import Config, EvaluationConfig, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.economics.fit_page import render, table, verdict
from nanojaxlm.economics.fitting import SCALING_LAW, Fit, Point, Text, fit
from nanojaxlm.economics.scaling import TRAINING_FLOPS
from nanojaxlm.errors import UserError, run
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import AttentionConfig, FeedForwardConfig, ModelConfig, StackConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import Muon, WarmupStableDecay
from nanojaxlm.state import num_parameters, parameter_boxes
from nanojaxlm.token_store import TokenStore
from nanojaxlm.train import CONFIG, train
from nanojaxlm.typed_config import dump_json, parse_command_line
from nanojaxlm.writers import METRICS, replace_text

_FLAGS = flags.FlagValues()
TEXT = flags.DEFINE_multi_string("text", [], "Texts to train on.", flag_values=_FLAGS)
HELD_OUT = flags.DEFINE_multi_string(
    "held_out", [], "Texts to evaluate on; else the last tenth of each.", flag_values=_FLAGS
)
HELD_OUT_BYTES = flags.DEFINE_integer(
    "held_out_bytes", 300_000, "Of --held_out, from the beginning of each document.",
    lower_bound=1000, flag_values=_FLAGS,
)  # fmt: skip
STORE = flags.DEFINE_string("store", None, "A token store, instead of texts.", flag_values=_FLAGS)
VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 512, "Ids of the tokenizer; many would make small models all embedding.",
    lower_bound=260, flag_values=_FLAGS,
)  # fmt: skip
OUTPUT = flags.DEFINE_string("output", None, "The folder to make.", flag_values=_FLAGS)
SIZES = flags.DEFINE_list("sizes", ["2", "3", "4", "5"], "Of the ladder.", flag_values=_FLAGS)
TOKENS = flags.DEFINE_list(
    "tokens", ["800000", "1600000", "3200000"], "Of the ladder.", flag_values=_FLAGS
)
MOST_FLOPS = flags.DEFINE_float(
    "most_flops", 2.6e12, "Of a run of the ladder, 6 N D.", lower_bound=0, flag_values=_FLAGS
)
LARGER_SIZE = flags.DEFINE_integer(
    "larger_size", 6, "Of the run that tests the law; 0 = none.", lower_bound=0, flag_values=_FLAGS
)
LARGER_TOKENS = flags.DEFINE_integer(
    "larger_tokens", 2_200_000, "Of that run.", lower_bound=1, flag_values=_FLAGS
)

HEAD_DIM = 16
SEQUENCE_LENGTH, BATCH_SIZE = 128, 8
TOKENS_PER_STEP = SEQUENCE_LENGTH * BATCH_SIZE


class Rung(NamedTuple):
    """A run of the ladder."""

    size: int
    steps: int
    params: int

    @property
    def tokens(self) -> int:
        return self.steps * TOKENS_PER_STEP

    @property
    def flops(self) -> float:
        return TRAINING_FLOPS * self.params * self.tokens

    @property
    def name(self) -> str:
        return f"size{self.size}-{self.tokens}"


def model_of(size: int, vocab_size: int) -> ModelConfig:
    return ModelConfig(
        d_model=HEAD_DIM * size,
        vocab_size=vocab_size,
        tie_embeddings=False,
        dtype="float32",
        decoder=StackConfig(
            num_layers=size,
            scan=False,
            attention=AttentionConfig(
                num_heads=size, num_kv_heads=size, head_dim=HEAD_DIM, qk_norm="head"
            ),
            feed_forward=FeedForwardConfig(
                hidden=4 * HEAD_DIM * size, activation="relu_squared", gated=False
            ),
        ),
    )


def recipe(rung: Rung, store: TokenStore) -> Config:
    """The config of a run; what differs between two is the model's size and the steps."""
    steps = rung.steps
    return Config(
        model=model_of(rung.size, store.manifest.vocab_size),
        data=DataConfig(
            stores=(store.path,), sequence_length=SEQUENCE_LENGTH, batch_size=BATCH_SIZE
        ),
        optimizer=Muon(
            learning_rate=0.02,
            adam_learning_rate=0.01,
            schedule=WarmupStableDecay(warmup_steps=min(20, steps // 10), decay_rate=0.8),
        ),
        training=TrainingConfig(steps=steps, log_every=max(1, steps // 10)),
        loss=LossConfig(chunk_length=SEQUENCE_LENGTH),
        evaluation=EvaluationConfig(every=steps),
        checkpoint=CheckpointConfig(every=steps, keep=1),
    )


def rungs_of(size: int, amounts: Sequence[int], vocab_size: int) -> list[Rung]:
    """One size with each amount of tokens, in whole steps."""
    params = num_parameters(parameter_boxes(Transformer(model_of(size, vocab_size))))
    return [Rung(size, max(1, tokens // TOKENS_PER_STEP), params) for tokens in amounts]


def ladder(
    sizes: Sequence[int], amounts: Sequence[int], most_flops: float, vocab_size: int
) -> list[Rung]:
    """Every size with every amount of tokens that costs no more than that, the cheapest first."""
    rungs = [rung for size in sizes for rung in rungs_of(size, amounts, vocab_size)]
    return sorted((rung for rung in rungs if rung.flops <= most_flops), key=lambda r: r.flops)


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    if OUTPUT.value is None:
        raise UserError("--output is missing; name a folder, such as --output=out/scaling")
    if bool(TEXT.value) == (STORE.value is not None):
        raise UserError("give --text=FILE, or --store=DIR, a token store")
    sizes, amounts = _numbers("sizes", SIZES.value), _numbers("tokens", TOKENS.value)
    output, console = Path(OUTPUT.value), Console()
    store = TokenStore.open(STORE.value or _store_of_texts(output))
    vocab_size = store.manifest.vocab_size
    rungs = ladder(sizes, amounts, MOST_FLOPS.value, vocab_size)
    larger = None
    if LARGER_SIZE.value:
        (larger,) = rungs_of(LARGER_SIZE.value, [LARGER_TOKENS.value], vocab_size)
    check(rungs, larger, store)

    points = [measure(rung, store, output / "runs", console) for rung in rungs]
    fitted = dataclasses.replace(fit(points), text=describe(store))
    write(fitted, output)  # before the larger run begins: what follows is a prediction
    if larger is not None:
        predicted = fitted.predict(larger.params, larger.tokens)
        console.print(
            f"\nthe law predicts {predicted.central:.4f} ({predicted.low:.4f} to "
            f"{predicted.high:.4f}) for {larger.params:,} parameters and {larger.tokens:,} tokens",
            highlight=False,
        )
        point = measure(larger, store, output / "runs", console)
        fitted = dataclasses.replace(fitted, held_out=point)
        write(fitted, output)
    console.print(table(fitted))
    console.print(verdict(fitted), highlight=False)
    console.print(f"{output / SCALING_LAW}, {output / 'scaling_law.html'}", highlight=False)


def check(rungs: Sequence[Rung], larger: Rung | None, store: TokenStore) -> None:
    """Raises:
    UserError: nothing can be fitted, the larger run is none, or tokens would be read twice.
    """
    pairs = {(rung.size, rung.tokens) for rung in rungs}
    columns = [len(set(column)) for column in zip(*pairs, strict=True)]
    if len(pairs) < 5 or min(columns) < 3:
        raise UserError(
            f"--sizes, --tokens and --most_flops leave {len(pairs)} runs; a law needs 5, of 3 "
            "sizes and 3 amounts of tokens"
        )
    most = max(rungs, key=lambda rung: rung.flops)
    params = max(rung.params for rung in rungs)
    if larger is not None and not (larger.flops > most.flops and larger.params > params):
        raise UserError(
            "--larger_size and --larger_tokens must exceed the ladder in parameters and compute: "
            f"{larger.params:,} and {larger.flops:.3g} FLOPs against {params:,} and "
            f"{most.flops:.3g}"
        )
    needed = max(rung.tokens for rung in (*rungs, *([larger] if larger else [])))
    there = store.split("train").num_tokens
    if needed > there:
        raise UserError(
            f"{store.path} has {there:,} training tokens, but a run of {needed:,} shall read none "
            "twice: add text, or lower --tokens and --larger_tokens"
        )


def measure(rung: Rung, store: TokenStore, runs: Path, console: Console) -> Point:
    """Trains, unless that has been done, and reads the loss on all held-out text.

    Raises:
        UserError: the run's folder holds another run.
    """
    config, workdir = recipe(rung, store), runs / rung.name
    saved = workdir / CONFIG
    if saved.exists() and saved.read_text(encoding="utf-8") != dump_json(config):
        raise UserError(
            f"{workdir} was trained with another config or store; name another --output"
        )
    loss = _final_loss(workdir, rung.steps)
    if loss is None:
        console.print(
            f"\n{rung.name}: {rung.params:,} parameters, {rung.tokens:,} tokens, "
            f"{rung.flops:.3g} FLOPs",
            style="bold", highlight=False,
        )  # fmt: skip
        train(config, workdir, console)
        loss = _final_loss(workdir, rung.steps)
        assert loss is not None
    return Point(params=rung.params, tokens=rung.tokens, loss=loss)


def describe(store: TokenStore) -> Text:
    manifest = store.manifest
    held_out = manifest.splits["validation"]
    return Text(
        sources=tuple(map(str, manifest.sources)),
        tokenizer=manifest.tokenizer,
        vocab_size=manifest.vocab_size,
        train=manifest.splits["train"].digest,
        held_out=held_out.digest,
        bytes_per_token=held_out.num_bytes / held_out.num_tokens,
    )


def write(fitted: Fit, output: Path) -> None:
    replace_text(output / SCALING_LAW, json.dumps(fitted.plain(), indent=2) + "\n")
    replace_text(output / "scaling_law.html", render(fitted))


def _final_loss(workdir: Path, steps: int) -> float | None:
    """Of a finished run; None where it has not finished."""
    path = workdir / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    return last.get("validation_loss") if last.get("step") == steps else None


def _store_of_texts(output: Path) -> str:
    held_out = []
    if HELD_OUT.value:  # the same for all runs, so that little of it is enough
        documents = [document for path in HELD_OUT.value for document in read_documents(path)]
        each = HELD_OUT_BYTES.value // max(1, len(documents))
        parts = [document.encode()[:each].decode(errors="ignore") for document in documents]
        path = output / "held_out.jsonl"
        output.mkdir(parents=True, exist_ok=True)
        replace_text(path, "".join(json.dumps({"text": part}) + "\n" for part in parts))
        held_out = [str(path)]
    store = make_store(TEXT.value, held_out, output / "store", VOCAB_SIZE.value)
    return str(Path(store).resolve())


def _numbers(name: str, values: Sequence[str]) -> list[int]:
    if not all(value.strip().isdecimal() and int(value) > 0 for value in values):
        raise UserError(f"--{name}={','.join(values)} must be whole numbers above 0, with commas")
    return sorted({int(value) for value in values})


if __name__ == "__main__":
    run(main)
