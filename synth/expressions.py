"""Short expressions by enumeration, guided by what the network's activations hold.

Guidance: a candidate that can be read off linearly from some layer of the network is probably one
of its own variables.  Such candidates join the leaves of the next round, where they cost as little
as a variable, so deep expressions are found in shallow steps.
The unguided search goes on beside it with an equal share, so that wrong guesses cost a factor.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from dsl.agreement import agreeing
from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Literal, Program, Variable, walk
from synth.enumeration import Bank, Leaf
from synth.leaves import Inputs, chosen, expressions, literals
from synth.problem import Problem
from synth.statistics import Basis, decodability, layers, orthonormal

_ROWS = 384
_FIRST_SHARE = 50_000
_FEATURES = 10
_MOST_FEATURES = 20
_DECODABLE = 0.9
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Effort:
    """How far each round goes, and whether the activations guide it."""

    guided: bool = True
    last_cost: int = 12
    capacity: int = 30_000


def propose(problem: Problem) -> Iterator[Hypothesis]:
    yield from search(problem, Effort())


def search(problem: Problem, effort: Effort) -> Generator[Hypothesis, None, int]:
    """Expressions that agree with all that was observed, and the closest ones on the way; returns
    how many candidates were tried."""
    if any(o.values.ndim != 1 or o.values.dtype.kind in "fO" for o in problem.observations):
        return 0
    extra: tuple[tuple[int, int], ...] = ()
    tried = 0
    for _ in range(8):
        attempt = _candidates(problem, chosen(problem, _ROWS, extra), effort)
        try:
            expr, count = next(attempt)
        except StopIteration as end:
            return tried + int(end.value)
        program = _program(problem, expr)
        wrong = disagreements(problem, program, 20)
        tried += count
        yield Hypothesis(program, "enumeration", tried)
        if not wrong or time.monotonic() > problem.deadline:
            return tried
        extra = (*extra, *wrong)
    return tried


def disagreements(problem: Problem, program: Program, most: int) -> list[tuple[int, int]]:
    """Up to `most` observed rows, as (observation, row), on which a program is wrong."""
    found: list[tuple[int, int]] = []
    decode = problem.target.claim.decode
    for number, o in enumerate(problem.observations):
        same = agreeing(program, o.inputs, o.values, decode)
        found += [(number, int(row)) for row in np.flatnonzero(~same)[: most - len(found)]]
        if len(found) >= most:
            break
    return found


def _program(problem: Problem, expr: Expr) -> Program:
    inputs = tuple((name, None) for name in problem.target.domain.names)
    return Program("program", inputs, (), expr)


def _candidates(
    problem: Problem, inputs: Inputs, effort: Effort
) -> Generator[tuple[Expr, int], None, int]:
    """Expressions with the wanted values on the chosen rows, with the number tried so far; returns
    the number tried in all."""
    goals = _goals(inputs.values)
    if not goals:
        return 0
    leaves = starting_leaves(problem, inputs)
    if not leaves:
        return 0
    goal_rows = tuple(goal for goal, _ in goals)
    numbers = literals(problem, inputs.values)

    def bank_of(more: list[Leaf]) -> Growing:
        bank = Bank(leaves + more, goals=goal_rows, capacity=effort.capacity, seed=problem.seed)
        return Growing(bank, {"int": 0, "bool": 0})

    def grown(growing: Growing, share: int) -> Iterator[tuple[Expr, int]]:
        """What a bank finds while it has tried fewer than `share` candidates."""
        bank = growing.bank
        while bank.tried < share and bank.cost < effort.last_cost:
            if time.monotonic() > problem.deadline:
                return
            for found in bank.grow(bank.cost + 1, problem.deadline):
                for expr in _wrapped(found.expr, bank, inputs, problem, goals):
                    yield expr, found.tried
            for expr in finished(bank, growing.known, goals, numbers):
                yield expr, bank.tried

    plain = bank_of([])
    if not effort.guided:
        yield from grown(plain, sys.maxsize)
        return plain.bank.tried
    bases = layers(problem.target, inputs)
    explained = alone(problem, inputs)
    spent, share, fresh, widest = 0, _FIRST_SHARE, list[Leaf](), plain
    while time.monotonic() < problem.deadline and plain.bank.cost < effort.last_cost:
        yield from ((expr, spent + tried) for expr, tried in grown(plain, share))
        found = features(widest.bank, leaves + fresh, bases, explained)
        if found:
            fresh = [*fresh, *found][-_MOST_FEATURES:]
            widest = bank_of(fresh)
            before = spent + plain.bank.tried
            yield from ((expr, before + tried) for expr, tried in grown(widest, share))
            spent += widest.bank.tried
        share *= 4
    return spent + plain.bank.tried


@dataclass(frozen=True, slots=True)
class Growing:
    """A bank, and how many of its rows were looked at for goals that are one step away."""

    bank: Bank
    known: dict[str, int]


def alone(problem: Problem, inputs: Inputs) -> np.ndarray:
    """Orthonormal columns that span all sums of functions of one input each (N, d): what holds them
    says nothing of how inputs are combined.  Empty where inputs have too many values for that."""
    columns = [inputs.column(problem, Variable(name)) for name in problem.target.domain.names]
    tests = [
        column[:, None] == np.unique(column)
        for column in columns
        if column is not None and column.ndim == 1 and column.dtype.kind in "iub"
    ]
    count = len(inputs.values)
    if not tests or sum(test.shape[1] for test in tests) > count // 3:
        return np.empty((count, 0))
    table = np.concatenate(tests, 1).astype(np.float64)
    return orthonormal(table, table.shape[1])


def _goals(values: np.ndarray) -> list[tuple[np.ndarray, tuple[str, str] | None]]:
    """What to look for: the values, or for two other values which of them it is."""
    if values.dtype == bool:
        return [(values, None)]
    if values.dtype.kind in "iu" and np.abs(values).max() <= _LARGEST:
        return [(values.astype(np.int64), None)]
    if values.dtype.kind in "US":
        kinds = np.unique(values)
        if len(kinds) == 2:
            return [(values == kinds[1], (str(kinds[1]), str(kinds[0])))]
    return []


def _wrapped(
    expr: Expr,
    bank: Bank,
    inputs: Inputs,
    problem: Problem,
    goals: list[tuple[np.ndarray, tuple[str, str] | None]],
) -> Iterator[Expr]:
    for _, names in goals:
        if names is not None:
            yield _either(expr, names)
            return
    column = inputs.column(problem, expr)
    if column is not None and column.dtype == bool and inputs.values.dtype != bool:
        yield Call("int", (expr,))
    else:
        yield expr


def starting_leaves(problem: Problem, inputs: Inputs) -> list[Leaf]:
    leaves = []
    for expr in expressions(problem):
        values = inputs.column(problem, expr)
        if values is None or values.dtype.kind not in "iub":
            continue
        if values.dtype != bool and np.abs(values).max(initial=0) > _LARGEST:
            continue
        leaves.append(Leaf(expr, values if values.dtype == bool else values.astype(np.int64)))
    if not leaves:
        return []
    count = len(inputs.values)
    for number in literals(problem, inputs.values):
        leaves.append(Leaf(Literal(number), np.full(count, number, np.int64)))
    return leaves


def finished(
    bank: Bank,
    known: dict[str, int],
    goals: list[tuple[np.ndarray, tuple[str, str] | None]],
    numbers: list[int],
) -> Iterator[Expr]:
    """Goals that are one step from a new row of the bank: a threshold, a residue, an offset."""
    rows = bank.rows("int")
    start, known["int"] = known["int"], len(rows)
    fresh = rows[start:]
    if not len(fresh):
        return
    for goal, names in goals:
        binary = goal.dtype == bool or set(np.unique(goal)) <= {0, 1}
        if binary:
            yield from _thresholds(bank, start, fresh, goal.astype(bool), goal.dtype, names)
        if goal.dtype != bool:
            yield from _offsets(bank, start, fresh, goal, numbers)


def _thresholds(
    bank: Bank,
    start: int,
    rows: np.ndarray,
    goal: np.ndarray,
    dtype: np.dtype,
    names: tuple[str, str] | None,
) -> Iterator[Expr]:
    bank.tried += 2 * len(rows)
    if goal.all() or not goal.any():
        return
    for primitive, low, high in (("gt", ~goal, goal), ("lt", goal, ~goal)):
        below, above = rows[:, low].max(1), rows[:, high].min(1)
        for i in np.flatnonzero(below < above)[:2]:
            bound = simplest(int(below[i]), int(above[i]), primitive)
            test: Expr = Call(primitive, (bank.expr("int", start + int(i)), Literal(bound)))
            if names is not None:
                test = _either(test, names)
            elif dtype.kind != "b":
                test = Call("int", (test,))
            yield test


def simplest(below: int, above: int, primitive: str) -> int:
    """The roundest bound that parts values up to `below` from those from `above`."""
    low, high = (below, above - 1) if primitive == "gt" else (below + 1, above)
    if low <= 0 <= high:
        return 0
    for step in (1000, 100, 50, 10, 5, 2):
        multiple = -(-low // step) * step
        if multiple <= high:
            return multiple
    return low


def _offsets(
    bank: Bank, start: int, rows: np.ndarray, goal: np.ndarray, numbers: list[int]
) -> Iterator[Expr]:
    moduli = [m for m in numbers if m > goal.max() and goal.min() >= 0 and m > 1]
    bank.tried += len(rows) * (1 + len(moduli))
    difference = goal - rows
    for i in np.flatnonzero((difference == difference[:, :1]).all(1))[:1]:
        yield _shifted(bank.expr("int", start + int(i)), int(difference[i, 0]))
    for modulus in moduli:
        residue = difference % modulus
        for i in np.flatnonzero((residue == residue[:, :1]).all(1))[:1]:
            inner = _shifted(bank.expr("int", start + int(i)), int(residue[i, 0]))
            yield Call("mod", (inner, Literal(modulus)))


def _shifted(expr: Expr, offset: int) -> Expr:
    if offset == 0:
        return expr
    return Call("add" if offset > 0 else "sub", (expr, Literal(abs(offset))))


def features(
    bank: Bank, leaves: list[Leaf], bases: tuple[Basis, ...], explained: np.ndarray
) -> list[Leaf]:
    """The candidates that the activations hold most clearly, beyond what the leaves span and what
    the inputs explain one by one."""
    known = {leaf.expr for leaf in leaves}
    ranked: list[tuple[float, int, str, int]] = []
    places = tuple(rest for basis in bases if (rest := _beyond(basis, explained)).vectors.size)
    for name in ("int", "bool"):
        rows = bank.rows(name).astype(np.float64)
        if not len(rows) or not places:
            continue
        rows -= rows.mean(1, keepdims=True)
        rest = rows - (rows @ explained) @ explained.T
        joint = np.einsum("ij,ij->i", rest, rest) > 1e-3 * np.einsum("ij,ij->i", rows, rows)
        span = np.array([leaf.values for leaf in leaves], float)
        span -= (span @ explained) @ explained.T
        scores = np.where(joint, decodability(rest, places, span), 0.0)
        for i in np.argsort(-scores, kind="stable")[: 4 * _FEATURES]:
            if scores[i] >= _DECODABLE:
                ranked.append((-round(float(scores[i]), 2), int(i), name, int(i)))
    fresh: list[Leaf] = []
    taken: list[np.ndarray] = []
    for _, _, name, row in sorted(ranked, key=lambda r: (r[0], _nodes(bank.expr(r[2], r[3])), r)):
        expr, values = bank.expr(name, row), bank.rows(name)[row]
        if expr in known or any(_same_up_to_scale(values, other) for other in taken):
            continue
        taken.append(values)
        fresh.append(Leaf(expr, values.copy()))
        if len(fresh) == _FEATURES:
            break
    return fresh


def _beyond(basis: Basis, explained: np.ndarray) -> Basis:
    """What a layer holds besides sums of functions of one input each."""
    rest = basis.vectors - explained @ (explained.T @ basis.vectors)
    left, strength, _ = np.linalg.svd(rest, full_matrices=False)
    return Basis(basis.name, left[:, strength > 1e-3])


def _nodes(expr: Expr) -> int:
    return sum(1 for _ in walk(expr))


def _same_up_to_scale(a: np.ndarray, b: np.ndarray) -> bool:
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return norm > 0 and abs(float(x @ y)) > 0.999999 * norm


def _either(test: Expr, names: tuple[str, str]) -> Expr:
    return Call("ite", (test, Literal(names[0]), Literal(names[1])))
