"""How near the planner comes to published runs; the MFU of each generation is fitted here.

    python -m nanojaxlm.economics.calibration
    python -m nanojaxlm.economics.calibration --markdown

Prints the tables of CALIBRATION.md beside this file; --markdown writes them into it.
"""

import argparse
import importlib
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from nanojaxlm import errors
from nanojaxlm.config import Config
from nanojaxlm.economics.chip_prices import GENERATION
from nanojaxlm.economics.compute import SECONDS_AN_HOUR, accelerator_hours
from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.energy import kilowatts
from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.rules_of_thumb import rules_of_thumb
from nanojaxlm.economics.runs import HELD_OUT, MEASURED_MFU, POWER, PUBLISHED, Power, Run
from nanojaxlm.economics.sheet import Sheet, rewritten
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.metrics import train_flops_per_row
from nanojaxlm.typed_config import from_config_dict

DOCUMENT = Path(__file__).with_name("CALIBRATION.md")
WIDTH = 140  # columns that the widest table needs
FITTED = ("ampere", "hopper")  # generations of which two runs or more published their hours


@dataclass(frozen=True, kw_only=True)
class Check:
    """A run and what the planner makes of it. part: fit, test, outlier or held out."""

    run: Run
    part: str
    mfu: float
    hours: Range

    @property
    def error(self) -> float:
        """Of the central estimate: 0.1 is a tenth too many hours."""
        return self.hours.central / self.run.hours - 1


def effective_mfu(run: Run) -> float:
    """6·N·D over what all hours would have given at the dense bfloat16 peak."""
    peak = ASSUMPTIONS[f"{run.chip}.flops_per_second"]
    return run.flops / (run.hours * SECONDS_AN_HOUR * peak)


def halves(generation: str) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """(fit, test): of its published runs that are no outliers, in the order of their FLOPs, every
    second to the fit. Both halves so span small runs and large ones."""
    runs = [run for run in PUBLISHED if GENERATION[run.chip] == generation and not run.outlier]
    runs.sort(key=lambda run: run.flops)
    return tuple(runs[1::2]), tuple(runs[::2])


def calibrate(runs: Sequence[Run]) -> float:
    """The geometric mean of their MFUs: hours are a quotient, so errors are ratios, and a run that
    took twice as long weighs as much as one that took half."""
    return statistics.geometric_mean([effective_mfu(run) for run in runs])


def tpu_mfu() -> float:
    """The median of measured steps, times what runs kept of theirs over all hours: of runs on TPUs
    PaLM alone published its hours."""
    steps = [s.mfu for s in MEASURED_MFU if GENERATION[s.chip] == "tpu"]
    return statistics.median(steps) * statistics.geometric_mean(list(kept().values()))


def kept() -> dict[str, float]:
    """Of the two runs that published both: MFU by hours over MFU by steps."""
    by_steps = {(s.name, s.chip): s.mfu for s in MEASURED_MFU}
    return {
        run.name: effective_mfu(run) / by_steps[run.name, run.chip]
        for run in (*PUBLISHED, *HELD_OUT)
        if (run.name, run.chip) in by_steps
    }


def blackwell_mfu() -> float:
    """Hopper's, times the ratio of the MFUs that NVIDIA measured of the same model on both."""
    by_name = {(s.name, s.chip): s.mfu for s in MEASURED_MFU}
    ratios = [
        mfu / by_name[name, "h100"] for (name, chip), mfu in by_name.items() if chip == "b200"
    ]
    return calibrate(halves("hopper")[0]) * statistics.geometric_mean(ratios)


def checks(assumptions: Assumptions = ASSUMPTIONS) -> list[Check]:
    """All published runs, then those held out."""
    fit = {run.name for generation in FITTED for run in halves(generation)[0]}
    parts = [
        (run, "outlier" if run.outlier else "fit" if run.name in fit else "test")
        for run in PUBLISHED
    ] + [(run, "held out") for run in HELD_OUT]
    found = []
    for run, part in parts:
        mfu = assumptions.range(f"mfu.{GENERATION[run.chip]}")
        hours = accelerator_hours(run.flops, mfu, assumptions[f"{run.chip}.flops_per_second"])
        found.append(Check(run=run, part=part, mfu=effective_mfu(run), hours=hours))
    return found


