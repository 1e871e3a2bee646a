"""How often a loop of a compiled program goes round."""

import math
import re

from nanojaxlm.planning.module import Computation, Instruction, Module

_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_DIRECTION = re.compile(r"direction=(\w+)")
_SAME = {"copy", "bitcast", "convert", "reshape"}


def trips(loop: Instruction, inside: Computation, module: Module) -> int | None:
    """As XLA noted it, or else derived: counter < limit, from a constant, by a constant step.

    None where the text does not tell.
    """
    if known := _KNOWN.search(loop.attributes):
        return int(known[1])
    condition = module.computations[loop.called("condition") or ""]
    body = module.computations[loop.called("body") or ""]
    compared = _compared(condition, module)
    if compared is None:
        return None
    left, right, direction = compared
    if direction in ("GT", "GE"):
        left, right, direction = right, left, {"GT": "LT", "GE": "LE"}[direction]
    starts = inside[loop.operands[0]]
    counter = _carried(left, condition)
    if counter is None or starts.opcode != "tuple":
        return None
    start = _constant(starts.operands[counter], inside)
    limit = _constant(right.name, condition)
    carried_limit = _carried(right, condition)
    if limit is None and carried_limit is not None:
        limit = _constant(starts.operands[carried_limit], inside)
    step = _step(counter, body, starts, inside, module)
    if start is None or limit is None or step is None or direction not in ("LT", "LE", "NE"):
        return None
    return max(0, math.ceil((limit + (direction == "LE") - start) / step))


def _compared(
    condition: Computation, module: Module
) -> tuple[Instruction, Instruction, str] | None:
    """The two sides of the comparison that goes on with the loop, as the condition names them."""
    root, within, arguments = condition.root, condition, None
    if root.opcode == "fusion":
        arguments = root.operands
        within = module.computations[root.called("calls") or ""]
        root = within.root
    direction = _DIRECTION.search(root.attributes)
    if root.opcode != "compare" or direction is None:
        return None
    sides = []
    for name in root.operands:
        side = _source(name, within)
        if arguments is not None and side.opcode == "parameter":
            side = condition[arguments[int(side.literal)]]
        sides.append(_source(side.name, condition) if side.name in condition.instructions else side)
    return sides[0], sides[1], direction[1]


def _source(name: str, inside: Computation) -> Instruction:
    found = inside[name]
    while found.opcode in _SAME and found.operands:
        found = inside[found.operands[0]]
    return found


def _carried(value: Instruction, inside: Computation) -> int | None:
    """The place in the loop's tuple that a value is; None where it is none."""
    if value.opcode != "get-tuple-element":
        return None
    return int(value.attribute("index") or 0)


def _constant(name: str, inside: Computation) -> int | None:
    if name not in inside.instructions:
        return None
    found = _source(name, inside)
    try:
        return int(found.literal) if found.opcode == "constant" else None
    except ValueError:
        return None


def _step(
    counter: int, body: Computation, starts: Instruction, outside: Computation, module: Module
) -> int | None:
    """What one round adds to the counter."""
    if body.root.opcode != "tuple":
        return None
    added, within, arguments = _source(body.root.operands[counter], body), body, None
    if added.opcode == "fusion":
        arguments = added.operands
        within = module.computations[added.called("calls") or ""]
        added = within.root
    if added.opcode != "add":
        return None
    for name in added.operands:
        side, where = _source(name, within), within
        if arguments is not None and side.opcode == "parameter":
            side, where = _source(arguments[int(side.literal)], body), body
        step = _constant(side.name, where)
        place = _carried(side, body)
        if step is None and place is not None and place != counter:
            step = _constant(starts.operands[place], outside)
        if step is not None:
            return step
    return None
