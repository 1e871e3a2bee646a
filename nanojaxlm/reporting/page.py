"""The report as one HTML page: no script, nothing from the network, light and dark.

Whatever comes from documents, models or file names passes html.escape.
"""

import html
from collections.abc import Sequence
from typing import Any

from nanojaxlm.reporting.chart import Series, line_chart
from nanojaxlm.reporting.findings import Findings
from nanojaxlm.reporting.markup import PAGE, facts, table
from nanojaxlm.reporting.style import STYLE
from nanojaxlm.reporting.wording import (
    broken,
    dropped,
    duration,
    memory,
    next_commands,
    percent,
    printable,
    size,
    speed,
)


def render(findings: Findings) -> str:
    """The whole page."""
    sections = (
        _headline(findings),
        _learning(findings),
        _samples(findings),
        _curation(findings),
        _cost(findings),
        _next_steps(findings),
        _surroundings(findings),
    )
    title = f"nanojaxlm: {findings.bits_per_byte:.3f} bits per byte"
    return PAGE.substitute(title=html.escape(title), style=STYLE, body="\n".join(sections))


def _headline(findings: Findings) -> str:
    ours = f"this model (step {findings.evaluation['step']:,})"
    rows = (
        (ours, findings.bits_per_byte, "ours"),
        ("xz -9", findings.xz_bits_per_byte, "rival"),
        ("byte bigram", findings.bigram_bits_per_byte, "rival"),
    )
    most = max(bits for _, bits, _ in rows)
    body = "".join(
        f'<tr class="{style}"><th scope="row">{html.escape(name)}</th>'
        f'<td class="number">{bits:.3f}</td><td class="bar" aria-hidden="true">'
        f'<span style="width:{100 * bits / most:.1f}%"></span></td></tr>'
        for name, bits, style in rows
    )
    return f"""<header>
<h1>From raw text to a language model</h1>
<p class="verdict">{html.escape(findings.verdict())}</p>
</header>
<section aria-labelledby="headline"><h2 id="headline">Bits per byte</h2>
<table class="headline"><thead><tr>
<th scope="col">Held-out text, {size(findings.heldout_bytes)}</th>
<th scope="col" class="number">bits per byte</th>
<th scope="col"><span class="hidden">bar</span></th></tr></thead><tbody>{body}</tbody></table>
<p class="muted">Fewer is better. Raw text takes 8. All three are measured on the same documents,
which were kept out of training. The bigram is counted on the training documents; xz sees the
held-out text only, as a file of {findings.heldout_bytes:,} bytes.</p></section>"""


def _learning(findings: Findings) -> str:
    train, validation = findings.series("loss"), findings.series("validation_loss")
    loss = line_chart(
        (
            Series(name="training", xs=train[0], ys=train[1], style="line-1"),
            Series(
                name="validation", xs=validation[0], ys=validation[1], style="line-2", marked=True
            ),
        ),
        title="Loss by step",
        x_label="step",
        y_label="loss (nats a token)",
    )
    pace = findings.series("tokens_per_second")
    pace_chart = line_chart(
        (Series(name="tokens a second", xs=pace[0], ys=pace[1], style="line-1"),),
        title="Speed by step",
        x_label="step",
        y_label="tokens a second",
        from_zero=True,
    )
    return f"""<section aria-labelledby="learning"><h2 id="learning">Learning</h2>
<figure>{loss}<figcaption><span class="key line-1">training</span>
<span class="key line-2">validation</span></figcaption></figure>
{facts(speed(findings))}
<details><summary>Speed by step</summary><figure>{pace_chart}</figure></details></section>"""


def _samples(findings: Findings) -> str:
    if not findings.samples:
        return """<section aria-labelledby="samples"><h2 id="samples">Samples</h2>
<p class="muted">The run wrote no samples.</p></section>"""
    by_step: dict[int, list[str]] = {}
    for sample in findings.samples:
        prompt, text = str(sample.get("prompt", "")), str(sample.get("text", ""))
        prompt, text = printable(prompt), printable(text.removeprefix(prompt))
        by_step.setdefault(sample["step"], []).append(
            f"<pre><b>{html.escape(prompt)}</b>{html.escape(text)}</pre>"
        )
    *earlier, last = sorted(by_step)
    before = "".join(f"<h3>Step {step:,}</h3>{''.join(by_step[step])}" for step in earlier)
    if before:
        before = f"<details><summary>Samples of earlier steps</summary>{before}</details>"
    return f"""<section aria-labelledby="samples"><h2 id="samples">Samples</h2>
<p class="muted">What the model wrote at step {last:,}; the prompt is in bold.</p>
{"".join(by_step[last])}{before}</section>"""


