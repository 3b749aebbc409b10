"""Short expressions by enumeration, guided by what the network does and holds (`synth.guidance`).

Guidance names candidates that are probably variables of the rule.  They join the leaves of the next
round, where they cost as little as an input, so deep expressions are found in shallow steps.
The unguided search goes on beside it with an equal share, so that wrong guesses cost a factor.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dsl.agreement import agreeing
from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Literal, Program
from synth.enumeration import Bank, Leaf
from synth.guidance import guides, nodes
from synth.leaves import Inputs, chosen, expressions, literals
from synth.problem import Problem

_ROWS = 384
_FIRST_SHARE = 500
_SHORTENING = 1_000_000
_MOST_FEATURES = 20
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Effort:
    """How far each round goes, and whether the activations guide it."""

    guided: bool = True
    last_cost: int = 12
    capacity: int = 30_000
    candidates: int = sys.maxsize


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """What guided search finds; in place of a program without fault a shorter one, if the plain
    search has one soon."""
    for hypothesis in search(problem, Effort()):
        if disagreements(problem, hypothesis.program, 1):
            yield hypothesis
        else:
            yield _shorter(problem, hypothesis) or hypothesis


def _shorter(problem: Problem, found: Hypothesis) -> Hypothesis | None:
    effort = Effort(False, nodes(found.program.result) - 1, candidates=_SHORTENING)
    for hypothesis in search(problem, effort):
        if nodes(hypothesis.program.result) >= nodes(found.program.result):
            return None
        if not disagreements(problem, hypothesis.program, 1):
            return replace(hypothesis, tried=found.tried + hypothesis.tried)
    return None


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
        yield from grown(plain, effort.candidates)
        return plain.bank.tried
    guesses = guides(problem, inputs)
    share, spent = _FIRST_SHARE, 0
    while time.monotonic() < problem.deadline and plain.bank.cost < effort.last_cost:
        yield from ((expr, spent + tried) for expr, tried in grown(plain, share))
        before = spent + plain.bank.tried
        fresh, widest = list[Leaf](), plain
        for guess in guesses:
            found = guess(widest.bank, leaves + fresh)
            if not found or time.monotonic() > problem.deadline:
                continue
            fresh = [*fresh, *found][-_MOST_FEATURES:]
            widest = bank_of(fresh)
            yield from ((expr, before + tried) for expr, tried in grown(widest, share))
            before += widest.bank.tried
        spent = before - plain.bank.tried
        share *= 4
    return spent + plain.bank.tried


@dataclass(frozen=True, slots=True)
class Growing:
    """A bank, and how many of its rows were looked at for goals that are one step away."""

    bank: Bank
    known: dict[str, int]


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


def _either(test: Expr, names: tuple[str, str]) -> Expr:
    return Call("ite", (test, Literal(names[0]), Literal(names[1])))
