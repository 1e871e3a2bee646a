"""Rotary positions as config.json tells them: rope_parameters, or rope_theta and rope_scaling."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nanojaxlm.errors import UserError
from nanojaxlm.interop.families import windows
from nanojaxlm.interop.families.fields import Fields
from nanojaxlm.model.config import (
    BandScaling,
    LinearScaling,
    LocalConfig,
    Rope,
    StackConfig,
    YarnScaling,
)

# Written as max_position_embeddings, which changes nothing that a model with rotary positions
# computes, where no scaling says for how many tokens it is.
MAX_POSITIONS = 8192


def read_rope(fields: Fields, theta: float = 10_000.0) -> Rope:
    """The rotary positions of a model that has one kind.

    Both spellings are understood; as in transformers, rope_scaling wins over rope_parameters and a
    rope_theta within them over one beside them.

    theta: where the config has none.

    Raises:
        UserError: a rope_type or a field of it is not supported.
    """
    theta = fields.take(float, "rope_theta", default=theta)
    parameters = fields.take(dict, "rope_parameters", default={})
    parameters = fields.take(dict, "rope_scaling", default={}) or parameters
    return rope(parameters, theta, max_positions(fields))


def read_two_ropes(
    fields: Fields, theta: tuple[str, float], local: tuple[str, float], scales_local: bool
) -> tuple[Rope, Rope]:
    """(global, local) rotary positions of a model with both kinds of layers.

    theta, local: the old names and the defaults of the two thetas.
    scales_local: the old rope_scaling is of the local layers too.
    """
    nested = fields.take(dict, "rope_parameters", default={})
    if unknown := sorted(set(nested) - {windows.FULL, windows.SLIDING}):
        fields.refuse("rope_parameters", f"it must be by layer type, and {unknown[0]} is none")
    scaling = fields.take(dict, "rope_scaling", default={})
    length = max_positions(fields)
    parts = []
    for kind, (old, default), scaled in (
        (windows.FULL, theta, True),
        (windows.SLIDING, local, scales_local),
    ):
        old_theta = fields.take(float, old, default=default)
        parameters = {**(nested.get(kind) or {}), **(scaling if scaled else {})}
        parts.append(rope(parameters, old_theta, length))
    return parts[0], parts[1]


def shared_out(
    rope: Rope, local_rope: Rope, window: int | None, local: LocalConfig | None
) -> tuple[Rope, LocalConfig | None]:
    """(rope of the attention, LocalConfig with that of the local layers if it differs); `window`
    and `local` as `read_windows` gives them."""
    if local is None:
        return (rope if window is None else local_rope), None
    return rope, local if local_rope == rope else replace(local, rope=local_rope)


def max_positions(fields: Fields) -> int:
    """max_position_embeddings, the original length of a scaling that gives none."""
    return fields.positive("max_position_embeddings", default=MAX_POSITIONS)


def rope(parameters: Mapping[str, Any], theta: float, length: int) -> Rope:
    """One set of rope_parameters.

    Raises:
        UserError: a rope_type or a field of it is not supported.
    """
    fixed = {"partial_rotary_factor": (None, 1, 1.0), "truncate": (None, True)}
    fields = Fields(parameters, "rope_parameters", frozenset(), fixed)
    kind = fields.take(str, "rope_type", "type", default="default")
    fields.take(str, "type", default=None)
    theta = fields.take(float, "rope_theta", default=theta)
    scaling = None
    if kind == "linear":
        scaling = LinearScaling(factor=fields.take(float, "factor"))
    elif kind == "llama3":
        scaling = BandScaling(
            factor=fields.take(float, "factor"),
            low_frequency_factor=fields.take(float, "low_freq_factor"),
            high_frequency_factor=fields.take(float, "high_freq_factor"),
            original_length=fields.positive("original_max_position_embeddings", default=length),
        )
    elif kind == "yarn":
        scaling = _yarn(fields, length)
    elif kind != "default":
        raise UserError(
            f"rope_parameters: rope_type={kind!r} is not supported; only default, linear, llama3 "
            "and yarn are"
        )
    fields.finish()
    return Rope(theta=theta, scaling=scaling)


def write_rope(rope: Rope) -> dict[str, Any]:
    """In both spellings, so that transformers 4 does not pass over the scaling in silence."""
    parameters = rope_parameters(rope)
    written: dict[str, Any] = {
        "max_position_embeddings": trained_length(rope),
        "rope_parameters": parameters,
        "rope_theta": rope.theta,
    }
    if rope.scaling is not None:
        old = {name: value for name, value in parameters.items() if name != "rope_theta"}
        written["rope_scaling"] = old
    return written


def write_two_ropes(stack: StackConfig, theta: str, local_theta: str) -> dict[str, Any]:
    """rope_parameters by layer type, and the thetas under their old names."""
    rope = stack.attention.rope
    assert rope is not None
    local_rope = rope if stack.local is None else stack.local.rope or rope
    return {
        "max_position_embeddings": trained_length(rope),
        "rope_parameters": {
            windows.FULL: rope_parameters(rope),
            windows.SLIDING: rope_parameters(local_rope),
        },
        theta: rope.theta,
        local_theta: local_rope.theta,
    }


def rope_parameters(rope: Rope) -> dict[str, Any]:
    """One set of rope_parameters."""
    scaling = rope.scaling
    parameters: dict[str, Any] = {"rope_theta": rope.theta}
    if rope.rate != 1:
        parameters["partial_rotary_factor"] = rope.rate
    if scaling is None:
        return {"rope_type": "default"} | parameters
    parameters["factor"] = scaling.factor
    if isinstance(scaling, LinearScaling):
        return {"rope_type": "linear"} | parameters
    parameters["original_max_position_embeddings"] = scaling.original_length
    if isinstance(scaling, BandScaling):
        return (
            {"rope_type": "llama3"}
            | parameters
            | {
                "low_freq_factor": scaling.low_frequency_factor,
                "high_freq_factor": scaling.high_frequency_factor,
            }
        )
    parameters |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
    if scaling.attention_factor is not None:
        parameters["attention_factor"] = scaling.attention_factor
    return {"rope_type": "yarn"} | parameters


def trained_length(rope: Rope) -> int:
    """The longest row, tokens, as far as the scaling tells it."""
    scaling = rope.scaling
    if scaling is None or isinstance(scaling, LinearScaling):
        return MAX_POSITIONS
    return math.ceil(scaling.factor * scaling.original_length)


def _yarn(fields: Fields, length: int) -> YarnScaling:
    factor = fields.take(float, "factor")
    attention_factor = fields.take(float, "attention_factor", default=None)
    above = fields.take(float, "mscale", default=0.0)
    below = fields.take(float, "mscale_all_dim", default=0.0)
    if attention_factor is None and above and below:  # DeepSeek's way of saying it
        attention_factor = _sharpening(factor, above) / _sharpening(factor, below)
    elif attention_factor is None and factor < 1:
        attention_factor = 1.0
    return YarnScaling(
        factor=factor,
        original_length=fields.positive("original_max_position_embeddings", default=length),
        beta_fast=fields.take(float, "beta_fast", default=0.0) or 32.0,
        beta_slow=fields.take(float, "beta_slow", default=0.0) or 1.0,
        attention_factor=attention_factor,
    )


def _sharpening(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0