def _curation(findings: Findings) -> str:
    report = findings.curation
    read, kept, tokenizer = report["read"], report["kept"], report["tokenizer"]
    flow = table(
        ("Stage", "Documents in", "out", "Dropped", "Text in", "out", "Time"),
        (
            (
                stage["name"],
                f"{stage['documents_in']:,}",
                f"{stage['documents_out']:,}",
                percent(stage["documents_in"] - stage["documents_out"], stage["documents_in"]),
                size(stage["bytes_in"]),
                size(stage["bytes_out"]),
                duration(stage["seconds"]),
            )
            for stage in report["stages"]
        ),
    )
    reasons = "".join(
        f"<tr><td>{html.escape(stage)}</td><td>{html.escape(reason)}{_examples(examples)}</td>"
        f'<td class="number">{count:,}</td>'
        f'<td class="number">{percent(count, read["documents"])}</td></tr>'
        for stage, reason, count, examples in dropped(findings)
    )
    splits = table(
        ("Split", "Documents", "Text", "Tokens"),
        (
            (name, f"{split['documents']:,}", size(split["bytes"]), f"{split['tokens']:,}")
            for name, split in kept.items()
        ),
    )
    failed = read.get("failed", ())
    failures = "".join(
        f"<li><code>{html.escape(str(one['source']))}</code> {html.escape(str(one['error']))}</li>"
        for one in failed[:100]
    )
    if failures:
        failures = (
            f"<details><summary>Files that could not be read: {len(failed):,}</summary>"
            f"<ul>{failures}</ul></details>"
        )
    inputs = ", ".join(f"<code>{html.escape(str(path))}</code>" for path in report["inputs"][:20])
    return f"""<section aria-labelledby="curation"><h2 id="curation">Curation</h2>
<p>{read["documents"]:,} documents, {size(read["bytes"])}, were read from {inputs}
in {duration(read["seconds"])}.</p>{failures}
<h3>What each stage let through</h3>{flow}
<h3>What was dropped, and why</h3>
<div class="wide"><table><thead><tr><th scope="col">Stage</th><th scope="col">Reason</th>
<th scope="col" class="number">Documents</th><th scope="col" class="number">of all read</th></tr>
</thead><tbody>{reasons}</tbody></table></div>
<p class="muted">Every document, with the reason and score of what was dropped, is in
<code>{html.escape(findings.curation_folder)}/ledger/*.parquet</code>; samples with their text in
<code>dropped/*.parquet</code>; all of it to look at in <code>report.html</code> there.</p>
<h3>What was kept</h3>{splits}
<p>The tokenizer has {tokenizer["vocab_size"]:,} pieces; a token stands for
{tokenizer["bytes_per_token"]:.2f} bytes in the mean.</p></section>"""


def _cost(findings: Findings) -> str:
    if not findings.steps:
        return ""
    total = sum(step.seconds for step in findings.steps)
    rows = [
        (
            step.name if step.num_runs == 1 else f"{step.name} ({step.num_runs} calls)",
            duration(step.seconds),
            memory(step.peak_memory) if step.peak_memory else "-",
        )
        for step in findings.steps
    ]
    rows.append(("all", duration(total), memory(max(s.peak_memory for s in findings.steps))))
    return f"""<section aria-labelledby="cost"><h2 id="cost">Time and memory</h2>
{table(("Step", "Wall time", "Peak memory"), rows)}
<p class="muted">Peak memory is that of the step's largest process.</p></section>"""


def _next_steps(findings: Findings) -> str:
    commands = "".join(
        f"<dt>{html.escape(purpose)}</dt><dd><pre>{html.escape(broken(command))}</pre></dd>"
        for purpose, command in next_commands(findings)
    )
    return f"""<section aria-labelledby="next"><h2 id="next">How to go on</h2>
<p>From the repository's root, in its environment: <code>source .venv/bin/activate</code></p>
<dl class="commands">{commands}</dl></section>"""


def _surroundings(findings: Findings) -> str:
    machine = findings.machine
    rows = [
        ("Processor", machine.processor),
        ("Cores", str(machine.cores)),
        ("Memory", memory(machine.memory) if machine.memory else "unknown"),
        ("System", machine.system),
        *machine.versions.items(),
    ]
    return f"""<section aria-labelledby="machine"><h2 id="machine">Machine and versions</h2>
<p class="muted">Where this report was made.</p>{facts(rows)}</section>"""


def _examples(examples: Sequence[Any]) -> str:
    if not examples:
        return ""
    items = "".join(
        f"<figure><figcaption><code>{html.escape(str(one['source']))}</code></figcaption>"
        f"<pre>{html.escape(printable(str(one['excerpt'])))}</pre></figure>"
        for one in examples
    )
    return f"<details><summary>examples</summary>{items}</details>"
