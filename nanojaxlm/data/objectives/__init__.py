"""Objectives: what the model reads, what it predicts, and which predictions count."""

from nanojaxlm.data.objectives.causal import CausalLM, NextTokens
from nanojaxlm.data.objectives.denoisers import UL2, MixtureOfDenoisers
from nanojaxlm.data.objectives.denoising import Denoiser
from nanojaxlm.data.objectives.masked import MaskedLM
from nanojaxlm.data.objectives.spans import SpanCorruption

Objective = CausalLM | NextTokens | MaskedLM | SpanCorruption | MixtureOfDenoisers

__all__ = [
    "UL2",
    "CausalLM",
    "Denoiser",
    "MaskedLM",
    "MixtureOfDenoisers",
    "NextTokens",
    "Objective",
    "SpanCorruption",
]
