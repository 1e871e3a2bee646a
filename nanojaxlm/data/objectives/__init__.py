"""Objectives: what the model reads, what it predicts, and which predictions count."""

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
