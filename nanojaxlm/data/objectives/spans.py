"""Span corruption, T5's objective."""

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


@dataclass(frozen=True, kw_only=True)
class SpanCorruption:
    """Predict spans of each document, a sentinel in the place of each (Raffel et al. 2019).

    layout: "encoder", inputs to an encoder and targets to a decoder; "prefix", inputs before their
    targets in a decoder, as a prefix that sees all of itself. BOS and EOS are never noise; targets
    end with EOS.
    """

    density: float = 0.15  # of the tokens
    mean_length: float = 3.0  # of a span, tokens
    num_sentinels: int = 100
    first_sentinel: int | None = None  # the id of sentinel 0; None = ids after the tokenizer's
    sentinel_step: int = 1  # from one sentinel's id to the next; T5's own vocabulary has -1
    layout: str = "encoder"
    decoder_length: int | None = None  # tokens, beside an encoder; None = what full rows take

    num_future: ClassVar[int] = 0
    decodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_layout(self.layout, self.decoder_length)
        check_sentinels(self.num_sentinels, self.first_sentinel, self.sentinel_step)
        assert self._denoisers  # refuses impossible numbers

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return sentinel_names(self.num_sentinels, self.first_sentinel)

    @property
    def encodes(self) -> bool:
        return self.layout == "encoder"

    def lengths(self, sequence_length: int) -> Lengths:
        return denoising_lengths(
            self._denoisers, self.num_sentinels, self.layout, self.decoder_length, sequence_length
        )

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """See denoising for an example."""
        first = self.first_sentinel
        if first is None:
            first = setting.extra_ids[self.extra_tokens[0]]
        return denoise(
            rows,
            setting,
            self._denoisers,
            (1.0,),
            Sentinels(first, self.sentinel_step, self.num_sentinels),
            (-1,),
            self.layout,
            self.lengths(setting.sequence_length),
        )

    @property
    def _denoisers(self) -> tuple[Denoiser, ...]:
        return (Denoiser(density=self.density, mean_length=self.mean_length),)
