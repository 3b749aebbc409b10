"""What is asked for at the places of a grid, and the searches for an answer there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dsl.program import Call, Expr
from synth.attention.grid import Grid
from synth.attention.solver import (
    Answer,
    Feature,
    Goal,
    bank_of,
    decisions,
    expressed,
    of_combination,
)
from synth.problem import Problem


@dataclass(frozen=True)
class Work:
    """What is asked for at the places of a grid: the goal, the places on which candidates are
    compared first, and the integers worth having."""

    problem: Problem
    goal: Goal
    places: Grid
    rows: np.ndarray
    numbers: tuple[int, ...]


def expressed_answers(
    work: Work, leaves: list[Feature], deepest: int, capacity: int
) -> Iterator[Answer]:
    """The first expression over some features that has the wanted value at all places."""
    goal, problem = work.goal, work.problem
    if not goal.is_integer and len(goal.kinds) > 2:
        return
    extra: set[int] = set()
    for _ in range(6):
        limit = time.monotonic() + 0.3 * max(problem.time_left, 0.0)
        rows = np.array(sorted({*work.rows.tolist(), *extra}))
        bank = bank_of(leaves, goal, rows, work.numbers, capacity)
        failed: list[int] = []
        for expr, count in expressed(bank, goal, deepest, min(limit, problem.deadline)):
            wrong = wrong_places(work.places, expr, goal)
            if not len(wrong):
                yield Answer(_integral(expr, work.places, goal), how="expression", tried=count)
                return
            failed = wrong[:32].tolist()
            break
        if not failed:
            return
        extra.update(failed)


def combined_answers(work: Work, leaves: list[Feature]) -> Iterator[Answer]:
    """The first tables of an arithmetic combination that hold at all places."""
    goal, deadline = work.goal, work.problem.deadline
    if len(goal.kinds) > 64:
        return
    bank = bank_of(leaves, goal, work.rows, work.numbers[:4], 3000)
    for _ in bank.grow(3, deadline):
        pass
    found = 0
    for answer in of_combination(bank, goal, work.rows):
        if time.monotonic() > deadline or found == 2:
            return
        values = work.places.column(answer.expr, dict(answer.constants))
        if values is not None and np.array_equal(values, goal.values):
            found += 1
            yield replace(answer, tried=bank.tried)


def decided_answers(work: Work, leaves: list[Feature], found: list[Feature]) -> Iterator[Answer]:
    """Decision lists that hold at all places of the sample."""
    goal, problem = work.goal, work.problem
    more = problem.rng().permutation(len(goal.codes))[:800].tolist()
    chosen = set(work.rows.tolist()) | set(more)
    for _ in range(6):
        at = np.array(sorted(chosen))
        limit = min(problem.deadline, time.monotonic() + 0.15 * max(problem.time_left, 0.0))
        bank = bank_of(leaves, goal, at, work.numbers, 4000)
        for _ in bank.grow(3, limit):
            pass
        limit = min(problem.deadline, time.monotonic() + 0.15 * max(problem.time_left, 0.0))
        failed: set[int] = set()
        for tree in decisions(bank, found, goal, at, limit):
            wrong = wrong_places(work.places, tree, goal)
            if not len(wrong):
                yield Answer(tree, how="decisions", tried=bank.tried)
                return
            failed |= set(wrong[:100].tolist())
        if not failed - chosen or time.monotonic() > limit:
            return
        chosen |= failed


def wrong_places(places: Grid, expr: Expr, goal: Goal) -> np.ndarray:
    """The places at which an expression does not have the wanted value."""
    values = places.column(expr)
    if values is None:
        return np.arange(1)
    if goal.values.dtype.kind in "US" and values.dtype.kind not in "US":
        return np.arange(len(goal.values))
    return np.flatnonzero(values != goal.values)


def _integral(expr: Expr, places: Grid, goal: Goal) -> Expr:
    values = places.column(expr)
    if values is not None and values.dtype == bool and goal.is_integer:
        return Call("int", (expr,))
    return expr
