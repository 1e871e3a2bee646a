"""A search's best plans, compiled: the formulas choose who runs, the compiler who wins."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError
from nanojaxlm.planning.compilation import compile_step
from nanojaxlm.planning.report import GiB, Report, mesh_words, report_on
from nanojaxlm.planning.search import Machine, Plan, plans
from nanojaxlm.planning.topology import Topology, devices_of


def trials(
    config: Config,
    topology: Topology,
    options: Mapping[str, str | bool],
    number: int,
    console: Console,
) -> Iterator[Report]:
    """Of the best plans by formula, one after another; the config's own mesh, batch and remat are
    replaced.

    Raises:
        UserError: nothing fits by formula, or the topology is a CPU.
    """
    chip = topology.figures
    if chip is None:
        raise UserError(
            "--search ranks by a chip's figures: give a TPU's or GPU's --topology, not cpu:N"
        )
    found = plans(config, Machine.of(devices_of(topology), chip))
    if not found:
        raise UserError(
            f"nothing that was tried fits {topology} by formula: choose more chips, a smaller "
            "model, or --config.optimizer.moments=bfloat16"
        )
    console.print(f"{len(found)} plans fit by formula; compiling the best {number}")
    for plan in found[:number]:
        console.print(f"  {_words(plan)}", highlight=False)
        yield report_on(compile_step(plan.config, topology, options))


def show_trials(reports: Sequence[Report], console: Console) -> None:
    """A table, the most tokens a second first, those that do not fit last; and how to have it."""
    table = Table(
        "mesh", "rows", "remat", "GiB", "by formula", "step", "MFU", "tokens/s", "bound by"
    )
    ranked = sorted(reports, key=_speed, reverse=True)
    for report in ranked:
        estimate = report.estimate
        size = f"{report.needed_bytes / GiB:.2f}" if report.needed_bytes else "?"
        fits = "" if report.fits else " does not fit"
        figures = ("", "", "", "")
        if estimate is not None:
            figures = (
                f"{estimate.step_seconds:.3f} s",
                f"{100 * estimate.mfu:.1f}%",
                f"{estimate.tokens_per_second:,.0f}",
                estimate.bound_by,
            )
        remat = next((f.split("=")[1] for f in report.flags if ".remat=" in f), "")
        mesh = mesh_words(report.mesh)
        analytic = f"{report.analytic['peak'] / GiB:.2f}"
        table.add_row(mesh, str(report.rows), remat, size + fits, analytic, *figures)
    console.print(table)
    if ranked and ranked[0].fits:
        console.print("the best: " + " ".join(ranked[0].flags), highlight=False, soft_wrap=True)


def _speed(report: Report) -> float:
    return report.estimate.tokens_per_second if report.estimate and report.fits else 0.0


def _words(plan: Plan) -> str:
    mesh = mesh_words(plan.mesh.over(plan.num_devices))
    return f"{mesh}, {plan.config.data.batch_size} rows: {plan.tokens_per_second:,.0f} tokens/s"
