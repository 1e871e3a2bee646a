"""Everything the planner says about one question, as values; page, tables and JSON show them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from nanojaxlm.accelerators import CHIPS, CPU, Chip
from nanojaxlm.economics import alternatives as ways
from nanojaxlm.economics.alternatives import API, BUILD, QUERIES, TUNE, Alternative, Project
from nanojaxlm.economics.break_even import BreakEven, VolumeCurve, break_even, volume_curve
from nanojaxlm.economics.choices import Choice, LossCurve, choices, loss_curve
from nanojaxlm.economics.compute import Flops, accelerator_hours, flops_of
from nanojaxlm.economics.constants import Assumptions, Constant
from nanojaxlm.economics.energy import Energy, energy
from nanojaxlm.economics.means import means
from nanojaxlm.economics.measured import Measured
from nanojaxlm.economics.needs import Needs, needs
from nanojaxlm.economics.numbers import amount
from nanojaxlm.economics.ownership import Ownership, for_sale, ownership
from nanojaxlm.economics.placement import Placement, place, smallest_mesh
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.ranges import Range
from nanojaxlm.economics.scaling import CHINCHILLA, Law
from nanojaxlm.economics.schedule import HOURS_A_DAY, WallTime, goodput, wall_time
from nanojaxlm.economics.sensitivity import Flip, Swing, flips, odds, other_than, tornado
from nanojaxlm.economics.serving import Served
from nanojaxlm.economics.subject import Subject, inference_tokens, subject
from nanojaxlm.economics.table import GENERATION
from nanojaxlm.economics.verdict import NAMES, Verdict, limit_words, quality_words, verdict
from nanojaxlm.errors import UserError
from nanojaxlm.planning.auto import words as mesh_words
from nanojaxlm.planning.report import flags_of
from nanojaxlm.planning.topology import Topology

DAYS = 60.0  # that a run may take where the number of chips is left open
MOST_CHIPS = 65_536


@dataclass(frozen=True, kw_only=True)
class Model:
    params: float
    active_params: float
    tokens: float
    tokens_per_param: float
    sequence_length: int
    how: str  # where size and tokens come from
    shape: str  # layers, width, heads; of a typical decoder where only a size was given


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of one chip of the smallest mesh that fits, and of the mesh of the run. parts: bytes."""

    smallest_chips: int
    smallest_mesh: str
    smallest_parts: dict[str, float]
    smallest_peak_bytes: float
    chips: int
    mesh: str
    parts: dict[str, float]
    peak_bytes: float
    usable_bytes: float
    command: str  # that has the compiler confirm the smallest


