"""Should you build it at all? Compute, hours, money, energy and memory of a model, and a verdict.

    python -m nanojaxlm.plan --params=6.74e9 --tokens=2e12 --accelerator=a100-80gb
    python -m nanojaxlm.plan --params=7B --corpus=out/curation/store --queries=2M --data_stays
    python -m nanojaxlm.plan --budget=250k --accelerator=h100 --html=plan.html
    python -m nanojaxlm.plan --days=30 --chips=64 --accelerator=v5p
    python -m nanojaxlm.plan --config=configs/models/llama.py:3.1-8b --measured=out/run
    python -m nanojaxlm.plan --constants

Give what you know; the planner completes the rest and says how. Numbers may be written as 6.74e9,
7B, 2T, 180k. Every constant has a range, a source and a date (--constants lists them); each can be
set: --set=h100.price_per_hour=2.1, or with a range, --set=power.pue=1.1:1.2:1.5; --assumptions=FILE
reads such lines as TOML. Money is US dollars. --json prints all figures, --html=FILE writes a page.
--measured takes speed, MFU and bytes a token from a finished run in place of the table's, and the
scaling law where configs.scaling_law has fitted one there. Nothing is fetched from a network.

Exit codes: 0 done, 2 a mistake, 1 a bug.
"""

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags
from rich.console import Console

from nanojaxlm.accelerators import CPU, chip_of
from nanojaxlm.config import Config
from nanojaxlm.economics import page, terminal
from nanojaxlm.economics.answer import answer, chip_named
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.measured import Measured, on_measured, read_run
from nanojaxlm.economics.needs import corpus_tokens
from nanojaxlm.economics.numbers import parse_number, parse_range
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.table import ASSUMPTIONS, GENERATION
from nanojaxlm.errors import UserError, run
from nanojaxlm.typed_config import config_file, parse_flags
from nanojaxlm.writers import write_named

config_flags.DEFINE_config_file("config", None, "A model's config, instead of --params.")
_NUMBERS = {
    "params": "Parameters, all of them.",
    "active_params": "Of a mixture of experts: those that one token meets.",
    "tokens": "To train on, repetitions included.",
    "budget": "Dollars for accelerators, experiments included.",
    "days": "That the final run may take.",
    "target_loss": "Nats a token on held-out text, by the scaling law.",
    "chips": "Accelerators; by default as many as are done in --days, or 60.",
    "sequence_length": "Tokens of a row; by default the config's, the measured run's, or usual.",
    "queries": "Expected a month.",
}
NUMBERS = {name: flags.DEFINE_string(name, None, text) for name, text in _NUMBERS.items()}
# Flags for the constants that most people know; {} is the accelerator.
_CONSTANTS = {
    "price": ("{}.price_per_hour", "Dollars a chip-hour, or LOW:VALUE:HIGH."),
    "electricity": ("electricity.price_per_kwh", "Dollars a kWh."),
    "staff": ("build.staff", "Full-time people who build the model until it is launched."),
    "salary": ("staff.cost_per_year", "Dollars a year and person, all costs of employing counted."),
    "api_input_price": ("api.input_price", "Dollars a million tokens read."),
    "api_output_price": ("api.output_price", "Dollars a million tokens written."),
    "input_tokens": ("use.input_tokens", "Tokens of a query."),
    "output_tokens": ("use.output_tokens", "Tokens of its answer."),
}
CONSTANTS = {name: flags.DEFINE_string(name, None, text) for name, (_, text) in _CONSTANTS.items()}
CORPUS = flags.DEFINE_string("corpus", None, "A token store, or files of raw text: what there is.")
ACCELERATOR = flags.DEFINE_string("accelerator", None, "h100 by default; --constants lists them.")
YEARS = flags.DEFINE_integer("years", 3, "Of use, that totals are of.")
BUY = flags.DEFINE_boolean("buy", False, "Count machines as bought, not rented.")
DATA_STAYS = flags.DEFINE_boolean("data_stays", False, "Data must not leave the house: no API.")
DOMAIN = flags.DEFINE_boolean("domain_specific", False, "A general model as it is would not do.")
NO_OPEN = flags.DEFINE_boolean("no_open_model", False, "There is none to fine-tune.")
MEASURED = flags.DEFINE_string("measured", None, "A finished run's workdir, or a scaling law's.")
SET = flags.DEFINE_multi_string("set", [], "NAME=VALUE or NAME=LOW:VALUE:HIGH, of a constant.")
FILE = flags.DEFINE_string("assumptions", None, "A TOML file of constants, by their names.")
JSON = flags.DEFINE_boolean("json", False, "Print all figures as JSON, and nothing else.")
HTML = flags.DEFINE_string("html", None, "A file for the page.")
LIST = flags.DEFINE_boolean("constants", False, "List every constant with its source, and end.")


