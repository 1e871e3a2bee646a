"""Objectives: what the model reads, what it predicts, and which predictions count.

An objective is a frozen dataclass of numbers, with
    extra_tokens: names of the ids that follow the tokenizer's
    num_future: how many targets further ahead than the next it has
    encodes, decodes: which streams its batches have
    lengths(sequence_length) -> Lengths: sizes of the rows that it is given and of the streams; a
        ValueError where it cannot serve that length
    batch(rows, setting) -> Batch: numpy arrays, int32 and float32, of those sizes. A pure function
        of each row and its random numbers; documents never mix, and nothing of them is lost.
"""

from nanojaxlm.data.objectives.causal import CausalLM, NextTokens
from nanojaxlm.data.objectives.infilling import FillInTheMiddle
from nanojaxlm.data.objectives.masked import MaskedLM
from nanojaxlm.data.objectives.mixture import Mixture, SingleObjective
from nanojaxlm.data.objectives.prefix import PrefixLM
from nanojaxlm.data.objectives.sentinels import Denoiser
from nanojaxlm.data.objectives.spans import UL2, MixtureOfDenoisers, SpanCorruption

Objective = SingleObjective | Mixture

__all__ = [
    "UL2",
    "CausalLM",
    "Denoiser",
    "FillInTheMiddle",
    "MaskedLM",
    "Mixture",
    "MixtureOfDenoisers",
    "NextTokens",
    "Objective",
    "PrefixLM",
    "SpanCorruption",
]