def median_and_worst(sizes: Iterable[float]) -> tuple[float, float]:
    """Of errors without their signs."""
    sizes = [abs(size) for size in sizes]
    return statistics.median(sizes), max(sizes)


def swapped() -> list[float]:
    """Errors of all fitting halves when the testing halves are fitted instead, as a check."""
    return [
        effective_mfu(run) / calibrate(test) - 1 for fit, test in map(halves, FITTED) for run in fit
    ]


def all_splits(generation: str) -> list[float]:
    """The median error of the other half, for each way to draw a half for the fit."""
    runs = [run for half in halves(generation) for run in half]
    medians = []
    for chosen in itertools.combinations(runs, len(runs) // 2):
        central = calibrate(chosen)
        rest = [run for run in runs if run not in chosen]
        medians.append(statistics.median(abs(effective_mfu(run) / central - 1) for run in rest))
    return medians


def exact_over_6nd() -> dict[str, float]:
    """Exact FLOPs, attention as if not causal, over 6·N·D, at the run's length of rows; of the runs
    that are no outliers and whose config is in configs/models."""
    return {
        run.name: _exact(run) / (6 * run.active_params)
        for run in PUBLISHED
        if run.config is not None and not run.outlier
    }


def _exact(run: Run) -> float:
    """FLOPs a token."""
    assert run.config is not None
    family, size = run.config.split(":")
    tree = importlib.import_module(f"configs.models.{family}").get_config(size)
    model = from_config_dict(Config, tree.to_dict()).model
    return train_flops_per_row(model, decoder_length=run.sequence_length) / run.sequence_length


def power_range(power: Power, assumptions: Assumptions = ASSUMPTIONS) -> Range:
    """Kilowatt-hours by the planner, of what the published figure counts, at its own PUE."""
    a = assumptions
    each = a.range(f"{power.chip}.watts") * a.range("power.utilisation") / 1000
    if power.whole_server:
        each = each * a.range("power.server_overhead")
        pue = a["power.pue"]
        assert math.isclose(each.central * pue, kilowatts(a, power.chip))
    return each * power.hours * power.pue


def sheets() -> tuple[Sheet, ...]:
    """All tables, in the order of the document."""
    found = checks()
    ours = [check for check in found if check.part != "held out"]
    return (
        _mfu_sheet(),
        _runs_sheet("runs", ours),
        _errors_sheet(found),
        _runs_sheet("held out", [check for check in found if check.part == "held out"]),
        _steps_sheet(),
        _attention_sheet(),
        _power_sheet(),
        _rules_sheet(),
    )


def _mfu_sheet() -> Sheet:
    rows: list[tuple[str, ...]] = []
    for generation in FITTED:
        fit, test = halves(generation)
        table = ASSUMPTIONS.range(f"mfu.{generation}")
        half, other, both = calibrate(fit), calibrate(test), calibrate((*fit, *test))
        rows.append((
            generation, f"{len(fit)} of {len(fit) + len(test)}", f"{half:.3f}", f"{other:.3f}",
            f"{both:.3f}", f"{table.low:g} - {table.high:g}",
        ))  # fmt: skip
    for generation, central in (("blackwell", blackwell_mfu()), ("tpu", tpu_mfu())):
        table = ASSUMPTIONS.range(f"mfu.{generation}")
        rows.append((generation, "0", f"{central:.3f}", "", "", f"{table.low:g} - {table.high:g}"))
    headers = ("generation", "runs fitted", "central", "by the other half", "by all", "range")
    return Sheet.of("mfu", headers, rows)


def _runs_sheet(name: str, found: Sequence[Check]) -> Sheet:
    headers = (
        "run", "part", "chip", "tokens", "published hours", "MFU", "planned", "error", "range",
    )  # fmt: skip
    rows = [
        (
            c.run.name, c.part, c.run.chip, amount(c.run.tokens), f"{c.run.hours:,.0f}",
            _percent(c.mfu), amount(c.hours.central), _signed(c.error), _span(c.hours),
        )
        for c in found
    ]  # fmt: skip
    return Sheet.of(name, headers, rows)


def _errors_sheet(found: Sequence[Check]) -> Sheet:
    def row(name: str, sizes: list[float]) -> tuple[str, ...]:
        median, worst = median_and_worst(sizes)
        return name, str(len(sizes)), _percent(median), _percent(worst)

    def of(*parts: str) -> list[float]:
        return [check.error for check in found if check.part in parts]

    splits = sorted(all_splits("ampere"))
    tenth = len(splits) // 10
    return Sheet.of("errors", ("errors of", "runs", "median", "worst"), [
        row("the half that was fitted", of("fit")),
        row("the half that was not", of("test")),
        row("both", of("fit", "test")),
        row("the fitted half, by a fit to the other", swapped()),
        row("outliers", of("outlier")),
        row("runs held out", of("held out")),
        (f"ampere's other half, over all {len(splits)} ways to halve its runs", "6",
         f"{statistics.median(splits):.1%} ({splits[tenth]:.1%} - {splits[-tenth - 1]:.1%})", ""),
    ])  # fmt: skip


def _steps_sheet() -> Sheet:
    headers = ("model", "chip", "MFU of steps", "source")
    return Sheet.of(
        "steps", headers, [(s.name, s.chip, _percent(s.mfu), s.source) for s in MEASURED_MFU]
    )


def _attention_sheet() -> Sheet:
    ratios = exact_over_6nd()
    lengths = {run.name: run.sequence_length for run in PUBLISHED}
    rows = [(name, f"{lengths[name]:,}", f"{ratio:.3f}") for name, ratio in ratios.items()]
    rows.append(("median", "", f"{statistics.median(ratios.values()):.3f}"))
    return Sheet.of("attention", ("run", "tokens a row", "exact / 6ND"), rows)


def _power_sheet() -> Sheet:
    headers = (
        "run", "published MWh", "what it is", "at full load", "planner", "error", "range",
        "kg CO2e/kWh",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for power in POWER:
        planned, a = power_range(power), ASSUMPTIONS
        full = a[f"{power.chip}.watts"] / 1000 * power.hours * power.pue
        what = ("measured" if power.measured else "computed") + (
            ", server" if power.whole_server else ", chips"
        )
        carbon = "" if power.co2e_kg is None else f"{power.co2e_kg / power.kwh:.3f}"
        rows.append((
            power.name, _mwh(power.kwh), what, _mwh(full), _mwh(planned.central),
            _signed(planned.central / power.kwh - 1),
            f"{_mwh(planned.low)} - {_mwh(planned.high)}", carbon,
        ))  # fmt: skip
    return Sheet.of("power", headers, rows)


def _rules_sheet() -> Sheet:
    rows: list[tuple[str, ...]] = []
    for c in rules_of_thumb():
        if "$" in c.rule:
            planned = f"{money(c.planned.low)} - {money(c.planned.high)}"
        else:
            planned = f"{amount(c.planned.central)} hours"
        published = "" if c.published is None else f"{amount(c.published)} hours"
        rows.append((
            c.rule, c.case, c.chip, amount(c.tokens), planned, published,
            "yes" if c.holds else "no",
        ))  # fmt: skip
    headers = ("rule", "case", "chip", "tokens", "planner", "published", "holds")
    return Sheet.of("rules", headers, rows)


def _span(hours: Range) -> str:
    return f"{amount(hours.low)} - {amount(hours.high)}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _signed(value: float) -> str:
    return f"{value:+.1%}"


def _mwh(kwh: float) -> str:
    return f"{kwh / 1000:,.0f}"


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m nanojaxlm.economics.calibration", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--markdown", action="store_true", help=f"write into {DOCUMENT.name}")
    arguments = parser.parse_args(argv[1:])
    if arguments.markdown:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(rewritten(text, sheets()), encoding="utf-8")
    # cells that do not fit are cut, figures too: lines of a narrow terminal rather wrap
    console = Console(width=max(Console().width, WIDTH))
    for sheet in sheets():
        console.print(sheet.rich())


if __name__ == "__main__":
    errors.run(main)
