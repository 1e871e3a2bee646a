"""What a run says of its steps, one step late, so that the device never waits for the host."""

import math
from collections.abc import Callable
from typing import Any

import jax

from nanojaxlm.batch import fingerprint_hex
from nanojaxlm.errors import UserError
from nanojaxlm.metrics import Speedometer
from nanojaxlm.step import StepReport
from nanojaxlm.writers import RunWriter


class Progress:
    """Holds the newest step's report, still on the device, until the next step is under way."""

    def __init__(
        self,
        writer: RunWriter,
        speed: Speedometer,
        learning_rate: Callable[[int], Any],
        tokens_of: Callable[[int], int],
        show_every: int,
    ):
        """tokens_of: updates done -> tokens that the next step reads."""
        self._writer, self._speed, self._learning_rate = writer, speed, learning_rate
        self._tokens_of, self._show_every = tokens_of, show_every
        self._pending: tuple[int, StepReport] | None = None
        self._tokens: int | None = None  # of the newest step

    def after(self, step: int, report: StepReport) -> None:
        """To be called when `step` was handed to the device: writes the step before it."""
        self._write({})
        self._pending = step, report
        tokens = self._tokens_of(step - 1)
        if tokens != self._tokens:  # the first of its size: it was compiled
            jax.block_until_ready(report)
            self._speed.restart()
            self._tokens = tokens
        else:
            self._speed.add(tokens)

    def settle(self) -> dict[str, float]:
        """Waits for the newest step; its speed. What follows until `write` is not training time."""
        assert self._pending is not None
        jax.block_until_ready(self._pending[1])
        return self._speed.read()

    def write(self, figures: dict[str, Any]) -> None:
        """Writes the newest step now, with further figures, and starts the clock again.

        Raises:
            UserError: a figure is not finite, which the state of this step has no use after.
        """
        self._write(figures)
        self.restart()

    def restart(self) -> None:
        """Starts the clock again: what came since the newest step was not training."""
        self._speed.restart()

    def _write(self, figures: dict[str, Any]) -> None:
        if self._pending is None:
            return
        step, report = self._pending
        self._pending = None
        sums, grad_norm, halves = jax.device_get(report)
        count = max(float(sums.count), 1.0)
        assigned = float(sums.assigned)
        loss, extra = float(sums.nll) / count, float(sums.extra) / count
        show = step % self._show_every == 0
        figures = {
            "loss": loss,
            "learning_rate": float(self._learning_rate(step - 1)),
            "grad_norm": float(grad_norm),
            "targets": round(float(sums.count)),
            **({"extra_loss": extra} if extra else {}),
            **({"dropped_rate": float(sums.dropped) / assigned} if assigned else {}),
            "batch_hash": fingerprint_hex(halves),
            **(self._speed.read() if show and not figures else {}),
            **figures,
        }
        for name, value in figures.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(
                    f"the {name} is {value} at step {step}: lower the learning rate or set "
                    "config.optimizer.clip_norm, and run again; checkpoints before it are kept"
                )
        self._writer.metrics(step, figures, show)
