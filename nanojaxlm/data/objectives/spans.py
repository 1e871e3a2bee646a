"""Span corruption, T5's objective, and the mixture of denoisers, UL2's."""

import math
from dataclasses import dataclass

from nanojaxlm.batch import Batch
from nanojaxlm.data.objectives.denoising import denoise
from nanojaxlm.data.objectives.rows import Rows, Setting
from nanojaxlm.data.objectives.sentinels import Denoiser, SentinelObjective

UL2 = (  # Tay et al. 2022, section 3.1.2
    Denoiser(density=0.15, mean_length=3.0, mode="<R>"),
    Denoiser(density=0.15, mean_length=8.0, mode="<R>"),
    Denoiser(density=0.25, mean_length=None, mode="<S>"),
    Denoiser(density=0.5, mean_length=3.0, mode="<X>"),
    Denoiser(density=0.5, mean_length=8.0, mode="<X>"),
    Denoiser(density=0.15, mean_length=64.0, mode="<X>"),
    Denoiser(density=0.5, mean_length=64.0, mode="<X>"),
)


@dataclass(frozen=True, kw_only=True)
class SpanCorruption(SentinelObjective):
    """Predict spans of each document, a sentinel in the place of each (Raffel et al. 2019).

    BOS and EOS are never noise; targets end with EOS. Unlike T5's, spans are placed uniformly, not
    always one at the end.
    """

    density: float = 0.15  # of the tokens
    mean_length: float = 3.0  # of a span, tokens

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.parts  # refuses impossible numbers

    @property
    def parts(self) -> tuple[Denoiser, ...]:
        return (Denoiser(density=self.density, mean_length=self.mean_length),)

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """See denoising for an example."""
        return denoise(
            rows,
            setting,
            self.parts,
            (1.0,),
            self.sentinel_ids(setting),
            (-1,),
            self.layout,
            self.lengths(setting.sequence_length),
        )


@dataclass(frozen=True, kw_only=True)
class MixtureOfDenoisers(SentinelObjective):
    """Span corruption of several kinds, one a document, that a mode token tells (Tay et al. 2022).

    Regular denoisers have short spans, extreme ones long spans or many, and sequential ones the end
    of the document.
    """

    num_sentinels: int = 200
    denoisers: tuple[Denoiser, ...] = UL2
    weights: tuple[float, ...] = ()  # of the documents, one for each denoiser; empty = equal
    mode_ids: tuple[int, ...] = ()  # one for each denoiser; empty = ids after the tokenizer's

    def __post_init__(self) -> None:
        super().__post_init__()
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
        if self.mode_ids and not all(denoiser.mode for denoiser in self.denoisers):
            raise ValueError("mode_ids are given, but a denoiser has mode ''; name its mode")

    @property
    def parts(self) -> tuple[Denoiser, ...]:
        return self.denoisers

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        modes = () if self.mode_ids else (denoiser.mode for denoiser in self.denoisers)
        return (*self.sentinels, *dict.fromkeys(mode for mode in modes if mode))

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """See denoising for an example; the mode is the first of a document's inputs."""
        modes = self.mode_ids or tuple(
            setting.extra_ids[denoiser.mode] if denoiser.mode else -1 for denoiser in self.denoisers
        )
        return denoise(
            rows,
            setting,
            self.parts,
            self.weights or (1.0,) * len(self.denoisers),
            self.sentinel_ids(setting),
            modes,
            self.layout,
            self.lengths(setting.sequence_length),
        )
