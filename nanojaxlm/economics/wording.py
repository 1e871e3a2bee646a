"""Figures of an answer as text: what the page and the terminal both say."""

import re
import shlex
from collections.abc import Callable

from nanojaxlm.economics.alternatives import API, BUILD, QUERIES, TUNE, Alternative
from nanojaxlm.economics.answer import Answer
from nanojaxlm.economics.measured import Measured
from nanojaxlm.economics.numbers import amount, days, money
from nanojaxlm.economics.ownership import Ownership
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.verdict import quantity

NAMES = {BUILD: "Build", TUNE: "Fine-tune", API: "API"}
MOST_YEARS = 5  # that are shown one by one
_FLAGS = {"queries_per_month": "queries"}


def spread(values: Range, text: Callable[[float], str] = amount) -> str:
    """167k (131k to 360k)."""
    central = text(values.central)
    if values.low == values.high:
        return central
    return f"{central} ({text(values.low)} to {text(values.high)})"


def scientific(value: float) -> str:
    """8.09e22."""
    return f"{value:.2e}".replace("e+", "e").replace("e0", "e")


def percent(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


def signed(dollars: float) -> str:
    """With its sign, for differences and for scales."""
    return f"+{money(dollars)}" if dollars > 0 else round_dollars(dollars)


def round_dollars(dollars: float) -> str:
    """Of a scale."""
    return money(dollars) if dollars else "$0"


def volume(num_bytes: float) -> str:
    """8.4 TB."""
    for unit, size in (("EB", 1e18), ("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{amount(num_bytes / size)} {unit}"
    return f"{num_bytes:,.0f} bytes"


def memory(num_bytes: float) -> str:
    """12.5 GiB, 0.16 MiB."""
    if num_bytes >= 2**30:
        return f"{num_bytes / 2**30:,.2f} GiB"
    return f"{num_bytes / 2**20:.3g} MiB"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def model_size(answer: Answer) -> str:
    model = answer.model
    size = f"{amount(model.params)} parameters"
    if model.active_params < model.params:
        size += f", {amount(model.active_params)} active"
    return size


def asked(answer: Answer) -> str:
    """What is asked about, in one line."""
    queries, years = answer.question["queries_per_month"], answer.question["years"]
    use = f"{amount(queries)} queries a month" if queries else "no queries"
    return (
        f"{model_size(answer)} on {amount(answer.model.tokens)} tokens, "
        f"{plural(answer.chips, 'chip')} ({answer.accelerator}); {use} for {plural(years, 'year')}"
    )


def sureness(answer: Answer) -> str:
    if answer.verdict.sure:
        return "No plausible value of one assumption alone turns this around."
    number = len({flip.name for flip in answer.flips if flip.plausible})
    one = "one assumption" if number == 1 else f"any of {number} assumptions"
    return f"This is not certain: {one} could turn it around alone, at a plausible value."


def choices_left(answer: Answer) -> list[Alternative]:
    return [one for one in answer.alternatives if one.excluded is None]


def shown_years(years: int) -> list[int]:
    """Of a number of years those that charts and narrow tables show."""
    return [
        year for year in range(1, years + 1) if year in (1, 2, 3, 5, years) or years <= MOST_YEARS
    ]


def run_facts(answer: Answer) -> list[tuple[str, str]]:
    """Model, FLOPs and hours."""
    model, flops, wall = answer.model, answer.flops, answer.wall
    failures = amount(wall.failures) if wall.failures >= 0.01 else "none"
    rows = [
        ("Model", model_size(answer)),
        ("Tokens", f"{amount(model.tokens)}, {amount(model.tokens_per_param)} a parameter"),
        ("FLOPs, 6 · N · D", scientific(flops.six_nd)),
        (
            "FLOPs, exact count",
            f"{scientific(flops.exact)}, {percent(flops.attention / flops.exact)} attention",
        ),
    ]
    if flops.counted != flops.six_nd:
        rows.append(("FLOPs that hours are of", scientific(flops.counted)))
    return [
        *rows,
        ("MFU", spread(answer.mfu, percent)),
        ("Chip-hours", spread(answer.accelerator_hours)),
        ("Chips", f"{answer.chips:,} x {answer.accelerator}"),
        ("Wall time", spread(wall.days, days)),
        ("Goodput", percent(wall.goodput)),
        (
            "Failures",
            f"{failures}, one every {days(wall.hours_between_failures / 24)}",
        ),
        ("A checkpoint every", days(wall.checkpoint_minutes / 1440)),
    ]


def money_facts(answer: Answer) -> list[tuple[str, str]]:
    """The final run's rent and energy."""
    used = answer.energy
    power = used.kwh / 1000
    carbon = used.co2e_kg / 1000
    return [
        ("Rent of a chip-hour", money(answer.price_per_chip_hour)),
        ("Rent of the final run", spread(answer.cloud_dollars, money)),
        (
            "Electricity",
            f"{amount(power)} MWh" if power >= 1 else f"{amount(used.kwh)} kWh",
        ),
        ("its price, in the rent", money(used.dollars)),
        ("CO2e", f"{amount(carbon)} t" if carbon >= 1 else f"{amount(used.co2e_kg)} kg"),
        ("Mean power", f"{amount(used.mean_kilowatts)} kW"),
    ]


def ownership_words(answer: Answer) -> str:
    """Whether to buy or to rent."""
    own = answer.ownership
    if own is None:
        return f"{answer.accelerator} is not for sale, only for rent."
    prices = (
        f"An hour of work of a chip of one's own costs {money(own.dollars_per_chip_hour)}, of a "
        f"rented one {money(own.rent_per_chip_hour)}"
    )
    return f"{prices}. Buying pays {buying_pays(own)}."


def buying_pays(own: Ownership) -> str:
    """From which part of the time on that bought chips work."""
    least = own.break_even_utilisation
    if least is None:
        return "never: renting costs less than the electricity"
    if least > 1:
        return "never: renting is cheaper even than chips of one's own that never rest"
    return f"where chips work {percent(least)} of the time or more, as long as they live"


def data_facts(answer: Answer) -> list[tuple[str, str]]:
    needed = answer.needs
    rows = [
        ("Tokens to train on", amount(needed.tokens)),
        ("as text, curated", volume(needed.text_bytes)),
        ("as raw text, before", volume(needed.raw_bytes)),
    ]
    if needed.unique_tokens is not None and needed.epochs is not None:
        rows += [
            ("Tokens of the corpus", amount(needed.unique_tokens)),
            ("Epochs", f"{needed.epochs:.3g}"),
            ("worth, as new tokens", amount(needed.worth)),
        ]
        if needed.most_tokens is not None:
            rows.append(("Most tokens it allows", amount(needed.most_tokens)))
    return rows


def measured_facts(measured: Measured) -> list[tuple[str, str]]:
    rows = [
        ("Run", measured.workdir),
        ("Device", f"{measured.num_devices:,} x {measured.device}"),
        ("Parameters", amount(measured.params)),
        ("Tokens", amount(measured.tokens)),
        ("Tokens a second", spread(measured.tokens_per_second)),
        ("MFU, of exact FLOPs", spread(measured.mfu, percent)),
    ]
    if measured.loss is not None:
        rows.append(("Validation loss", f"{measured.loss:.3f} nats a token"))
    if measured.bits_per_byte is not None:
        rows.append(("Bits per byte", f"{measured.bits_per_byte:.3f}"))
    if measured.bytes_per_token is not None:
        rows.append(("Bytes a token", f"{measured.bytes_per_token:.2f}"))
    if measured.fit is not None:
        rows.append(("Scaling law", f"fitted to {len(measured.fit.points)} runs"))
        held_out = measured.fit.held_out
        if held_out is not None:
            predicted = measured.fit.predict(held_out.params, held_out.tokens)
            rows.append(
                (
                    "Its prediction of a held-out run",
                    f"{spread(predicted, '{:.3f}'.format)}, measured {held_out.loss:.3f}",
                )
            )
    return rows


def command(answer: Answer) -> str:
    """That asks the same again."""
    defaults = {name: field.default for name, field in Question.__dataclass_fields__.items()}
    defaults["corpus_tokens"] = answer.question["corpus_tokens"]  # counted again
    parts = ["python -m nanojaxlm.plan", f"--accelerator={answer.accelerator}"]
    for name, value in answer.question.items():
        if value == defaults[name] or name == "accelerator":
            continue
        flag, text = _FLAGS.get(name, name), _plain(value)
        parts.append(f"--{flag}" if value is True else f"--{flag}={text}")
    if answer.measured is not None:
        parts.append(f"--measured={shlex.quote(answer.measured.workdir)}")
    for row in answer.constants:
        if row.overridden and row.name != QUERIES and not row.source.startswith("measured"):
            values = [row.value] if row.low == row.high else [row.low, row.value, row.high]
            parts.append(f"--set={row.name}={':'.join(_plain(value) for value in values)}")
    return " ".join(parts)


def between(low: float, high: float, unit: str) -> str:
    """3 to 20 full-time people; the unit once."""
    if low == high:
        return "exact"
    first, last = quantity(low, unit), quantity(high, unit)
    unit_words = re.search(r"[ /].*", last)
    return f"{first.removesuffix(unit_words[0]) if unit_words else first} to {last}"


def _plain(value: float | str) -> str:
    """A number so that it is read back as the same: 6.74e9."""
    if isinstance(value, str):
        return value
    short = f"{value:.6g}"
    return (short if float(short) == value else repr(value)).replace("e+", "e").replace("e0", "e")
