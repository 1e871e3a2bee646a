"""The model card, README.md of an exported folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError
from nanojaxlm.interop.check import TOLERANCE, Comparison
from nanojaxlm.model.config import ModelConfig

CARD = "README.md"
EVALUATION = "evaluation.json"


def model_card(
    name: str,
    config: Config,
    written: dict[str, Any],
    *,
    step: int,
    num_parameters: int,
    dtype: str,
    evaluation: dict[str, Any] | None,
    comparisons: Sequence[Comparison],
) -> str:
    """Markdown with the front matter that model hubs read.

    Args:
        written: the config.json of the folder. num_parameters: tied ones counted once.
        evaluation: what nanojaxlm.evaluate measured of this step, or None.
    """
    data = config.data
    sources = [*data.stores] if data.text is None else [data.text]
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {pipeline(config.model)}",
        "tags: [nanojaxlm]",
        "---",
        f"# {name}",
        "",
        f"{kind(config.model)}, written as `{written['model_type']}` by nanojaxlm.",
        "",
        "| | |",
        "| --- | --- |",
        f"| parameters | {num_parameters:,} |",
        f"| width, vocabulary | {config.model.d_model}, {config.model.vocab_size} |",
        f"| type of the numbers | {dtype} |",
    ]
    if step:
        start = config.training.start_from
        rows = f"up to {data.batch_size}" if data.batch_warmup else data.batch_size
        lines += [
            f"| trained on | {', '.join(f'`{source}`' for source in sources)} |",
            f"| to predict | {type(data.objective).__name__} |",
            f"| steps | {step:,} of {rows} rows of {data.sequence_length} tokens |",
            f"| started from | {'random numbers' if start is None else f'`{start}`'} |",
        ]
    else:
        lines.append("| trained on | nothing here: as it was imported |")
    if evaluation is not None:
        for key, label, form in (
            ("loss", "held-out loss, nats a token", ".4f"),
            ("bits_per_byte", "held-out bits per byte", ".4f"),
            ("bytes", "held-out bytes", ",d"),
        ):
            if isinstance(evaluation.get(key), int | float):
                lines.append(f"| {label} | {evaluation[key]:{form}} |")
    lines += [
        "",
        "## Checked when it was written",
        "",
        "The folder was read again by other implementations, and their logits compared with those "
        "of the model it was written from (float32, largest difference over the largest logit, "
        f"at most {TOLERANCE:.0e}):",
        "",
        "| read by | largest difference | logits | texts with the same ids, and back |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {c.against} | {c.difference:.2e} | {c.num_logits:,} | {c.num_texts or '-'} |"
        for c in comparisons
    ]
    if len(comparisons) == 1:
        lines += ["", "transformers and torch were not installed there, so they were not asked."]
    lines += ["", f"Written with JAX {jax.__version__}.", ""]
    return "\n".join(lines)


def read_evaluation(workdir: Path, step: int) -> dict[str, Any] | None:
    """What nanojaxlm.evaluate left of this step; None where it was of another, or never run."""
    try:
        found = json.loads((workdir / EVALUATION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{workdir / EVALUATION} cannot be read ({error}); remove it") from None
    return found if isinstance(found, dict) and found.get("step") == step else None


def kind(model: ModelConfig) -> str:
    if model.encoder is not None and model.decoder is not None:
        return "An encoder and a decoder"
    return "A decoder" if model.encoder is None else "An encoder"


def pipeline(model: ModelConfig) -> str:
    """The task, as model hubs name it."""
    if model.encoder is not None and model.decoder is not None:
        return "text2text-generation"
    return "text-generation" if model.encoder is None else "fill-mask"
