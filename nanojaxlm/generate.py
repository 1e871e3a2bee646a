"""Writes with a trained model: continues prompts, answers them, or fills in their masks.

    python -m nanojaxlm.generate --checkpoint=out/run --prompt="def main(" --max_tokens=200
    python -m nanojaxlm.generate --checkpoint=out/run --prompt=A --prompt=B --temperature=0
    python -m nanojaxlm.generate --checkpoint=out/run --prompt="The cat <mask> on the mat."
    python -m nanojaxlm.generate --checkpoint=out/run --prompt="The <extra_id_0> sat." --special
    python -m nanojaxlm.generate --checkpoint=out/run --prompt="def f(" --suffix="return x"

A decoder continues the prompt; with an encoder beside it, the encoder reads the prompt and the
decoder writes; an encoder alone fills in each <mask> and tells how likely it took it to be. One
prompt streams to the terminal as it is continued; several are made together and printed one after
another. `--prompt=-` reads one from standard input. Exit codes as of nanojaxlm.main.
"""

import sys
from collections.abc import Iterable, Sequence

from absl import flags

from nanojaxlm.compilation_cache import use_compilation_cache
from nanojaxlm.errors import UserError, run
from nanojaxlm.inference.filler import Filler
from nanojaxlm.inference.generator import Generator
from nanojaxlm.inference.prompts import middle_text
from nanojaxlm.inference.sampling import Sampling
from nanojaxlm.loading import Loaded, load
from nanojaxlm.sharding import use_mesh
from nanojaxlm.typed_config import parse_command_line

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A workdir, or WORKDIR/checkpoints/STEP.")
PROMPT = flags.DEFINE_multi_string("prompt", [], "A text; may be given several times.")
SUFFIX = flags.DEFINE_string(
    "suffix", None, "Write what stands between the prompt and this; of decoders trained to do so."
)
PREFIX = flags.DEFINE_bool(
    "prefix", False, "Let all of the prompt see all of it; of decoders trained as prefix-LMs."
)
SPECIAL = flags.DEFINE_bool(
    "special", False, "Read and write special tokens by their names, such as <extra_id_0>."
)
AT_ONCE = flags.DEFINE_bool(
    "at_once", False, "Fill in all masks in one pass, not the surest first and the next after it."
)
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
    use_compilation_cache()
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
    with use_mesh(loaded.mesh):
        if loaded.config.model.decoder is None:
            fill_in(loaded, prompts, sampling)
        else:
            write_on(loaded, prompts, sampling)


def write_on(loaded: Loaded, prompts: Sequence[str], sampling: Sampling) -> None:
    """Prints what the decoder writes, after the prompt where it continues it."""
    generator = Generator(loaded.model, loaded.tokenizer)
    reads_prompt = loaded.config.model.encoder is not None
    asked: list[str | list[int]] = list(prompts)
    if SUFFIX.value is not None:
        if reads_prompt:
            raise UserError("--suffix needs a decoder alone; write <extra_id_0> into the prompt")
        asked = [middle_text(loaded.tokenizer, prompt, SUFFIX.value) for prompt in prompts]
    texts = [""] * len(prompts) if reads_prompt else list(prompts)
    alone = len(prompts) == 1
    if alone:
        print(texts[0], end="", flush=True)
    for piece in generator.stream(
        loaded.params,
        asked,
        MAX_TOKENS.value,
        sampling,
        STOP.value,
        SEED.value,
        prefix=PREFIX.value,
        special=SPECIAL.value,
    ):
        texts[piece.row] += piece.text
        if alone:
            print(piece.text, end="", flush=True)
    suffix = SUFFIX.value or ""
    if alone:
        print(suffix)
    else:
        show(text + suffix for text in texts)


def fill_in(loaded: Loaded, prompts: Sequence[str], sampling: Sampling) -> None:
    """Prints the prompts with their masks filled in, and how likely each was."""
    for name, value in (("suffix", SUFFIX.value), ("stop", STOP.value), ("prefix", PREFIX.value)):
        if value:
            raise UserError(f"--{name} is of decoders; this model fills in masks")
    filler = Filler(loaded.model, loaded.tokenizer)
    filled = filler.fill(loaded.params, prompts, sampling, at_once=AT_ONCE.value, seed=SEED.value)
    lines = [
        "\n".join(
            [text, *(f"    {choice.probability:7.2%}  {choice.text!r}" for choice in choices)]
        )
        for text, choices in filled
    ]
    if len(lines) == 1:
        print(lines[0])
    else:
        show(lines)


def show(texts: Iterable[str]) -> None:
    print("\n\n".join(f"--- {i}\n{text}" for i, text in enumerate(texts, start=1)))


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
