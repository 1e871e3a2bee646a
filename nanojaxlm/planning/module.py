"""The text of a compiled XLA module as values: computations, instructions, shapes.

Reads what `compiled.as_text()` prints of an optimised module, for CPU, GPU and TPU. The grammar is
that of XLA's HloPrintOptions defaults (openxla/xla, hlo_instruction.cc and shape_util.cc, read
2026-11): a line `%name = type opcode(%operand, …), attribute=…`, a line a computation's head.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

_HEAD = re.compile(r"(ENTRY )?%([^\s(]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%([^\s=]+) = ")
_SHAPE = re.compile(r"([a-z][a-z0-9]*)\[([^\]]*)\](?:\{([^}]*)\})?")
_OPERAND = re.compile(r"%([^\s,(){}]+)")
_SPACE = re.compile(r"S\((\d+)\)")
_BITS = re.compile(r"[a-z]+(\d+)")


@dataclass(frozen=True)
class Shape:
    """dtype: XLA's name. space: 0 the device's main memory, 5 the host's, others on the chip."""

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def bytes(self) -> int:
        """Without the padding of a tiled layout; 4-bit types two to a byte."""
        return math.ceil(math.prod(self.dims) * bits(self.dtype) / 8)


def bits(dtype: str) -> int:
    """Of one element: bf16 16, s4 4, f8e4m3fn 8, c64 64; a token has none."""
    if dtype in ("token", "opaque"):
        return 0
    match = _BITS.match(dtype)
    return int(match[1]) if match else 8  # pred


@dataclass(frozen=True)
class Instruction:
    """shapes: of the result, a tuple's flattened. literal: what a constant or parameter holds."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    literal: str
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        return sum(shape.bytes for shape in self.shapes)

    def attribute(self, name: str) -> str | None:
        """`name=value` up to the comma; None where there is none. For values without commas."""
        match = re.search(rf"\b{name}=([^\s,]+)", self.attributes)
        return match[1] if match else None

    def called(self, name: str) -> str | None:
        """The computation that an attribute such as calls=, body=, to_apply= names."""
        value = self.attribute(name)
        return value.lstrip("%") if value else None

    def branches(self) -> tuple[str, ...]:
        """The computations of a conditional."""
        listed = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
        if listed:
            return tuple(_OPERAND.findall(listed[1]))
        both = (self.called("true_computation"), self.called("false_computation"))
        return tuple(name for name in both if name)


@dataclass
class Computation:
    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions.values())

    def __getitem__(self, name: str) -> Instruction:
        return self.instructions[name]

    @cached_property
    def root(self) -> Instruction:
        return next(i for i in self if i.is_root)

    @cached_property
    def parameters(self) -> tuple[Instruction, ...]:
        """In the order of their numbers."""
        found = [i for i in self if i.opcode == "parameter"]
        return tuple(sorted(found, key=lambda i: int(i.literal)))

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self:
            for operand in dict.fromkeys(instruction.operands):
                users[operand].append(instruction)
        return users


@dataclass(frozen=True)
class Module:
    computations: dict[str, Computation]
    entry: Computation


def parse(text: str) -> Module:
    """Raises ValueError where the text has no entry computation."""
    computations: dict[str, Computation] = {}
    entry = None
    current = None
    pending: list[str] = []  # of one instruction: a kernel's metadata may break its line

    def finish() -> None:
        if pending and current is not None:
            instruction = _instruction("\n".join(pending))
            current.instructions[instruction.name] = instruction
        pending.clear()

    for line in text.splitlines():
        if current is None:
            head = _HEAD.match(line)
            if head:
                current = computations[head[2]] = Computation(head[2])
                entry = current if head[1] else entry
        elif line == "}" or line.startswith("}, execution_thread"):  # what the host does
            finish()
            current = None
        elif _INSTRUCTION.match(line):
            finish()
            pending.append(line)
        elif pending:
            pending.append(line)
    if entry is None:
        raise ValueError("the text of the compiled module has no ENTRY computation")
    return Module(computations, entry)


def shapes(text: str) -> tuple[Shape, ...]:
    """Every array in a type: f32[2,4]{1,0:T(8,128)S(1)}, or a tuple of such."""
    found = []
    for dtype, dims, layout in _SHAPE.findall(text):
        sizes = tuple(int(d.strip("<=")) for d in dims.split(",")) if dims else ()
        space = _SPACE.search(layout)
        found.append(Shape(dtype, sizes, int(space[1]) if space else 0))
    return tuple(found)


def _instruction(text: str) -> Instruction:
    head = _INSTRUCTION.match(text)
    assert head is not None, text[:200]
    start = head.end()
    stop = _closing(text, start) + 1 if text[start] == "(" else text.index(" ", start)
    opens = text.index("(", stop)
    opcode = text[stop:opens].strip()
    closes = _closing(text, opens)
    inner = text[opens + 1 : closes]
    held = opcode in ("constant", "parameter")
    return Instruction(
        name=head[2],
        opcode=opcode,
        shapes=shapes(text[start:stop]),
        operands=() if held else tuple(_OPERAND.findall(inner)),
        literal=inner if held else "",
        attributes=text[closes + 1 :],
        is_root=head[1] is not None,
    )


def _closing(text: str, opens: int) -> int:
    """The place of the parenthesis that closes the one at `opens`."""
    depth = 0
    for i in range(opens, len(text)):
        if text[i] == "(":
            depth += 1
        elif text[i] == ")":
            depth -= 1
            if not depth:
                return i
    raise ValueError(f"no closing parenthesis: {text[opens : opens + 200]}")
