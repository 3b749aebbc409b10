"""A program with exceptions: what the network does, as a law and the list of where it fails.

Two questions stay apart: what the network was taught (the program, with its agreement) and what it
does (the program and its exceptions, proved).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl.agreement import agreeing
from dsl.claim import Target
from dsl.evaluate import run_defined
from dsl.program import (
    Assign,
    Call,
    Comprehension,
    Constant,
    Expr,
    Literal,
    Loop,
    Program,
    Variable,
    size,
)
from synth.code_length import boundary_distance, exception_bits
from synth.mixing import exception_mask_bits
from synth.problem import Observations

NAME, RULE = "EXCEPTIONS", "rule"
_LARGEST_GRID = 1 << 20
_LARGEST_MIXED = 50_000
_MOST = 2000


@dataclass(frozen=True)
class Exceptions:
    """A law, the inputs on which the network differs from it with its values there, and the two
    together as one program.  `bits` is the length of both, the exceptions named by their distance
    from where the law's value changes; `listed_bits` where they are only counted, as a reader of
    the list must; `plain_bits` that of the labels alone, only counted."""

    law: Program
    table: tuple[tuple[tuple[Any, ...], Any], ...]
    program: Program
    bits: float
    listed_bits: float
    plain_bits: float
    inputs: int

    @property
    def agreement(self) -> float:
        return 1 - len(self.table) / self.inputs


def with_exceptions(
    target: Target, observations: Sequence[Observations], law: Program
) -> Exceptions | None:
    """The law with its exceptions on all inputs, which are given; None where inputs cannot be
    written as keys, or the law fails on thousands of them."""
    names = target.domain.names
    if any(o.values.ndim > 2 or any(o.inputs[n].ndim != 1 for n in names) for o in observations):
        return None
    entries: list[tuple[tuple[Any, ...], Any]] = []
    for o in observations:
        same = agreeing(law, o.inputs, o.values, target.claim.decode)
        rows = np.flatnonzero(~same)
        if len(entries) + len(rows) > _MOST:
            return None
        for row in rows:
            value = _values(o.values[row : row + 1])[0]
            if isinstance(value, float) or o.values.dtype.kind == "f":
                return None
            entries.append((tuple(o.inputs[name][row].item() for name in names), value))
    values = [value for o in observations for value in _values(o.values)]
    kinds = dict.fromkeys(values)
    if any(isinstance(value, tuple) for value in kinds):
        program = _stopped(law, names, tuple(entries))
    else:
        program = _joined(law, names, tuple(entries), sorted(kinds, key=repr))
    if program is None:
        return None
    wrong = _wrong(target, observations, law)
    text = 6.0 * size(law)
    bits = text + _exception_bits(observations, names, law, wrong, len(kinds))
    listed = text + exception_bits(np.zeros(len(wrong), np.int64), wrong, len(kinds))
    numbers = {kind: k for k, kind in enumerate(kinds)}
    counts = np.bincount([numbers[value] for value in values])
    common = np.array([numbers[value] for value in values]) == counts.argmax()
    plain = exception_bits(np.zeros(len(values), np.int64), ~common, len(kinds))
    return Exceptions(law, tuple(entries), program, bits, listed, plain, len(values))


def _values(values: np.ndarray) -> list[Any]:
    """The value of each row; a list of them as a tuple."""
    return [tuple(x) if isinstance(x, list) else x for x in values.tolist()]


def _stopped(
    law: Program, names: tuple[str, ...], entries: tuple[tuple[tuple[Any, ...], Any], ...]
) -> Program | None:
    """A law that is a range, with other ends where the network stops elsewhere; None where its
    exceptions are no such ranges."""
    taken = {name for name, _ in law.constants} | set(names)
    match law.result:
        case Comprehension(Variable(item), (target,), Call("range", (start, stop, *rest)), None):
            step = _step(rest)
        case _:
            return None
    if step is None or item != target or NAME in taken or law.body or not entries:
        return None
    columns = [np.array(column) for column in zip(*(key for key, _ in entries), strict=True)]
    starts, defined = run_defined(
        replace(law, result=start), dict(zip(names, columns, strict=True))
    )
    stops = [
        int(first) + step * len(value) for first, (_, value) in zip(starts, entries, strict=True)
    ]
    for first, end, (_, value) in zip(starts, stops, entries, strict=True):
        if tuple(range(int(first), end, step)) != value:
            return None
    if not defined.all():
        return None
    variables = tuple(Variable(name) for name in names)
    key: Expr = Call("tuple", variables) if len(names) > 1 else variables[0]
    keys = (entry if len(names) > 1 else entry[0] for entry, _ in entries)
    other = Call("get", (Constant(NAME), key, stop))
    source = Call("range", (start, other, *rest))
    return replace(
        law,
        result=Comprehension(Variable(item), (target,), source),
        constants=(*law.constants, (NAME, dict(zip(keys, stops, strict=True)))),
    )


def _step(rest: Sequence[Expr]) -> int | None:
    """The step of a range, 1 where none is written; None for one that is computed."""
    match rest:
        case []:
            return 1
        case [Literal(int() as step)]:
            return step
    return None


def _wrong(target: Target, observations: Sequence[Observations], law: Program) -> np.ndarray:
    return np.concatenate(
        [~agreeing(law, o.inputs, o.values, target.claim.decode) for o in observations]
    )


def _exception_bits(
    observations: Sequence[Observations],
    names: tuple[str, ...],
    law: Program,
    wrong: np.ndarray,
    outcomes: int,
) -> float:
    """Bits of the exceptions: where the inputs are a full grid of integers in order, given how far
    each is from another value of the law; else only counted."""
    shape = _grid(observations, names)
    values = [run_defined(law, o.inputs)[0] for o in observations]
    if shape is None or any(part.ndim != 1 for part in values):
        return exception_bits(np.zeros(len(wrong), np.int64), wrong, outcomes)
    truth = np.concatenate(values).reshape(shape)
    if len(shape) == 2 and truth.size <= _LARGEST_MIXED and outcomes == 2:
        return exception_mask_bits(truth == truth.flat[0], wrong.reshape(shape))
    return exception_bits(boundary_distance(truth), wrong, outcomes)


def _grid(observations: Sequence[Observations], names: tuple[str, ...]) -> tuple[int, ...] | None:
    columns = [np.concatenate([o.inputs[name] for o in observations]) for name in names]
    count = len(columns[0])
    if any(column.dtype.kind not in "iu" for column in columns) or count > _LARGEST_GRID:
        return None
    shape = tuple(int(column.max() - column.min()) + 1 for column in columns)
    if math.prod(shape) != count:
        return None
    place = np.ravel_multi_index([column - column.min() for column in columns], shape)
    return shape if np.array_equal(place, np.arange(count)) else None


def _joined(
    law: Program,
    names: tuple[str, ...],
    entries: tuple[tuple[tuple[Any, ...], Any], ...],
    kinds: list[Any],
) -> Program | None:
    """One program that gives the law's value, and on the exceptions the network's."""
    taken = {name for name, _ in law.constants} | set(names)
    for statement in law.body:
        match statement:
            case Assign(bound, _):
                taken |= set(bound)
            case Loop():
                return None
    if NAME in taken or RULE in taken or not entries:
        return None
    variables = tuple(Variable(name) for name in names)
    key: Expr = Call("tuple", variables) if len(names) > 1 else variables[0]
    keys = tuple(entry if len(names) > 1 else entry[0] for entry, _ in entries)
    if len(entries) == 1:
        pairs = zip(variables, entries[0][0], strict=True)
        tests = [Call("eq", (variable, Literal(value))) for variable, value in pairs]
        test: Expr = functools.reduce(lambda a, b: Call("and", (a, b)), tests)
        result: Expr = Call("ite", (test, Literal(entries[0][1]), law.result))
        return replace(law, result=result)
    truth = _truth(law.result)
    if truth is not None and kinds in ([False, True], [0, 1]):
        listed = Call("contains", (key, Constant(NAME)))
        flipped: Expr = Call("ne", (Variable(RULE), listed))
        body = (*law.body, Assign((RULE,), (truth,)))
        result = flipped if isinstance(kinds[0], bool) else Call("int", (flipped,))
        return replace(law, body=body, result=result, constants=(*law.constants, (NAME, keys)))
    table = dict(zip(keys, (value for _, value in entries), strict=True))
    return replace(
        law,
        result=Call("get", (Constant(NAME), key, law.result)),
        constants=(*law.constants, (NAME, table)),
    )


_TRUTHS = ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "contains")


def _truth(result: Expr) -> Expr | None:
    """The truth value that a result is made of; None where it is another value."""
    match result:
        case Call("int", (Call(name, _) as inner,)) if name in _TRUTHS:
            return inner
        case Call(name, _) if name in _TRUTHS:
            return result
    return None
