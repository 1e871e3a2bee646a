"""Evaluates a trained model on the held-out documents of its token stores.

    python -m nanojaxlm.evaluate --checkpoint=out/run
    python -m nanojaxlm.evaluate --checkpoint=out/run/checkpoints/500 --store=DIR --split=validation

Prints the loss in nats a token and the bits per byte, and writes them to --output, by default
evaluation.json in the workdir. Exit codes as of nanojaxlm.main.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from nanojaxlm.data.input import validation_batches
from nanojaxlm.data.stores import open_stores
from nanojaxlm.errors import UserError, explain, run
from nanojaxlm.evaluation.held_out import evaluate
from nanojaxlm.loading import load
from nanojaxlm.sharding import batch_sharding, use_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.step import make_eval_step
from nanojaxlm.typed_config import parse_command_line

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A workdir, or WORKDIR/checkpoints/STEP.")
STORE = flags.DEFINE_multi_string("store", [], "Token stores; by default those it was trained on.")
SPLIT = flags.DEFINE_string("split", None, "By default the validation split of its config.")
OUTPUT = flags.DEFINE_string("output", None, "By default WORKDIR/evaluation.json.")


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv)
    if CHECKPOINT.value is None:
        raise UserError("--checkpoint is missing; name the --workdir of a training run")
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
    with use_mesh(loaded.mesh):
        eval_step = make_eval_step(
            loaded.model,
            loaded.config.loss,
            loaded.tokenizer.bytes_per_token(),
            abstract_params(parameter_boxes(loaded.model), loaded.mesh),
            loaded.mesh,
        )
        batches = validation_batches(data, stores, batch_sharding(loaded.mesh))
        held_out = evaluate(eval_step, loaded.params, batches)
    result = {
        "step": loaded.step,
        "store": [store.path for store in stores],
        "split": data.validation_split,
        "tokens": held_out.num_tokens,
        "bytes": held_out.num_bytes,
        "loss": held_out.loss,
        "bits_per_byte": held_out.bits_per_byte,
        "seconds": time.perf_counter() - start,
    }
    output = Path(OUTPUT.value) if OUTPUT.value else loaded.workdir / "evaluation.json"
    try:
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        if explain(error):  # a full disk
            raise
        raise UserError(
            f"cannot write {output} ({error.strerror}): name another file with --output"
        ) from None
    Console().print(
        f"step {loaded.step}: {held_out.loss:.4f} nats a token, {held_out.bits_per_byte:.4f} bits "
        f"per byte, over {held_out.num_bytes:,} held-out bytes ({output})",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    run(main)
