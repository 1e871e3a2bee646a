"""Continues prompts with a trained model.

    python -m nanojaxlm.generate --checkpoint=out/run --prompt="def main(" --max_tokens=200
    python -m nanojaxlm.generate --checkpoint=out/run --prompt=A --prompt=B --temperature=0

One prompt streams to the terminal as it is made; several are made together and printed one after
another. `--prompt=-` reads one from standard input. Exit codes as of nanojaxlm.main.
"""

import sys
from collections.abc import Sequence

from absl import flags

from nanojaxlm.errors import UserError, run
from nanojaxlm.inference.generator import Generator
from nanojaxlm.inference.sampling import Sampling
from nanojaxlm.loading import load
from nanojaxlm.sharding import use_mesh
from nanojaxlm.typed_config import parse_command_line

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A workdir, or WORKDIR/checkpoints/STEP.")
PROMPT = flags.DEFINE_multi_string("prompt", [], "A text to continue; may be given several times.")
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 200, "Tokens to add at most.", lower_bound=1)
TEMPERATURE = flags.DEFINE_float("temperature", 0.8, "0 takes the likeliest token.")
TOP_K = flags.DEFINE_integer("top_k", None, "Keep the k likeliest tokens.")
TOP_P = flags.DEFINE_float("top_p", None, "Keep the likeliest tokens that together reach p.")
MIN_P = flags.DEFINE_float(
    "min_p", None, "Keep tokens at least p times as likely as the likeliest."
)
STOP = flags.DEFINE_multi_string("stop", [], "End before this text; may be given several times.")
SEED = flags.DEFINE_integer("seed", 0, "The same seed gives the same text.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv)
    if CHECKPOINT.value is None:
        raise UserError("--checkpoint is missing; name the --workdir of a training run")
    prompts = [read_stdin() if prompt == "-" else prompt for prompt in PROMPT.value] or [""]
    try:
        sampling = Sampling(
            temperature=TEMPERATURE.value, top_k=TOP_K.value, top_p=TOP_P.value, min_p=MIN_P.value
        )
    except ValueError as error:
        raise UserError(f"--{error}") from None
    if any(not stop for stop in STOP.value):
        raise UserError("--stop must not be empty")
    loaded = load(CHECKPOINT.value)
    generator = Generator(loaded.model, loaded.tokenizer)
    texts = list(prompts)
    if len(prompts) == 1:
        print(prompts[0], end="", flush=True)
    with use_mesh(loaded.mesh):
        for piece in generator.stream(
            loaded.params, prompts, MAX_TOKENS.value, sampling, STOP.value, SEED.value
        ):
            texts[piece.row] += piece.text
            if len(prompts) == 1:
                print(piece.text, end="", flush=True)
    if len(prompts) == 1:
        print()
    else:
        print("\n\n".join(f"--- {i + 1}\n{text}" for i, text in enumerate(texts)))


def read_stdin() -> str:
    """Raises UserError where it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the prompt on standard input is not UTF-8 (byte {error.start}); convert it with iconv"
        ) from None


if __name__ == "__main__":
    run(main)
