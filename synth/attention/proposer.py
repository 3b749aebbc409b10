"""Programs for transformers over sequences: select, aggregate, decide, at every place.

What the answers are places of (positions, prefixes, strides, the input as a whole) follows from
their number.  Features come in tiers: those of a place; then aggregates of what holds at other
places.  After each tier the solver is asked for a program; what disagrees with anything observed
joins the sample (CEGIS).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Literal, Program
from synth.attention import features as f
from synth.attention import machines
from synth.attention.aggregates import aggregates, features_of_places
from synth.attention.grid import Grid, answers, grid, sampled, sequence_name
from synth.attention.lists import whole_lists
from synth.attention.settings import Setting, settings, spelled
from synth.attention.solver import (
    Answer,
    Feature,
    Goal,
    answer_size,
    bank_of,
    decisions,
    expressed,
    feature,
    goal_of,
    of_combination,
    of_several,
    plain_answers,
    probes,
    ranked,
)
from synth.expressions import disagreements
from synth.leaves import literals
from synth.problem import Problem

_ENTRIES = 4000
_REACH = 16
_ROUNDS = 8
_DEEP = 7
_CLOSEST = "closest"
_NEAREST = 12
_SMALL, _LARGE = 14, 26


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Programs over one sequence, and lists made of the inputs as a whole."""
    yield from whole_lists(problem)
    yield from machines.propose(problem)
    domain = problem.target.domain
    name = sequence_name(domain.types)
    if name is None or len(domain.names) != 1:
        return
    inputs = tuple((n, None) for n in domain.names)
    extra: tuple[tuple[int, int], ...] = ()
    tried = 0
    for _ in range(_ROUNDS):
        sample = sampled(problem, _ENTRIES, extra, _REACH)
        setting = next(settings(sample, domain.types, name), None)
        if setting is None:
            return
        wrong: list[tuple[int, int]] = []
        exact = False
        smallest = 10**6
        for answer in search(problem, setting):
            tried += answer.tried
            if answer_size(answer) >= smallest:
                continue
            program = Program("program", inputs, (), setting.result(answer.expr), answer.constants)
            failed = disagreements(problem, program, 48)
            if failed and answer.how == _CLOSEST:
                yield Hypothesis(program, "attention", tried)
                continue
            evidence = {"attention": {"found as": answer.how, "view": spelled(setting)}}
            yield Hypothesis(program, "attention", tried, evidence)
            exact |= not failed
            if not failed:
                smallest = min(smallest, answer_size(answer))
            else:
                wrong += failed
            if exact and smallest <= _SMALL:
                return
            if wrong and not exact:
                break
        if exact or not wrong or problem.time_left <= 0:
            return
        extra = tuple(dict.fromkeys((*extra, *wrong)))


def search(problem: Problem, setting: Setting) -> Iterator[Answer]:
    """Answers that hold on the whole sample, tier by tier."""
    values = answers(setting.sample, setting.kinds, setting.view)
    if values is None or not len(values):
        return
    places = grid(setting.sample, setting.kinds, setting.view)
    if places.count != len(values):
        return
    if values.dtype.kind == "f" and problem.target.claim.decode.rule == "value":
        yield from _fractions(problem, setting, places, values)
        return
    goal = goal_of(values)
    if len(goal.kinds) > 400:
        return
    known: set[bytes] = set()
    first = features_of_places(setting, places, known, problem.deadline)
    rows = probes(goal, problem.rng())
    numbers = tuple(dict.fromkeys((0, 1, 2, 3, *literals(problem, goal.values)[:8])))
    yield from _closest(first, goal)
    work = Work(problem, goal, places, rows, numbers)
    best = 10**6
    for stage in _stages(work, setting, first, known):
        for answer in stage:
            best = 0 if _is_table_of_items(answer, setting) else min(best, answer_size(answer))
            yield replace(answer, tried=answer.tried + places.evaluated)
        if best <= _LARGE or problem.time_left <= 0:
            return


def _closest(features: list[Feature], goal: Goal) -> Iterator[Answer]:
    """The features that come closest to the answers, ever closer: not right, but on the front."""
    best = float(np.bincount(goal.codes).max()) / len(goal.codes)
    for x in sorted(features, key=lambda x: x.size):
        if x.values.dtype.kind != goal.values.dtype.kind:
            continue
        share = float((x.values == goal.values).mean())
        if best + 0.02 < share < 1:
            best = share
            yield Answer(x.expr, how=_CLOSEST)


