"""Fill in the middle: a document's parts in another order, so that a decoder learns to infill."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nanojaxlm.batch import Batch
from nanojaxlm.data.draws import Purpose
from nanojaxlm.data.objectives.fragments import (
    Fragments,
    assemble,
    interleave,
    next_token_batch,
)
from nanojaxlm.data.objectives.rows import (
    Bodies,
    Lengths,
    Pieces,
    Rows,
    Setting,
    find_bodies,
    find_pieces,
)

_PREFIX, _SUFFIX, _MIDDLE = "<fim_prefix>", "<fim_suffix>", "<fim_middle>"
_ADDED = 4  # tokens that a document grows by: three sentinels, and EOS where its piece has none


@dataclass(frozen=True, kw_only=True)
class FillInTheMiddle:
    """Causal, with the middle of some documents moved to their end (Bavarian et al. 2022).

    Each document's piece in a row is cut at two tokens, uniformly, and becomes
        PSM: BOS <prefix> prefix <suffix> suffix <middle> middle EOS
        SPM: BOS <prefix> <suffix> suffix <middle> prefix middle EOS
    (their context-level infilling, and their second form of SPM); EOS says that the middle is
    whole, also where the document goes on in another row. All tokens are targets.
    """

    rate: float = 0.5  # of the documents
    spm_rate: float = 0.5  # of those
    prefix_id: int | None = None  # None = ids after the tokenizer's, of all three
    suffix_id: int | None = None
    middle_id: int | None = None

    num_future: ClassVar[int] = 0
    encodes: ClassVar[bool] = False
    decodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(
                f"rate must be above 0 and at most 1, got {self.rate}; 0.5 is usual, and 0 is "
                "CausalLM()"
            )
        if not 0 <= self.spm_rate <= 1:
            raise ValueError(f"spm_rate must be between 0 and 1, got {self.spm_rate}")
        ids = (self.prefix_id, self.suffix_id, self.middle_id)
        given = [i for i in ids if i is not None]
        if len(given) not in (0, 3) or len(set(given)) < len(given) or any(i < 0 for i in given):
            raise ValueError(
                f"prefix_id, suffix_id and middle_id must be three ids >= 0, or all None, got {ids}"
            )

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return (_PREFIX, _SUFFIX, _MIDDLE) if self.prefix_id is None else ()

    def lengths(self, sequence_length: int) -> Lengths:
        row = sequence_length - _ADDED * max(1, sequence_length // 128)
        if row < 1:
            raise ValueError(
                f"sequence_length={sequence_length} has no room for the sentinels; raise it"
            )
        return Lengths(row, 1, None, sequence_length)

    def batch(self, rows: Rows, setting: Setting) -> Batch:
        """Where more documents of a row are drawn than it has room for, the others of a random
        order stay as they are."""
        width = setting.sequence_length + 1
        pieces = find_pieces(rows.segments_BS)
        bodies = find_bodies(pieces, rows.tokens_BS, setting.vocabulary)
        moved_P = self._moved(rows, pieces, bodies, width)
        fragments = self._fragments(rows, setting, pieces, bodies, moved_P)
        tokens_BS, segments_BS, _ = assemble(rows.tokens_BS, fragments, width)
        return next_token_batch(tokens_BS, segments_BS)

    def _moved(self, rows: Rows, pieces: Pieces, bodies: Bodies, width: int) -> np.ndarray:
        """bool [P]: whose middle moves."""
        at = (pieces.rows_P, pieces.columns_P)
        moved_P = (rows.draws.uniform(Purpose.INFILL, *at) < self.rate) & (bodies.lengths_P > 0)
        room_B = (width - np.count_nonzero(rows.segments_BS, axis=1)) // _ADDED
        number_B = np.bincount(pieces.rows_P[moved_P], minlength=len(room_B))
        order_P = rows.draws.bits(Purpose.ORDER, *at)
        for row in np.flatnonzero(number_B > room_B):
            mine = np.flatnonzero(moved_P & (pieces.rows_P == row))
            moved_P[mine[np.argsort(order_P[mine], kind="stable")[room_B[row] :]]] = False
        return moved_P

    def _fragments(
        self, rows: Rows, setting: Setting, pieces: Pieces, bodies: Bodies, moved_P: np.ndarray
    ) -> Fragments:
        """Nine for each piece; one that stays as it is is all of it in the first."""
        ids = setting.extra_ids
        prefix_id = ids[_PREFIX] if self.prefix_id is None else self.prefix_id
        suffix_id = ids[_SUFFIX] if self.suffix_id is None else self.suffix_id
        middle_id = ids[_MIDDLE] if self.middle_id is None else self.middle_id
        draws, rows_P, columns_P = rows.draws, pieces.rows_P, pieces.columns_P
        base_P = rows_P * rows.tokens_BS.shape[1]
        cuts_2P = np.stack(
            [draws.uniform(Purpose.INFILL_CUTS, rows_P, 2 * columns_P + i) for i in range(2)]
        )
        cuts_2P = np.sort((cuts_2P * (bodies.lengths_P + 1)).astype(np.int64), axis=0)
        start_P = base_P + bodies.columns_P
        middle_P, suffix_P = start_P + cuts_2P[0], start_P + cuts_2P[1]
        prefix_P, end_P = cuts_2P[0] * moved_P, start_P + bodies.lengths_P
        spm_P = draws.uniform(Purpose.INFILL_ORDER, rows_P, columns_P) < self.spm_rate
        bos = (base_P + columns_P, np.where(moved_P, bodies.has_bos_P, pieces.lengths_P))
        middle = (middle_P, (suffix_P - middle_P) * moved_P)
        suffix = (suffix_P, (end_P - suffix_P) * moved_P)
        psm_prefix, spm_prefix = (start_P, prefix_P * ~spm_P), (start_P, prefix_P * spm_P)
        first, second, third, eos = (
            (np.full_like(base_P, ~i), moved_P.astype(np.int64))
            for i in (prefix_id, suffix_id, middle_id, setting.vocabulary.eos_id)
        )
        parts = (bos, first, psm_prefix, second, suffix, third, spm_prefix, middle, eos)
        sources, sizes = zip(*parts, strict=True)
        return Fragments(
            np.repeat(rows_P, len(parts)),
            np.repeat(pieces.segments_P, len(parts)),
            interleave(*sources),
            interleave(*sizes),
            np.zeros(len(parts) * len(rows_P), bool),
        )
