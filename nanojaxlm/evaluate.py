"""Evaluates a trained model on the held-out documents of its token stores, and on pairs.

    python -m nanojaxlm.evaluate --checkpoint=out/run
    python -m nanojaxlm.evaluate --checkpoint=out/run/checkpoints/500 --store=DIR --split=validation
    python -m nanojaxlm.evaluate --checkpoint=out/run --minimal_pairs=blimp.jsonl.gz
    python -m nanojaxlm.evaluate --checkpoint=out/run --hidden_tokens=2000 --continuations=200

Always: the loss of the model's own objective, nats a target; of a decoder alone, the bits per byte
of the whole text. An encoder gives no probability to a whole text: it has none. On request, the
same for models of any kind: the part of hidden tokens that is guessed right (an encoder sees both
sides, a decoder alone the left one only), bits per byte of second halves given the first halves
(no encoder alone), and the part of minimal pairs whose good sentence is preferred. Writes all to
--output, by default evaluation.json in the workdir. Exit codes as of nanojaxlm.main.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from nanojaxlm.compilation_cache import use_compilation_cache
from nanojaxlm.data.input import DataConfig, validation_batches
from nanojaxlm.data.objectives import CausalLM
from nanojaxlm.data.stores import open_stores
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.errors import UserError, explain, run
from nanojaxlm.evaluation.held_out import HeldOut, evaluate
from nanojaxlm.evaluation.held_out_tokens import continuations, hidden_tokens, windows
from nanojaxlm.evaluation.minimal_pairs import judge, read_pairs
from nanojaxlm.evaluation.scoring import Scorer
from nanojaxlm.loading import Loaded, load
from nanojaxlm.sharding import batch_sharding, use_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.step import make_eval_step
from nanojaxlm.token_store import TokenStore
from nanojaxlm.typed_config import parse_command_line
from nanojaxlm.writers import replace_text

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A workdir, or WORKDIR/checkpoints/STEP.")
STORE = flags.DEFINE_multi_string("store", [], "Token stores; by default those it was trained on.")
SPLIT = flags.DEFINE_string("split", None, "By default the validation split of its config.")
PAIRS = flags.DEFINE_string("minimal_pairs", None, "A JSON lines file of BLiMP's fields, or .gz.")
PAIRS_LIMIT = flags.DEFINE_integer(
    "pairs_limit", None, "The first so many pairs of each paradigm; by default all.", lower_bound=1
)
HIDDEN = flags.DEFINE_integer(
    "hidden_tokens", 0, "Held-out tokens to hide and ask for, one at a time.", lower_bound=0
)
CONTINUATIONS = flags.DEFINE_integer(
    "continuations", 0, "Held-out texts whose second halves to ask for.", lower_bound=0
)
OUTPUT = flags.DEFINE_string("output", None, "By default WORKDIR/evaluation.json.")


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv)
    use_compilation_cache()
    if CHECKPOINT.value is None:
        raise UserError("--checkpoint is missing; name the --workdir of a training run")
    pairs = read_pairs(PAIRS.value, PAIRS_LIMIT.value) if PAIRS.value else []
    loaded = load(CHECKPOINT.value)
    data = loaded.config.data
    if STORE.value:
        data = dataclasses.replace(data, stores=tuple(STORE.value), weights=(), text=None)
    if SPLIT.value is not None:
        data = dataclasses.replace(data, validation_split=SPLIT.value)
    stores = open_stores(data, loaded.workdir)
    if stores[0].tokenizer != loaded.tokenizer.model:
        raise UserError(
            f"store {stores[0].path} was tokenized with another tokenizer than the checkpoint's; "
            "tokenize its documents with the checkpoint's"
        )
    start = time.perf_counter()
    result: dict[str, Any] = {
        "step": loaded.step,
        "store": [store.path for store in stores],
        "split": data.validation_split,
        "objective": type(data.objective).__name__,
    }
    model, params, tokenizer = loaded.config.model, loaded.params, loaded.tokenizer
    with use_mesh(loaded.mesh):
        own = held_out(loaded, data, stores)
        result |= {"tokens": own.num_tokens, "bytes": own.num_bytes, "loss": own.loss}
        result["bits_per_byte"] = None
        if model.encoder is None:
            causal = dataclasses.replace(data, objective=CausalLM())
            whole = own if data.objective == CausalLM() else held_out(loaded, causal, stores)
            result |= {"bytes": whole.num_bytes, "bits_per_byte": whole.bits_per_byte}
        scorer = Scorer(loaded.model)
        split, length = data.validation_split, data.sequence_length
        if HIDDEN.value:
            texts = windows(stores, split, length, HIDDEN.value)
            hidden = hidden_tokens(scorer, params, model, tokenizer, texts, HIDDEN.value)
            result["hidden_tokens"] = hidden._asdict()
        if CONTINUATIONS.value:
            texts = windows(stores, split, length, CONTINUATIONS.value)
            continued = continuations(scorer, params, model, tokenizer, texts)
            result["continuations"] = continued and continued._asdict()
        if pairs:
            judged = judge(scorer, params, model, tokenizer, pairs)
            result["minimal_pairs"] = judged._asdict()
    result["seconds"] = time.perf_counter() - start
    output = Path(OUTPUT.value) if OUTPUT.value else loaded.workdir / "evaluation.json"
    try:
        replace_text(output, json.dumps(result, indent=2) + "\n")
    except OSError as error:
        if explain(error):  # a full disk
            raise
        raise UserError(
            f"cannot write {output} ({error.strerror}): name another file with --output"
        ) from None
    Console().print(summary(result, output), highlight=False, soft_wrap=True)


def held_out(loaded: Loaded, data: DataConfig, stores: Sequence[TokenStore]) -> HeldOut:
    """One pass over the split by the objective of `data`."""
    eval_step = make_eval_step(
        loaded.model,
        loaded.config.loss,
        loaded.tokenizer.bytes_per_token(),
        abstract_params(parameter_boxes(loaded.model), loaded.mesh),
        loaded.mesh,
    )
    vocabulary = Vocabulary.of(loaded.tokenizer, loaded.config.model.start_id)
    batches = validation_batches(data, stores, batch_sharding(loaded.mesh), vocabulary)
    return evaluate(eval_step, loaded.params, batches)


def summary(result: dict[str, Any], output: Path) -> str:
    """What was found, in a line each."""
    lines = []
    if result["bits_per_byte"] is None:
        lines.append(
            f"step {result['step']}: {result['loss']:.4f} nats a target of {result['objective']}, "
            f"over {result['tokens']:,} held-out targets ({output})"
        )
    else:
        lines.append(
            f"step {result['step']}: {result['loss']:.4f} nats a token, "
            f"{result['bits_per_byte']:.4f} bits per byte, over {result['bytes']:,} held-out bytes "
            f"({output})"
        )
    if hidden := result.get("hidden_tokens"):
        lines.append(
            f"{hidden['accuracy']:.2%} of {hidden['num_tokens']:,} hidden tokens guessed right"
        )
    if continued := result.get("continuations"):
        lines.append(
            f"{continued['bits_per_byte']:.4f} bits per byte of the second halves of "
            f"{continued['num_windows']:,} texts"
        )
    if judged := result.get("minimal_pairs"):
        lines.append(f"{judged['accuracy']:.2%} of {judged['num_pairs']:,} minimal pairs right")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