@dataclass(frozen=True, kw_only=True)
class Answer:
    """accelerator_hours: of work that counts, as published runs state them; cloud_dollars: of the
    final run, lost work paid too. law: by which losses are predicted."""

    question: dict[str, Any]
    accelerator: str
    chips: int
    model: Model
    flops: Flops
    mfu: Range
    accelerator_hours: Range
    wall: WallTime
    price_per_chip_hour: float
    cloud_dollars: Range
    ownership: Ownership | None
    energy: Energy
    memory: Memory
    needs: Needs
    law: Law
    loss: Range
    choices: tuple[Choice, ...]
    loss_curve: LossCurve
    alternatives: tuple[Alternative, ...]
    break_evens: tuple[BreakEven, ...]
    volume: VolumeCurve
    saved_by_building: float  # dollars, against the cheapest other way that is left, if any
    tornado_of: str
    tornado: tuple[Swing, ...]
    flips: tuple[Flip, ...]
    odds: dict[str, float]  # how often each is cheapest, if all assumptions are drawn at random
    verdict: Verdict
    measured: Measured | None
    constants: tuple[Constant, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON values; of a fitted law without its resamples, which its file holds."""
        values = dataclasses.asdict(self)
        if self.measured is not None and self.measured.fit is not None:
            del values["measured"]["fit"]["resampled"]
        return values


def answer(
    question: Question, assumptions: Assumptions, measured: Measured | None = None
) -> Answer:
    """Answers the question on these assumptions; a measured run's figures are already among them.

    Raises:
        UserError: the combination is impossible; the budget buys nothing.
    """
    chip, name = chip_named(question.accelerator), question.accelerator
    generation = GENERATION[name]
    if question.buy and not for_sale(assumptions, name):
        raise UserError(f"--buy: {name} is not for sale, only for rent; choose a GPU")
    fit = measured.fit if measured else None
    law = fit.law if fit else CHINCHILLA
    a = with_queries(assumptions, question.queries_per_month)
    available = means(question, a, generation)
    asked = subject(question, a, law, available)
    flops = flops_of(
        asked.config,
        asked.active_params,
        asked.tokens,
        a["mfu.exact_over_6nd"] if asked.given or question.sequence_length else None,
    )
    mfu = a.range(f"mfu.{generation}")
    hours = accelerator_hours(flops.counted, mfu, a[f"{name}.flops_per_second"])
    smallest = smallest_mesh(asked.config, chip)
    if not smallest.fits:
        raise UserError(
            f"{amount(asked.params)} parameters fit on no mesh of up to {smallest.chips:,} {name}: "
            f"each would need {smallest.peak_bytes / 2**30:,.1f} GiB; choose chips of more memory"
        )
    chips = question.chips or _chips(question, a, hours.central, smallest.chips)
    placed = _placed(asked, chip, chips, smallest)
    wall = wall_time(a, hours, chips)
    paid = hours * (1 / wall.goodput)
    project = Project(
        accelerator=name,
        generation=generation,
        chips=chips,
        flops=flops.counted,
        model=Served(params=asked.params, active_params=asked.active_params),
        corpus_tokens=question.corpus_tokens,
        years=question.years,
        buy=question.buy,
        data_stays=question.data_stays,
        domain_specific=question.domain_specific,
        no_open_model=question.no_open_model,
    )
    found = ways.alternatives(project, a)
    pairs = ((BUILD, API), (TUNE, API), (BUILD, TUNE))
    evens = tuple(break_even(project, a, one, other) for one, other in pairs)
    turning, chances = flips(project, a), odds(project, a)
    corpus = question.corpus_tokens
    required = needs(a, law, asked.active_params, asked.tokens, corpus)
    loss = (
        fit.predict(asked.params, required.worth)
        if fit
        else Range.exact(law.loss(asked.active_params, required.worth))
    )
    use = inference_tokens(question, a)
    return Answer(
        question=_plain(question),
        accelerator=name,
        chips=chips,
        model=Model(
            params=asked.params,
            active_params=asked.active_params,
            tokens=asked.tokens,
            tokens_per_param=asked.tokens / asked.active_params,
            sequence_length=asked.config.data.sequence_length,
            how=asked.how,
            shape=_shape(asked),
        ),
        flops=flops,
        mfu=mfu,
        accelerator_hours=hours,
        wall=wall,
        price_per_chip_hour=a[f"{name}.price_per_hour"],
        cloud_dollars=paid * a.range(f"{name}.price_per_hour"),
        ownership=ownership(a, name, chips),
        energy=energy(a, name, paid.central, chips),
        memory=_memory(asked, smallest, placed),
        needs=required,
        law=law,
        loss=loss,
        choices=choices(
            law,
            asked.active_params,
            asked.tokens,
            use,
            corpus,
            hours.central / flops.six_nd,
        ),
        loss_curve=loss_curve(law, flops.six_nd, corpus),
        alternatives=found,
        break_evens=evens,
        volume=_volume(project, a, evens),
        saved_by_building=other_than(project, a, BUILD),
        tornado_of=_tornado_of(project, found),
        tornado=tornado(a, lambda x: other_than(project, x, BUILD)),
        flips=turning,
        odds=chances,
        verdict=verdict(
            project,
            found,
            turning,
            chances,
            evens,
            quality_words(
                project,
                a,
                law,
                asked.active_params,
                required.worth,
                loss.central,
                fit,
            ),
            limit_words(
                question,
                available,
                required,
                flops.counted,
                hours.central,
                not a.constant(f"mfu.{generation}").overridden,
            ),
        ),
        measured=measured,
        constants=a.rows,
    )


def chip_named(name: str) -> Chip:
    """Raises:
    UserError: the table has no such chip.
    """
    known = CHIPS | {CPU.name: CPU}
    if name not in known:
        raise UserError(f"--accelerator={name} is not known; choose one of {', '.join(known)}")
    return known[name]


def with_queries(assumptions: Assumptions, queries: float) -> Assumptions:
    """The queries a month as one more assumption: people know them within a factor of three."""
    row = Constant(
        name=QUERIES, value=queries, low=queries / 3, high=queries * 3, unit="queries a month",
        what="use", source="given", date="", overridden=True,
    )  # fmt: skip
    return Assumptions({one.name: one for one in assumptions.rows} | {QUERIES: row})


def _chips(question: Question, a: Assumptions, hours: float, least: int) -> int:
    """The least power of two times `least` that is done in time; failures counted."""
    days, chips = question.days or DAYS, least
    while hours / (chips * goodput(a, chips)) / HOURS_A_DAY > days:
        chips *= 2
        if chips > MOST_CHIPS:
            if question.days is None:
                return chips // 2
            raise UserError(
                f"{amount(hours)} chip-hours are not done in --days={days:g} by {MOST_CHIPS:,} "
                f"{question.accelerator}: allow more days, or train a smaller model or fewer tokens"
            )
    return chips


def _placed(asked: Subject, chip: Chip, chips: int, smallest: Placement) -> Placement:
    if chips == smallest.chips:
        return smallest
    placed = place(asked.config, chip, chips)
    if not placed.fits:
        power = 2 ** (chips.bit_length() - 1)
        mend = f"they fit from {smallest.chips} on"
        if power >= smallest.chips:
            mend = f"arrays do not split evenly over so many: take {power} or {2 * power}"
        raise UserError(
            f"{amount(asked.params)} parameters do not fit on --chips={chips} {chip.name}: each "
            f"would need {placed.peak_bytes / 2**30:,.1f} GiB and has "
            f"{placed.usable_bytes / 2**30:,.1f}; {mend}"
        )
    return placed


def _memory(asked: Subject, smallest: Placement, placed: Placement) -> Memory:
    return Memory(
        smallest_chips=smallest.chips,
        smallest_mesh=mesh_words(smallest.mesh),
        smallest_parts=smallest.parts,
        smallest_peak_bytes=smallest.peak_bytes,
        chips=placed.chips,
        mesh=mesh_words(placed.mesh),
        parts=placed.parts,
        peak_bytes=placed.peak_bytes,
        usable_bytes=placed.usable_bytes,
        command=_command(asked, smallest),
    )


def _command(asked: Subject, placed: Placement) -> str:
    """That has the compiler say the same."""
    model = asked.name
    if not asked.given:
        length = asked.config.data.sequence_length
        model = f"configs/models/typical.py:params={asked.params:g},sequence_length={length}"
        if asked.active_params < asked.params:
            model += f",active_params={asked.active_params:g}"
    topology = Topology.of(placed.chip.name, placed.chips)
    flags = " ".join(flags_of(placed.config))
    return f"python -m nanojaxlm.planning.compile --config={model} --topology={topology} {flags}"


def _volume(project: Project, a: Assumptions, evens: tuple[BreakEven, ...]) -> VolumeCurve:
    """Wide enough for the asked volume and where lines cross."""
    marks = [even.queries_per_month for even in evens if even.queries_per_month]
    marks += [a[QUERIES]] if a[QUERIES] else []
    marks = marks or [1e6]
    return volume_curve(project, a, min(marks) / 100, max(marks) * 10)


def _tornado_of(project: Project, found: tuple[Alternative, ...]) -> str:
    others = [NAMES[one.name] for one in found if one.excluded is None and one.name != BUILD]
    against = "what building costs, as a loss"
    if others:
        against = f"dollars saved by building, against the cheaper of {' and '.join(others)}"
    if len(others) == 1:
        against = f"dollars saved by building, against {others[0]}"
    return f"{against}, over {project.years} years"


def _shape(asked: Subject) -> str:
    model = asked.config.model
    parts = []
    for kind in ("encoder", "decoder"):
        stack = getattr(model, kind)
        if stack is not None:
            heads = stack.attention.num_heads
            parts.append(f"{kind} of {stack.num_layers} layers, {heads} heads")
    origin = "as configured" if asked.given else "typical for the size"
    return f"{', '.join(parts)}, width {model.d_model}, {model.vocab_size:,} ids; {origin}"


def _plain(question: Question) -> dict[str, Any]:
    values = {field.name: getattr(question, field.name) for field in dataclasses.fields(question)}
    values["config"] = values.pop("config_name") or None
    return values