@dataclass(frozen=True)
class Work:
    """What is asked for at the places of a grid: the goal, the places on which candidates are
    compared first, and the integers worth having."""

    problem: Problem
    goal: Goal
    places: Grid
    rows: np.ndarray
    numbers: tuple[int, ...]


def _stages(
    work: Work, setting: Setting, first: list[Feature], known: set[bytes]
) -> Iterator[Iterator[Answer]]:
    """Ways to an answer, the cheapest first; each is tried only if those before gave nothing
    short."""
    goal, deadline = work.goal, work.problem.deadline
    yield plain_answers(first, goal)
    yield _expressed(work, ranked(first, goal, 24), 3, 4000)
    second = aggregates(work.problem, setting, work.places, first, known)
    both = first + second
    yield plain_answers(second, goal)
    yield _expressed(work, ranked(both, goal, 24), 3, 4000)
    yield _combined(work, ranked(both, goal, 16))
    yield _tabulated(of_several(ranked(both, goal, 24), goal, deadline=deadline))
    yield _decided(work, ranked(first, goal, 30), first)
    yield _decided(work, ranked(both, goal, 30), both)
    yield _expressed(work, ranked(both, goal, 12), _DEEP, 12_000)


def _tabulated(answer: Answer | None) -> Iterator[Answer]:
    if answer is not None:
        yield answer


def _is_table_of_items(answer: Answer, setting: Setting) -> bool:
    match answer.expr:
        case Call("index" | "get", (_, key, *_)):
            return key == setting.names.c
    return False


def _expressed(work: Work, leaves: list[Feature], deepest: int, capacity: int) -> Iterator[Answer]:
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
            wrong = _wrong(work.places, expr, goal)
            if not len(wrong):
                yield Answer(_integral(expr, work.places, goal), how="expression", tried=count)
                return
            failed = wrong[:32].tolist()
            break
        if not failed:
            return
        extra.update(failed)


def _combined(work: Work, leaves: list[Feature]) -> Iterator[Answer]:
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


def _decided(work: Work, leaves: list[Feature], found: list[Feature]) -> Iterator[Answer]:
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
            wrong = _wrong(work.places, tree, goal)
            if not len(wrong):
                yield Answer(tree, how="decisions", tried=bank.tried)
                return
            failed |= set(wrong[:100].tolist())
        if not failed - chosen or time.monotonic() > limit:
            return
        chosen |= failed


def _wrong(places: Grid, expr: Expr, goal: Goal) -> np.ndarray:
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


def _likely(found: Sequence[Feature], wanted: np.ndarray) -> list[Feature]:
    """The shortest features, after the numbers that go along most closely with what is wanted."""
    numbers = [x for x in found if x.values.dtype.kind in "iu" and np.ptp(x.values) > 0]
    closeness = [abs(float(np.corrcoef(x.values, wanted)[0, 1])) for x in numbers]
    order = sorted(range(len(numbers)), key=lambda i: (-round(closeness[i], 2), numbers[i].size))
    near = [numbers[i] for i in order[:_NEAREST]] if np.ptp(wanted) > 0 else []
    return near + [x for x in found if all(x is not other for other in near)][: 30 - len(near)]


def _fractions(
    problem: Problem, setting: Setting, places: Grid, values: np.ndarray
) -> Iterator[Answer]:
    """Real answers as quotients: a numerator by enumeration for each feature as denominator."""
    tolerance = max(problem.target.claim.decode.tolerance, 1e-7)
    found = features_of_places(setting, places, set())
    one = feature(Literal(1), np.ones(len(values), np.int64))
    counts = [x for x in found if x.values.dtype.kind in "iu" and (x.values > 0).all()]
    sums = []
    for k in (1, 2):
        for x in found:
            if x.values.dtype.kind in "iu" and (x.values + k > 0).all() and x.size <= 3:
                sums.append(feature(f.plus(x.expr, k), x.values + k))
    for denominator in (one, *counts, *sums):
        scaled = values * denominator.values
        whole = np.round(scaled)
        if np.abs(scaled - whole).max() > 4 * tolerance * denominator.values.max():
            continue
        goal = goal_of(whole.astype(np.int64))
        if len(goal.kinds) > 200:
            continue
        work = Work(problem, goal, places, probes(goal, problem.rng()), (0, 1, 2, 3))
        for answer in (
            *plain_answers(found, goal),
            *_expressed(work, _likely(found, whole), 5, 8000),
        ):
            expr = answer.expr
            if denominator is not one:
                expr = Call("truediv", (expr, denominator.expr))
            yield replace(answer, expr=expr, how="quotient")
            break
