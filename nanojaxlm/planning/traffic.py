"""Bytes that an instruction of a compiled program reads from and writes to the main memory.

Arrays that XLA keeps on the chip (a layout's S(1), TPU's vector memory) cost nothing here. A slice
of a larger array is read alone, and an update within one is written alone.
"""

import math

from nanojaxlm.planning.module import Computation, Instruction, Module, Shape, bits

_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "replica-id", "opt-barrier", "add-dependency", "domain", "while", "call", "conditional",
}  # fmt: skip
_SAME = {"bitcast", "convert", "reshape", "copy", "transpose"}


def in_memory(shape: Shape) -> bool:
    return shape.space == 0


def instruction_bytes(instruction: Instruction, inside: Computation) -> float:
    """Of one that is neither a fusion nor a custom call."""
    opcode, shapes = instruction.opcode, instruction.shapes
    if opcode in _FREE or opcode.endswith(("-done", "-update")):
        return 0.0
    operands = [inside[name] for name in instruction.operands]
    read = sum(shape.bytes for operand in operands for shape in operand.shapes if in_memory(shape))
    if opcode.endswith("-start"):
        return _started(instruction, operands, read)
    written = sum(shape.bytes for shape in shapes if in_memory(shape))
    if opcode in ("dynamic-slice", "slice", "gather"):
        return float(written + (shapes[0].bytes if in_memory(operands[0].shapes[0]) else 0))
    if opcode in ("dynamic-update-slice", "scatter"):
        update = operands[1 if opcode == "dynamic-update-slice" else -1].shapes[0]
        return float(update.bytes * (in_memory(update) + in_memory(shapes[0])))
    return float(read + written)


def _started(start: Instruction, operands: list[Instruction], read: int) -> float:
    """Of the first half of an asynchronous operation: its result stands among its shapes, beside
    what it is given and flags."""
    if start.opcode == "copy-start":
        return float(read + (start.shapes[0].bytes if in_memory(start.shapes[0]) else 0))
    given = {shape.dims for operand in operands for shape in operand.shapes}
    results = [shape for shape in start.shapes if shape.dims and shape.dims not in given]
    if start.opcode == "slice-start":
        sliced = sum(shape.bytes for shape in results)
        read = min(read, sliced)
    written = sum(shape.bytes for shape in results if in_memory(shape))
    return float(read + (written if results else read))


def fusion_bytes(fusion: Instruction, inside: Computation, module: Module) -> float:
    """What the fusion's parameters are read for, and what it gives."""
    fused = module.computations[fusion.called("calls") or ""]
    total = 0.0
    for parameter, name in zip(fused.parameters, fusion.operands, strict=True):
        shape = inside[name].shapes[0]
        if in_memory(shape):
            read = _elements_read(parameter, fused, module) * bits(shape.dtype) / 8
            total += min(read, shape.bytes)
    written = _written(fused.root, fused, module)
    for shape, part in zip(fusion.shapes, written, strict=True):
        if in_memory(shape):
            total += min(part, shape.bytes)
    return total


def _elements_read(value: Instruction, inside: Computation, module: Module) -> float:
    """Elements of a fusion's parameter, or of a value that is the same elements, that it needs."""
    whole = float(math.prod(value.shapes[0].dims)) if value.shapes else 0.0
    read = 0.0
    for user in inside.users[value.name]:
        first = user.operands[0] == value.name
        if user.opcode in _SAME:
            read += _elements_read(user, inside, module)
        elif user.opcode in ("dynamic-slice", "slice", "gather") and first:
            read += math.prod(user.shapes[0].dims)
        elif user.opcode == "fusion":
            within = module.computations[user.called("calls") or ""]
            for parameter, name in zip(within.parameters, user.operands, strict=True):
                if name == value.name:
                    read += _elements_read(parameter, within, module)
            if within.root.opcode in _SAME:
                read += _elements_read(user, inside, module)
        elif user.opcode == "tuple" or (user.opcode == "dynamic-update-slice" and first):
            continue  # passed on as it is
        elif user.opcode in ("custom-call", "all-gather") and _is_bookkeeping(user):
            continue
        else:
            return whole
    return min(read, whole)


def _written(root: Instruction, inside: Computation, module: Module) -> list[float]:
    """Bytes written for each array of a fusion's result."""
    if root.opcode == "tuple":
        return [part for name in root.operands for part in _written(inside[name], inside, module)]
    if root.opcode == "parameter":
        return [0.0] * len(root.shapes)
    if root.opcode in _SAME:
        source = inside[root.operands[0]]
        if source.opcode in ("dynamic-update-slice", *_SAME):
            return _written(source, inside, module)
    if root.opcode == "dynamic-update-slice":
        return [float(inside[root.operands[1]].bytes)]
    if root.opcode == "scatter" and len(root.shapes) == 1:
        return [float(inside[root.operands[-1]].bytes)]
    if root.opcode == "fusion":
        within = module.computations[root.called("calls") or ""]
        return _written(within.root, within, module)
    if root.opcode in ("custom-call", "all-gather") and _is_bookkeeping(root):
        return [0.0] * len(root.shapes)
    return [float(shape.bytes) for shape in root.shapes]


def _is_bookkeeping(instruction: Instruction) -> bool:
    """A collective that another instruction starts or ends."""
    return "AsyncCollective" in instruction.attributes or (
        '"async_collective_fusion_config"' in instruction.attributes
    )
