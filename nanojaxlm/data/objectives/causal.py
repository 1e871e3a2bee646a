"""Objectives that predict what comes next."""

from dataclasses import dataclass
from typing import ClassVar

from nanojaxlm.batch import Batch
from nanojaxlm.data.objectives.fragments import next_token_batch, targets_ahead
from nanojaxlm.data.objectives.rows import Lengths, Rows, Setting


@dataclass(frozen=True, kw_only=True)
class CausalLM:
    """Predict each token from those before it in its document."""

    extra_tokens: ClassVar[tuple[str, ...]] = ()
    num_future: ClassVar[int] = 0
    encodes: ClassVar[bool] = False
    decodes: ClassVar[bool] = True

    def lengths(self, sequence_length: int) -> Lengths:
        return Lengths(sequence_length, 1, None, sequence_length)

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """See next_token_batch for an example."""
        return next_token_batch(rows.tokens_BS, rows.segments_BS)


@dataclass(frozen=True, kw_only=True)
class NextTokens:
    """Predict the next num_tokens tokens at once, by an extra head each (Gloeckle et al. 2024).

    Batch.future holds the targets 2, 3, … num_tokens ahead, within the document.
    """

    num_tokens: int = 2

    def __post_init__(self) -> None:
        if self.num_tokens < 2:
            raise ValueError(f"num_tokens must be >= 2, got {self.num_tokens}; 1 is CausalLM()")

    extra_tokens: ClassVar[tuple[str, ...]] = ()

    @property
    def num_future(self) -> int:
        return self.num_tokens - 1

    encodes: ClassVar[bool] = False
    decodes: ClassVar[bool] = True

    def lengths(self, sequence_length: int) -> Lengths:
        return Lengths(sequence_length, self.num_tokens, None, sequence_length)

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        tokens_BS, segments_BS = rows.tokens_BS, rows.segments_BS
        length = tokens_BS.shape[1] - self.num_tokens
        near = next_token_batch(tokens_BS[:, : length + 1], segments_BS[:, : length + 1])
        future = (
            targets_ahead(tokens_BS, segments_BS, ahead, length)
            for ahead in range(2, self.num_tokens + 1)
        )
        return near._replace(future=tuple(future))
