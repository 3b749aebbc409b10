"""Constants and tables: the programs that always exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dsl import types as t
from dsl.claim import Hypothesis
from dsl.program import Call, Constant, Expr, Literal, Program, Variable
from synth.problem import Problem

LARGEST = 20_000


def literal(value: Any) -> Literal:
    """A NumPy scalar or row of values as a literal of the language."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return Literal(tuple(literal(item).value for item in value))
    return Literal(value)


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """The most frequent value."""
    domain = problem.target.domain
    inputs = tuple((name, None) for name in domain.names)
    values = np.concatenate([o.values.reshape(len(o), -1)[:, -1] for o in problem.observations])
    if values.dtype == object:
        # Lists of different lengths, or labels of different kinds.
        common = values[0]
    else:
        kinds, counts = np.unique(values, return_counts=True)
        common = kinds[counts.argmax()]
    first = problem.observations[0].values
    if first.ndim == 1 and first.dtype != object:
        yield Hypothesis(Program("program", inputs, (), literal(common)), "constant", 1)
        return
    if first.ndim == 2:
        source = next((n for n, kind in domain.fields if isinstance(kind, t.Seq)), None)
        row = literal(common)
        if source is None:
            result: Expr = Call("list", (row,) * first.shape[1])
        else:
            result = Call("mul", (Call("list", (row,)), Call("len", (Variable(source),))))
        yield Hypothesis(Program("program", inputs, (), result), "constant", 1)
        return
    yield Hypothesis(Program("program", inputs, (), literal(first[0])), "constant", 1)


def propose_table(problem: Problem) -> Iterator[Hypothesis]:
    """All values in a table, for a small domain of scalars that was observed in full."""
    domain = problem.target.domain
    if not problem.complete or domain.where is not None:
        return
    kinds = domain.types
    shape: list[int] = []
    for kind in kinds.values():
        if not isinstance(kind, t.Int) or kind.low is None or kind.high is None:
            return
        shape.append(kind.high - kind.low + 1)
    values = np.concatenate([o.values for o in problem.observations])
    if values.ndim != 1 or values.size > LARGEST or values.dtype == object:
        return
    table = values.reshape(shape)
    result: Expr = Constant("TABLE")
    for name, kind in domain.fields:
        low = kind.low  # type: ignore[union-attr]
        index: Expr = Variable(name)
        if low:
            index = Call("sub" if low > 0 else "add", (index, Literal(abs(low))))
        result = Call("index", (result, index))
    inputs = tuple((name, None) for name in domain.names)
    program = Program("program", inputs, (), result, (("TABLE", table),))
    yield Hypothesis(program, "table", 1)
