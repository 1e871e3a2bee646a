"""The mixture of denoisers, UL2's objective."""

import math
from dataclasses import dataclass
from typing import ClassVar

from nanojaxlm.batch import Batch
from nanojaxlm.data.objectives.denoising import (
    Denoiser,
    Sentinels,
    check_layout,
    check_sentinels,
    denoise,
    denoising_lengths,
    sentinel_names,
)
from nanojaxlm.data.objectives.rows import Lengths, Rows, Setting

UL2 = (  # Tay et al. 2022, section 3.1.2
    Denoiser(density=0.15, mean_length=3, mode="<R>"),
    Denoiser(density=0.15, mean_length=8, mode="<R>"),
    Denoiser(density=0.25, mean_length=None, mode="<S>"),
    Denoiser(density=0.5, mean_length=3, mode="<X>"),
    Denoiser(density=0.5, mean_length=8, mode="<X>"),
    Denoiser(density=0.15, mean_length=64, mode="<X>"),
    Denoiser(density=0.5, mean_length=64, mode="<X>"),
)


@dataclass(frozen=True, kw_only=True)
class MixtureOfDenoisers:
    """Span corruption of several kinds, one a document, that a mode token tells (Tay et al. 2022).

    Regular denoisers have short spans, extreme ones long spans or many, and sequential ones the end
    of the document. layout: as in SpanCorruption.
    """

    denoisers: tuple[Denoiser, ...] = UL2
    weights: tuple[float, ...] = ()  # of the documents, one for each denoiser; empty = equal
    mode_ids: tuple[int, ...] = ()  # one for each denoiser; empty = ids after the tokenizer's
    num_sentinels: int = 200
    first_sentinel: int | None = None  # the id of sentinel 0; None = ids after the tokenizer's
    sentinel_step: int = 1  # from one sentinel's id to the next; T5's own vocabulary has -1
    layout: str = "encoder"
    decoder_length: int | None = None  # tokens, beside an encoder; None = what full rows take

    num_future: ClassVar[int] = 0
    decodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.denoisers:
            raise ValueError("denoisers is empty; leave it out for those of UL2")
        for name in ("weights", "mode_ids"):
            if getattr(self, name) and len(getattr(self, name)) != len(self.denoisers):
                raise ValueError(
                    f"{name} must be one for each of the {len(self.denoisers)} denoisers, or "
                    f"empty, got {len(getattr(self, name))}"
                )
        if any(not 0 < weight < math.inf for weight in self.weights):
            raise ValueError(f"weights must be above 0, got {self.weights}; leave that one out")
        if any(mode_id < 0 for mode_id in self.mode_ids):
            raise ValueError(f"mode_ids must be >= 0, got {self.mode_ids}")
        check_layout(self.layout, self.decoder_length)
        check_sentinels(self.num_sentinels, self.first_sentinel, self.sentinel_step)

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        modes = () if self.mode_ids else (denoiser.mode for denoiser in self.denoisers)
        names = dict.fromkeys(mode for mode in modes if mode)
        return (*sentinel_names(self.num_sentinels, self.first_sentinel), *names)

    @property
    def encodes(self) -> bool:
        return self.layout == "encoder"

    def lengths(self, sequence_length: int) -> Lengths:
        return denoising_lengths(
            self.denoisers, self.num_sentinels, self.layout, self.decoder_length, sequence_length
        )

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """See denoising for an example; the mode is the first of a document's inputs."""
        first = self.first_sentinel
        if first is None:
            first = setting.extra_ids[self.extra_tokens[0]]
        modes = self.mode_ids or tuple(
            setting.extra_ids[denoiser.mode] if denoiser.mode else -1 for denoiser in self.denoisers
        )
        return denoise(
            rows,
            setting,
            self.denoisers,
            self.weights or (1.0,) * len(self.denoisers),
            Sentinels(first, self.sentinel_step, self.num_sentinels),
            modes,
            self.layout,
            self.lengths(setting.sequence_length),
        )