def main(argv: Sequence[str]) -> None:
    config = parse_flags(argv, Config)
    jax.config.update("jax_platforms", "cpu")  # an accelerator that is here is left alone
    measured = read_run(MEASURED.value) if MEASURED.value else None
    accelerator = chip_measured(measured) if measured else "h100"
    if ACCELERATOR.value is not None:
        accelerator = ACCELERATOR.value.lower()
    chip_named(accelerator)
    assumptions = given(accelerator, measured)
    console = Console()
    if LIST.value:
        terminal.show_constants(assumptions, console)
        return
    if config is not None and config.model.vocab_size is None:
        config = with_vocab(config, measured)
    overrides = [word for word in argv if word.startswith("--config.")]
    config_name = " ".join((config_file(argv) or "", *overrides))
    asked = question(accelerator, config, config_name, assumptions, measured)
    found = answer(asked, assumptions, measured)
    if HTML.value:
        write_named("--html", Path(HTML.value), page.render(found))
    if JSON.value:
        print(json.dumps(found.plain(), indent=2, allow_nan=False))
        return
    terminal.show(found, console)
    if HTML.value:
        console.print(f"The whole answer: {HTML.value}", soft_wrap=True, highlight=False)


def with_vocab(config: Config, measured: Measured | None) -> Config:
    """Training takes the number of ids from the store's tokenizer; here it must be known.

    Raises:
        UserError: nothing says it.
    """
    if measured is None or measured.vocab_size is None:
        raise UserError(
            "the config leaves the number of ids to the token store's tokenizer; give "
            "--config.model.vocab_size=N, such as 32000, or --measured=WORKDIR of a run"
        )
    model = dataclasses.replace(config.model, vocab_size=measured.vocab_size)
    return dataclasses.replace(config, model=model)


def question(
    accelerator: str,
    config: Config | None,
    config_name: str,
    assumptions: Assumptions,
    measured: Measured | None,
) -> Question:
    """Of the flags.

    Raises:
        UserError: a flag is no number, or they do not fit together.
    """
    numbers: dict[str, Any] = {}
    for name, flag in NUMBERS.items():
        if flag.value is not None:
            numbers[name] = parse_number(f"--{name}", flag.value)
    for name in ("chips", "sequence_length"):
        if name in numbers:
            if numbers[name] != int(numbers[name]):
                raise UserError(f"--{name}={NUMBERS[name].value} must be a whole number")
            numbers[name] = int(numbers[name])
    if measured is not None and config is None:
        numbers.setdefault("sequence_length", measured.sequence_length)
    queries = numbers.pop("queries", 0.0)
    corpus = corpus_tokens(CORPUS.value, assumptions) if CORPUS.value else None
    return Question(
        config=config, config_name=config_name, corpus=CORPUS.value, corpus_tokens=corpus,
        accelerator=accelerator, queries_per_month=queries,
        years=YEARS.value, buy=BUY.value, data_stays=DATA_STAYS.value,
        domain_specific=DOMAIN.value, no_open_model=NO_OPEN.value, **numbers,
    )  # fmt: skip


def given(accelerator: str, measured: Measured | None) -> Assumptions:
    """The table, under what was measured, under the file, under the flags.

    Raises:
        UserError: no such constant, or no number.
    """
    assumptions = ASSUMPTIONS
    if measured is not None:
        same = GENERATION[chip_measured(measured)] == GENERATION[accelerator]
        assumptions = on_measured(assumptions, measured, GENERATION[accelerator] if same else None)
    for name, text in from_file(FILE.value) if FILE.value else ():
        assumptions = assumptions.overriding(name, parse_range(name, text), str(FILE.value))
    for flag, (pattern, _) in _CONSTANTS.items():
        if (text := CONSTANTS[flag].value) is not None:
            value = parse_range(f"--{flag}", text)
            assumptions = assumptions.overriding(pattern.format(accelerator), value, f"--{flag}")
    for setting in SET.value:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set={setting} lacks its value; write --set=NAME=VALUE")
        value = parse_range(f"--set={name}", text)
        assumptions = assumptions.overriding(name, value, "--set")
    return assumptions


def from_file(path: str) -> list[tuple[str, str]]:
    """(name, value) of a TOML file: [h100] price_per_hour = 2.1, or price_per_hour = "1:2:3".

    Raises:
        UserError: it cannot be read.
    """
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--assumptions={path} cannot be read as TOML: {error}") from None
    return list(_flat(tree))


def _flat(tree: dict[str, Any], prefix: str = ""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, str(value)


def chip_measured(measured: Measured) -> str:
    """The table's name of the chip that a run was measured on; cpu where it does not say."""
    chip = chip_of(measured.device)
    return CPU.name if chip is None else chip.name


if __name__ == "__main__":
    run(main)
