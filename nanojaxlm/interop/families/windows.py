"""Which layers see a window only, as config.json tells it: layer_types and sliding_window."""

from collections.abc import Sequence
from typing import Any

from nanojaxlm.interop.families.fields import Fields
from nanojaxlm.model.config import LocalConfig, StackConfig

FULL, SLIDING = "full_attention", "sliding_attention"


def read_windows(
    fields: Fields, default: Sequence[bool], window: int | None
) -> tuple[int | None, LocalConfig | None]:
    """(AttentionConfig.window, StackConfig.local) of a stack.

    default: True for a layer that slides, where there are no layer_types.
    window: of the layers that slide, in our counting.

    A stack that slides in all layers has a window and is not local. sliding_window_pattern, which
    older configs have instead of layer_types, chooses among the patterns that fit.

    Raises:
        UserError: the layers follow no pattern that LocalConfig has.
    """
    types = fields.take(list, "layer_types", default=None)
    if types is None:
        slides = list(default)
    elif len(types) != len(default) or set(types) - {FULL, SLIDING}:
        fields.refuse("layer_types", f"{len(default)} layers, each {FULL} or {SLIDING}, are")
        raise AssertionError
    else:
        slides = [kind == SLIDING for kind in types]
    hint = fields.positive("sliding_window_pattern", "_sliding_window_pattern", default=None)
    if not any(slides):
        return None, None
    if window is None:
        fields.refuse("sliding_window", f"layers of type {SLIDING} need it, in tokens")
        raise AssertionError
    local = _pattern(slides, window, hint)
    if local is None and not all(slides):
        fields.refuse(
            "layer_types", "only one full_attention layer every n, the first or the last, is"
        )
    return (window, None) if local is None else (None, local)


def slides(stack: StackConfig) -> list[bool]:
    """True for each layer that sees a window only."""
    if stack.local is None:
        return [stack.attention.window is not None] * stack.num_layers
    return [stack.layer(i).is_local for i in range(stack.num_layers)]


def window(stack: StackConfig) -> int | None:
    """Of the layers that see a window only."""
    return stack.attention.window if stack.local is None else stack.local.window


def write_windows(stack: StackConfig) -> dict[str, Any]:
    """layer_types, and the pattern where they alone would read as another one."""
    which = slides(stack)
    written: dict[str, Any] = {"layer_types": [SLIDING if local else FULL for local in which]}
    if stack.local is not None and _pattern(which, stack.local.window, None) != stack.local:
        written["sliding_window_pattern"] = stack.local.global_every
    return written


def _pattern(which: list[bool], window: int, hint: int | None) -> LocalConfig | None:
    """The pattern with the fewest layers, or that of the hint; None where none fits, and where all
    slide and there is no hint."""
    every = [hint] if hint else []
    every += [] if all(which) else list(range(2, len(which) + 1))
    for n in every:
        for first in (False, True):
            local = LocalConfig(window=window, global_every=n, global_first=first)
            if which == [not local.is_global(i) for i in range(len(which))]:
                return local
    return None
