"""The report's essence for the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nanojaxlm.reporting import wording
from nanojaxlm.reporting.findings import Findings

MOST_REASONS = 12  # the page has all of them


def print_summary(findings: Findings, console: Console) -> None:
    """Headline, learning, curation, times, the last samples and the next commands."""
    headline = Table(title="Bits per byte on held-out text", title_justify="left")
    headline.add_column("")
    headline.add_column("bits per byte", justify="right")
    headline.add_row("this model", f"{findings.bits_per_byte:.3f}", style="bold")
    headline.add_row("xz -9", f"{findings.xz_bits_per_byte:.3f}")
    headline.add_row("byte bigram", f"{findings.bigram_bits_per_byte:.3f}")
    console.print(headline)
    console.print(Text(findings.verdict(), style="bold"))

    console.print()
    learning = Table(title="Learning", title_justify="left", show_header=False)
    for name, value in wording.speed(findings):
        learning.add_row(name, value)
    console.print(learning)

    console.print()
    reasons = wording.dropped(findings)
    curation = Table(title="Dropped by curation, and why", title_justify="left")
    curation.add_column("stage")
    curation.add_column("reason")
    curation.add_column("documents", justify="right")
    for stage, reason, count, _ in sorted(reasons, key=lambda row: -row[2])[:MOST_REASONS]:
        curation.add_row(Text(stage), Text(reason), f"{count:,}")
    if len(reasons) > MOST_REASONS:
        curation.add_row("", f"and {len(reasons) - MOST_REASONS} more reasons", "")
    console.print(curation)
    kept = findings.curation["kept"]
    console.print(
        f"Read {findings.curation['read']['documents']:,} documents; kept "
        + ", ".join(f"{split['documents']:,} for {name}" for name, split in kept.items())
    )

    if findings.steps:
        console.print()
        cost = Table(title="Time and memory", title_justify="left")
        cost.add_column("step")
        cost.add_column("wall time", justify="right")
        cost.add_column("peak memory", justify="right")
        for step in findings.steps:
            peak = wording.memory(step.peak_memory) if step.peak_memory else "-"
            cost.add_row(Text(step.name), wording.duration(step.seconds), peak)
        total = sum(step.seconds for step in findings.steps)
        cost.add_row("all", wording.duration(total), "", style="bold")
        console.print(cost)
    console.print()

    for sample in (s for s in findings.samples if s["step"] == findings.samples[-1]["step"]):
        prompt, text = str(sample.get("prompt", "")), str(sample.get("text", ""))
        console.print(Text(f"Sample at step {sample['step']:,}:", style="bold"))
        console.print(Text(wording.printable(prompt + text.removeprefix(prompt)), style="dim"))

    console.print(Text("How to go on:", style="bold"))
    for purpose, command in wording.next_commands(findings):
        console.print(Text(f"# {purpose}", style="dim"))
        console.print(Text(command), soft_wrap=True)
