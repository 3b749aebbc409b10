"""The expressions that enumeration starts from, with their values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsl import types as t
from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.program import Call, Expr, Literal, Program, Variable
from synth.problem import Problem

LONGEST = 12
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Inputs:
    """Rows chosen from the observations, as batches of one shape, with the decoded values."""

    batches: tuple[dict[str, np.ndarray], ...]
    values: np.ndarray

    def column(self, problem: Problem, expr: Expr) -> np.ndarray | None:
        """The values of an expression on all rows; None where it has none or is no scalar."""
        inputs = tuple((name, None) for name in problem.target.domain.names)
        program = Program("leaf", inputs, (), expr)
        parts = []
        for batch in self.batches:
            try:
                part = run(program, batch)
            except Undefined:
                return None
            if part.ndim != 1:
                return None
            parts.append(part)
        return np.concatenate(parts)


def chosen(problem: Problem, count: int, extra: tuple[tuple[int, int], ...] = ()) -> Inputs:
    """About `count` of the observed rows in random order: as many of each value as there are, the
    rows given as (observation, row), and all counterexamples (which stand last)."""
    rng = problem.rng()
    where, flat = [], []
    for number, observations in enumerate(problem.observations):
        rows = np.arange(len(observations))
        where.append(np.stack([np.full(len(rows), number), rows], 1))
        flat.append(observations.values)
    places, values = np.concatenate(where), np.concatenate(flat)
    kinds, codes = np.unique(
        values.astype(str) if values.dtype == object else values, return_inverse=True
    )
    picked: set[int] = set()
    if len(kinds) <= count:
        share = max(1, count // (2 * len(kinds)))
        for code in range(len(kinds)):
            members = np.flatnonzero(codes == code)
            picked |= set(rng.permutation(members)[:share].tolist())
    rest = rng.permutation(len(places))
    for i in rest:
        if len(picked) >= min(count, len(places)):
            break
        picked.add(int(i))
    single = [n for n, o in enumerate(problem.observations) if len(o) == 1]
    wanted = set(extra) | {(n, 0) for n in single[-200:]}
    index = {(int(n), int(r)): i for i, (n, r) in enumerate(places)} if wanted else {}
    picked |= {index[place] for place in wanted}
    batches, parts = [], []
    for number, observations in enumerate(problem.observations):
        rows = np.array(sorted(int(places[i, 1]) for i in picked if places[i, 0] == number), int)
        if len(rows):
            batches.append({name: column[rows] for name, column in observations.inputs.items()})
            parts.append(observations.values[rows])
    return Inputs(tuple(batches), np.concatenate(parts))


def expressions(problem: Problem) -> Iterator[Expr]:
    """Variables, items and aggregates of sequences, tests for tokens."""
    for name, kind in problem.target.domain.fields:
        variable = Variable(name)
        match kind:
            case t.Int() | t.Bool():
                yield variable
            case t.Token(alphabet):
                yield from (Call("eq", (variable, Literal(item))) for item in alphabet)
            case t.Seq(item, low, high):
                yield from _of_sequence(variable, item, low, high)


def _of_sequence(s: Expr, item: t.Type, low: int, high: int | None) -> Iterator[Expr]:
    if low != high:
        yield Call("len", (s,))
    ends = [0, -1] if low else []
    places = list(range(low)) if low == high and low <= LONGEST else ends
    items = [Call("index", (s, Literal(i))) for i in places]
    match item:
        case t.Token(alphabet):
            for token in alphabet:
                yield Call("count", (s, Literal(token)))
            for token in alphabet:
                yield from (Call("eq", (entry, Literal(token))) for entry in items)
        case t.Int() | t.Bool():
            yield from items
            for name in ("sum", "max", "min") if low else ("sum",):
                yield Call(name, (s,))
    yield Call("len", (Call("set", (s,)),))
    yield Call("eq", (s, Call("slice", (s, Literal(None), Literal(None), Literal(-1)))))
    if not isinstance(item, t.Token):
        yield Call("eq", (s, Call("sorted", (s,))))


def literals(problem: Problem, values: np.ndarray) -> list[int]:
    """Integers worth having: small ones, the ends of the ranges, the number of values, and 10 where
    there are numbers of two digits."""
    wanted = [0, 1, 2, 3]
    for kind in problem.target.domain.types.values():
        item = kind.item if isinstance(kind, (t.Seq, t.Tensor)) else kind
        if isinstance(item, t.Int):
            wanted += [x for x in (item.low, item.high) if x is not None]
            if item.high is not None and item.low is not None:
                wanted.append(item.high - item.low + 1)
        if isinstance(kind, t.Seq) and kind.low == kind.high:
            wanted += [kind.low, kind.low // 2]
    if values.dtype.kind in "iu":
        kinds = np.unique(values)
        if len(kinds) <= 6:
            wanted += [int(k) for k in kinds]
        wanted.append(int(kinds[-1]) + 1)
    if any(abs(x) >= 10 for x in wanted):
        wanted.append(10)
    return [x for x in dict.fromkeys(wanted) if abs(x) < _LARGEST]
