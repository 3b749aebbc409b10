"""Programs: frozen, single-assignment, free of Python callables.

A network is a long program of tensor primitives, its distillation a short one of scalar and
sequence primitives; both are this one type.  The text of a program is a subset of Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from dsl.types import Type

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in place: a scalar or a (nested) tuple of scalars."""

    value: Scalar | tuple[Any, ...]

    # True == 1 in Python, but `True` and `1` are different programs.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and _exact(self.value) == _exact(other.value)

    def __hash__(self) -> int:
        return hash(_exact(self.value))


@dataclass(frozen=True, slots=True)
class Variable:
    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A named entry of the program's side table of arrays, tuples and maps."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A primitive applied to arguments; `options` are its static attributes, by name."""

    primitive: str
    args: tuple[Expr, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str, default: Any = None) -> Any:
        return dict(self.options).get(name, default)


@dataclass(frozen=True, slots=True)
class Comprehension:
    """`[element for targets in source if condition]`, a sequence."""

    element: Expr
    targets: tuple[str, ...]
    source: Expr
    condition: Expr | None = None


Expr: TypeAlias = Literal | Variable | Constant | Call | Comprehension


@dataclass(frozen=True, slots=True)
class Assign:
    """`names = values`, all at once."""

    names: tuple[str, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """`name.append(value)`."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Loop:
    """`for targets in source:` over a body that is carried out in order, as in Python.

    `state` gives the variables that live across rounds with their first values; `outputs` names
    the lists that the body appends to.  After the loop both are bound.  This is the scan of the
    language: recurrence has no other form.
    """

    targets: tuple[str, ...]
    source: Expr
    state: tuple[tuple[str, Expr], ...]
    body: tuple[Assign | Append, ...]
    outputs: tuple[str, ...] = ()


Statement: TypeAlias = Assign | Loop


@dataclass(frozen=True, slots=True)
class Program:
    """`def name(inputs): body; return result`, with constants in a side table."""

    name: str
    inputs: tuple[tuple[str, Type | None], ...]
    body: tuple[Statement, ...]
    result: Expr
    constants: tuple[tuple[str, Any], ...] = field(default=(), compare=False)

    def constant(self, name: str) -> Any:
        for key, value in self.constants:
            if key == name:
                return value
        raise KeyError(name)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.inputs)

    @property
    def digest(self) -> str:
        """A SHA-256 over structure and constants; two equal programs have one digest."""
        digest = hashlib.sha256(repr((self.parameters, self.body, self.result)).encode())
        for name, value in self.constants:
            digest.update(name.encode())
            digest.update(constant_bytes(value))
        return digest.hexdigest()


def constant_bytes(value: Any) -> bytes:
    """The content of a constant, for digests: dtype, shape and bytes, or the written value."""
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return f"{array.dtype.str}{array.shape}".encode() + array.tobytes()
    return repr(value).encode()


def function(name: str, inputs: tuple[str, ...], result: Expr, *statements: Statement) -> Program:
    """A program without declared types or constants."""
    return Program(name, tuple((parameter, None) for parameter in inputs), statements, result)


def children(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Call(_, args, _):
            return args
        case Comprehension(element, _, source, condition):
            return (element, source) if condition is None else (element, source, condition)
        case _:
            return ()


_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


def negated(condition: Expr) -> Expr:
    """The opposite of a condition, without `not` where a comparison can be turned round."""
    match condition:
        case Call("not", (inner,)):
            return inner
        case Call(name, (a, b)) if name in _OPPOSITE:
            return Call(_OPPOSITE[name], (a, b))
        case _:
            return Call("not", (condition,))


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and all that it contains, parents first, without recursion."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def expressions(program: Program) -> Iterator[Expr]:
    """Every outermost expression of the program, in the order in which they stand."""
    for statement in program.body:
        match statement:
            case Assign(_, values):
                yield from values
            case Loop(_, source, state, body, _):
                yield from (first for _, first in state)
                yield source
                for step in body:
                    match step:
                        case Assign(_, values):
                            yield from values
                        case Append(_, value):
                            yield value
    yield program.result


def size(program: Program) -> int:
    """The number of nodes: expression nodes, one per assigned name, loop and list, and one per
    entry of each literal tuple or constant table."""
    count = 0
    for outer in expressions(program):
        for node in walk(outer):
            match node:
                case Literal(value) if isinstance(value, tuple):
                    count += 1 + _entries(value)
                case Comprehension(_, targets, _, _):
                    count += 1 + len(targets)
                case _:
                    count += 1
    for statement in program.body:
        match statement:
            case Assign(names, _):
                count += len(names)
            case Loop(targets, _, state, body, outputs):
                count += 1 + len(targets) + len(state) + len(outputs)
                count += sum(len(step.names) if isinstance(step, Assign) else 1 for step in body)
    return count + sum(_entries(value) for _, value in program.constants)


def _entries(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.size)
    if isinstance(value, dict):
        return sum(1 + _entries(entry) for entry in value.values())
    if isinstance(value, (tuple, list)):
        return sum(_entries(entry) for entry in value)
    return 1


def _exact(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_exact(item) for item in value)
    return type(value).__name__, repr(value) if isinstance(value, float) else value
