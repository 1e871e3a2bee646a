"""Random numbers as a pure function of (seed, place of the row, purpose, column).

A row's numbers do not depend on which process or thread draws them, on the other rows of its batch
or on what was drawn before; so a resumed run, or one on more processes, sees the same batches.
"""

import enum
from typing import NamedTuple

import numpy as np

from nanojaxlm.data.schedule import mix

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Purpose(enum.IntEnum):
    """What a number decides: each purpose has its own. The values are part of every run's data."""

    OBJECTIVE = 0  # of the row, in a mixture
    DENOISER = 1  # of the document
    SELECT = 2  # whether a word is masked
    REPLACE = 3  # by what
    RANDOM_TOKEN = 4
    NOISE = 5  # rounding the number of noise tokens
    SPANS = 6  # rounding the number of spans
    CUTS = 7  # the lengths of the spans
    GAPS = 8  # the places of the spans
    ORDER = 9  # which documents give way where a row would overflow
    SPLIT = 10  # where the prefix ends
    INFILL = 11  # whether the middle moves
    INFILL_ORDER = 12
    INFILL_CUTS = 13


class Draws(NamedTuple):
    """keys_B: uint64, a key for each row."""

    keys_B: np.ndarray

    @classmethod
    def of(cls, seed: int, places_B: np.ndarray) -> "Draws":
        """places_B: int64, the rows' places in the run."""
        state = mix(np.array([seed % 2**64], np.uint64) + _GOLDEN)
        return cls(mix((state ^ places_B.astype(np.uint64)) + _GOLDEN))

    def at(self, rows: np.ndarray) -> "Draws":
        """Those of some of the rows."""
        return Draws(self.keys_B[rows])

    def bits(self, purpose: Purpose, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """uint64, one for each (row, column); the two broadcast.

        SplitMix64 (Steele et al., 2014) at any of its steps.
        """
        steps = (columns + (int(purpose) * 2**32 + 1)).astype(np.uint64) * _GOLDEN
        return mix(self.keys_B[rows] + steps)

    def uniform(self, purpose: Purpose, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """float64 in [0, 1), one for each (row, column); the two broadcast."""
        bits = self.bits(purpose, rows, columns)
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def grid(self, purpose: Purpose, width: int) -> np.ndarray:
        """float64 [B, width] in [0, 1)."""
        rows = np.arange(len(self.keys_B))
        return self.uniform(purpose, rows[:, None], np.arange(width))
