"""Answers that are lists made of the inputs as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from dsl import types as t
from dsl.claim import Hypothesis
from dsl.program import Call, Comprehension, Expr, Literal, Program, Variable
from synth.attention.features import call, part
from synth.attention.solver import bank_of, expressed, feature, goal_of
from synth.expressions import disagreements
from synth.problem import Problem

_ROWS = 600
_PROPOSER = "attention"
_TOLERATED = 0.6
_DRAWS, _DRAWN = 8, 12


def whole_lists(problem: Problem) -> Iterator[Hypothesis]:
    """Rearranged inputs, ranges of integers between inputs, digits of sums of inputs."""
    if not problem.observations:
        return
    first = problem.observations[0].values
    if first.ndim != 2 and first.dtype != object:
        return
    inputs = tuple((name, None) for name in problem.target.domain.names)
    total = sum(len(o) for o in problem.observations)
    fewest = int(_TOLERATED * total) + 1
    candidates = itertools.chain(_rearranged(problem), _ranges(problem), _digits(problem))
    for tried, expr in enumerate(candidates, 1):
        program = Program("program", inputs, (), expr)
        wrong = len(disagreements(problem, program, fewest))
        if wrong < fewest:
            fewest = wrong
            yield Hypothesis(program, _PROPOSER, tried)
        if wrong == 0 or problem.time_left <= 0:
            return


def _rearranged(problem: Problem) -> Iterator[Expr]:
    """Each sequence as it stands, backwards, sorted, without ends or repetitions."""
    for name, kind in problem.target.domain.fields:
        if not isinstance(kind, t.Seq):
            continue
        s = Variable(name)
        for base in (s, Call("sorted", (s,)), call("sorted", call("set", s))):
            yield base
            yield part(base, None, None, -1)
            for start, stop in ((1, None), (None, -1), (0, 1), (-1, None), (1, -1)):
                yield part(base, start, stop)
        yield call("add", s, s)
        yield call("add", s, part(s, None, None, -1))


def _ranges(problem: Problem) -> Iterator[Expr]:
    """`range(start, stop, step)` with ends that are expressions over scalar inputs."""
    kinds = problem.target.domain.types
    if not all(isinstance(kind, t.Int) for kind in kinds.values()):
        return
    rows = [
        (tuple(int(o.inputs[name][k]) for name in kinds), [*o.values[k]])
        for o in problem.observations
        for k in range(min(len(o), _ROWS))
    ]
    rows = [(key, answer) for key, answer in rows if len(answer) >= 1]
    if not rows or not all(isinstance(x, (int, np.integer)) for _, a in rows for x in a):
        return
    steps = {int(b) - int(a) for _, answer in rows for a, b in itertools.pairwise(answer)}
    if len(steps) != 1:
        return
    step = steps.pop()
    # Some rows may be exceptions: a few rows at a time will hardly hold one.
    rng = problem.rng()
    found: dict[tuple[Expr, Expr], None] = {}
    for _ in range(_DRAWS):
        drawn = rng.permutation(len(rows))[:_DRAWN]
        ends = _range_ends(problem, [rows[k] for k in drawn], step)
        if ends is not None:
            found[ends] = None
    for start, stop in found:
        ends_and_step = (start, stop) if step == 1 else (start, stop, Literal(step))
        name = next(n for n in ("k", "value", "entry") if n not in kinds)
        yield Comprehension(Variable(name), (name,), Call("range", ends_and_step))


def _range_ends(
    problem: Problem, rows: list[tuple[tuple[int, ...], list[Any]]], step: int
) -> tuple[Expr, Expr] | None:
    """Start and stop of the ranges that some inputs are answered with."""
    columns = np.array([key for key, _ in rows])
    names = problem.target.domain.names
    leaves = [feature(Variable(name), columns[:, k]) for k, name in enumerate(names)]
    ends: list[Expr] = []
    for wanted in (
        np.array([int(answer[0]) for _, answer in rows]),
        np.array([int(answer[-1]) + step for _, answer in rows]),
    ):
        goal = goal_of(wanted)
        bank = bank_of(leaves, goal, np.arange(len(rows)), (0, 1, 2))
        found = next(expressed(bank, goal, 6, problem.deadline), None)
        if found is None:
            return None
        ends.append(found[0])
    return ends[0], ends[1]


def _digits(problem: Problem) -> Iterator[Expr]:
    """The digits of a number that is an expression over the numbers that inputs spell."""
    kinds = problem.target.domain.types
    spans = [
        (name, kind.item.high)
        for name, kind in kinds.items()
        if isinstance(kind, t.Seq) and isinstance(kind.item, t.Int) and kind.item.low == 0
    ]
    if not spans or len(spans) != len(kinds) or len({high for _, high in spans}) != 1:
        return
    shapes = {
        (o.values.shape[1:], *(column.shape[1:] for column in o.inputs.values()))
        for o in problem.observations
    }
    if len(shapes) != 1:
        return
    values = np.concatenate([o.values[:_ROWS] for o in problem.observations])
    if values.ndim != 2 or values.dtype.kind not in "iu" or values.min() < 0 or not values.shape[1]:
        return
    base = (spans[0][1] or 0) + 1
    width = values.shape[1]
    if base < 2 or values.max() >= base or base**width > 2**31:
        return
    i, d = _free(tuple(kinds), ("i", "k", "place")), _free(tuple(kinds), ("d", "digit", "c"))
    for backwards in (False, True):
        leaves = []
        for name, _ in spans:
            columns = np.concatenate([o.inputs[name][:_ROWS] for o in problem.observations])
            weights = base ** np.arange(columns.shape[1])
            source: Expr = Variable(name)
            if backwards:
                weights, source = weights[::-1], part(source, None, None, -1)
            power = call("pow", base, Variable(i))
            pairs = Call("enumerate", (source,))
            number = Call("sum", (Comprehension(call("mul", Variable(d), power), (i, d), pairs),))
            leaves.append(feature(number, columns.astype(np.int64) @ weights))
        powers = base ** np.arange(width)
        whole = values.astype(np.int64) @ (powers[::-1] if backwards else powers)
        goal = goal_of(whole)
        bank = bank_of(leaves, goal, np.arange(min(len(whole), 384)), (0, 1, 2))
        for expr, _ in expressed(bank, goal, 5, problem.deadline):
            digit = call("mod", call("floordiv", expr, call("pow", base, Variable(d))), base)
            listed: Expr = Comprehension(digit, (d,), call("range", width))
            yield part(listed, None, None, -1) if backwards else listed
            break


def _free(taken: tuple[str, ...], options: tuple[str, ...]) -> str:
    return next(name for name in options if name not in taken)
