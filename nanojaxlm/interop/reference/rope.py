"""Rotary positions as a folder's fields give them: half-split (Su et al. 2021), with scalings."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nanojaxlm.errors import UserError
from nanojaxlm.interop.reference.folder import Fields


class Rope(NamedTuple):
    """Cosines and sines, [T, H/2]: those of position t at row t."""

    cos_TR: np.ndarray
    sin_TR: np.ndarray


def rope_parameters(fields: Fields, theta: float) -> dict[str, Any]:
    """The rotary fields of the whole model; folders older than transformers 5 spread them.

    theta: the family's, where the folder gives none.
    """
    given = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    return {"rope_theta": fields.get("rope_theta", theta), **given}


def make_rope(parameters: Mapping[str, Any], fields: Fields, head_dim: int, length: int) -> Rope:
    """The tables for positions 0 … length - 1.

    The angles are rounded to float32, as in the published implementations: at a few hundred
    positions that is more than all the rest of float32's rounding.

    UserError for a rope_type that is none of default, linear, llama3, yarn.
    """
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in SCALINGS:
        known = ", ".join(SCALINGS)
        raise UserError(
            f"{fields.where}: rope_type = {kind!r} is not implemented here, only {known}"
        )
    if parameters.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise UserError(f"{fields.where}: partial_rotary_factor is not implemented here, only 1.0")
    trained = parameters.get("original_max_position_embeddings")
    if trained is None and kind in ("llama3", "yarn"):
        trained = fields["max_position_embeddings"]
    pairs = np.arange(0, head_dim, 2)
    plain_R = parameters["rope_theta"] ** (-pairs / head_dim)
    frequency_R, magnitude = SCALINGS[kind](plain_R, parameters, trained, fields)
    positions_T = np.arange(length, dtype=np.float32)
    angle_TR = (positions_T[:, None] * frequency_R.astype(np.float32)).astype(np.float64)
    return Rope(np.cos(angle_TR) * magnitude, np.sin(angle_TR) * magnitude)


def rotate(x_BTNH: np.ndarray, rope: Rope) -> np.ndarray:
    """Dimension i pairs with dimension i + H/2."""
    first, second = np.split(x_BTNH, 2, axis=-1)
    cos, sin = rope.cos_TR[:, None, :], rope.sin_TR[:, None, :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _default(plain_R, parameters, trained, fields):
    return plain_R, 1.0


def _linear(plain_R, parameters, trained, fields):
    return plain_R / parameters["factor"], 1.0


def _llama3(plain_R, parameters, trained, fields):
    """By the turns over the trained length: many are kept, few divided, a ramp between."""
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    turns_R = trained * plain_R / (2 * math.pi)
    kept_R = np.clip((turns_R - low) / (high - low), 0, 1)
    return kept_R * plain_R + (1 - kept_R) * plain_R / parameters["factor"], 1.0


def _yarn(plain_R, parameters, trained, fields):
    """The ramp of YaRN goes over pair indices, between whole ones (Peng et al. 2023)."""
    for name in ("mscale", "mscale_all_dim"):
        if parameters.get(name) is not None:
            raise UserError(f"{fields.where}: {name} of yarn is not implemented here")
    if parameters.get("truncate", True) is not True:
        raise UserError(f"{fields.where}: truncate of yarn is not implemented here, only true")
    factor, dim = parameters["factor"], 2 * len(plain_R)

    def pair_that_turns(times: float) -> float:
        return (
            dim
            * math.log(trained / (times * 2 * math.pi))
            / (2 * math.log(parameters["rope_theta"]))
        )

    low = max(math.floor(pair_that_turns(parameters.get("beta_fast") or 32)), 0)
    high = min(math.ceil(pair_that_turns(parameters.get("beta_slow") or 1)), dim - 1)
    ramp = (np.arange(dim // 2) - low) / (high - low if high != low else 0.001)
    divided_R = np.clip(ramp, 0, 1)
    magnitude = parameters.get("attention_factor")
    if magnitude is None:
        magnitude = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    return divided_R * plain_R / factor + (1 - divided_R) * plain_R, magnitude


SCALINGS = {"default": _default, "linear": _linear, "llama3": _llama3, "yarn": _yarn}
