"""What the objectives with sentinels have in common: their numbers, and the sizes of batches."""

import bisect
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nanojaxlm.data.objectives.fragments import check_layout
from nanojaxlm.data.objectives.rows import Lengths, Setting

_MULTIPLE = 8  # of the decoder's length, for the hardware's lanes


@dataclass(frozen=True, kw_only=True)
class Denoiser:
    """density: the part of a document's tokens that is noise. mean_length: of a span of it, tokens;
    None = one span, at the document's end. mode: the token that tells the model, "" = none."""

    density: float
    mean_length: float | None
    mode: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.density < 1:
            raise ValueError(f"density must be between 0 and 1, got {self.density}; 0.15 is usual")
        if self.mean_length is not None and not 1 <= self.mean_length < math.inf:
            raise ValueError(f"mean_length must be >= 1 token, got {self.mean_length}; 3 is usual")

    def most(self, length: int) -> tuple[int, int]:
        """The most noise tokens and spans in a document of `length` tokens."""
        noise = min(length, math.ceil(self.density * length))
        return noise, 1 if self.mean_length is None else math.ceil(noise / self.mean_length)


@dataclass(frozen=True, kw_only=True)
class SentinelObjective:
    """The fields of SpanCorruption and MixtureOfDenoisers.

    layout: "encoder", inputs to an encoder and targets to a decoder; "prefix", inputs before their
    targets in a decoder, as a prefix that sees all of itself.
    """

    num_sentinels: int = 100  # a document has no more spans
    first_sentinel: int | None = None  # the id of sentinel 0; None = ids after the tokenizer's
    sentinel_step: int = 1  # from one sentinel's id to the next; T5's own vocabulary has -1
    layout: str = "encoder"
    decoder_length: int | None = None  # tokens, beside an encoder; None = what full rows take

    num_future: ClassVar[int] = 0
    decodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_layout(self.layout)
        if self.decoder_length is not None and self.layout != "encoder":
            raise ValueError(
                f"decoder_length={self.decoder_length} is of layout='encoder'; leave it None, the "
                "decoder reads sequence_length tokens"
            )
        number, first, step = self.num_sentinels, self.first_sentinel, self.sentinel_step
        if number < 1:
            raise ValueError(f"num_sentinels must be >= 1, got {number}; 100 is usual")
        if step == 0 or (first is None and step != 1):
            raise ValueError(
                f"sentinel_step must not be 0, and is 1 without first_sentinel, got {step}; it is "
                "-1 in T5's own vocabulary"
            )
        if first is not None and min(first, first + (number - 1) * step) < 0:
            raise ValueError(
                f"num_sentinels={number} from first_sentinel={first} by steps of {step} fall below "
                "id 0; lower num_sentinels"
            )

    @property
    def parts(self) -> tuple[Denoiser, ...]:
        """The denoisers of which each document has one."""
        raise NotImplementedError

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return self.sentinels

    @property
    def sentinels(self) -> tuple[str, ...]:
        """T5's names; none where the vocabulary has the ids already."""
        if self.first_sentinel is not None:
            return ()
        return tuple(f"<extra_id_{i}>" for i in range(self.num_sentinels))

    @property
    def encodes(self) -> bool:
        return self.layout == "encoder"

    def sentinel_ids(self, setting: Setting) -> np.ndarray:
        """int64 [num_sentinels]."""
        if self.first_sentinel is not None:
            return self.first_sentinel + self.sentinel_step * np.arange(self.num_sentinels)
        return np.array([setting.extra_ids[name] for name in self.sentinels])

    def lengths(self, sequence_length: int) -> Lengths:
        """Sizes that any single document fits, with room for the roundings of some more."""
        spare = max(2, sequence_length // 32)
        row = sequence_length
        if any(part.mode for part in self.parts):
            row -= max(1, sequence_length // 64)
        if self.layout == "prefix":  # a sentinel on both sides for each span
            row = bisect.bisect_right(
                range(1, row + 1),
                sequence_length - spare,
                key=lambda length: length + 2 * self._most_spans(length),
            )
        if row < 1:
            raise ValueError(
                f"sequence_length={sequence_length} has no room for the sentinels; raise it"
            )
        if (spans := self._most_spans(row)) > self.num_sentinels:
            raise ValueError(
                f"num_sentinels={self.num_sentinels} are too few for the {spans} spans of a "
                f"document of {row} tokens; raise num_sentinels or mean_length, or lower "
                "sequence_length"
            )
        if self.layout == "prefix":
            return Lengths(row, 0, None, sequence_length)
        needed = max(sum(part.most(row)) for part in self.parts) + 1
        length = self.decoder_length
        if length is None:
            length = -(-(needed + spare) // _MULTIPLE) * _MULTIPLE
        elif length < needed:
            raise ValueError(
                f"decoder_length={length} is below the {needed} that a document of {row} tokens "
                "takes; raise it, or leave it None"
            )
        return Lengths(row, 0, sequence_length, length)

    def _most_spans(self, length: int) -> int:
        return max(part.most(length)[1] for part in self.parts)
