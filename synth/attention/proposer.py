"""Programs for transformers over sequences: select, aggregate, decide, at every place.

What the answers are places of (positions, prefixes, strides, the input as a whole) follows from
their number.  Features come in tiers: those of a place; then aggregates of what holds at other
places.  After each tier the solver is asked for a program; what disagrees with anything observed
joins the sample (CEGIS).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dsl import types as t
from dsl.claim import Hypothesis
from dsl.program import Call, Comprehension, Expr, Literal, Program, Variable
from synth.attention import features as f
from synth.attention.grid import Grid, Sample, View, answers, grid, sampled, sequence_name, unrolled
from synth.attention.lists import whole_lists
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

_ENTRIES = 6000
_REACH = 16
_ROUNDS = 8
_SHALLOW, _DEEP = 4, 7
_SMALL, _LARGE = 14, 26


@dataclass(frozen=True)
class Setting:
    """A view of the domain's sequence: the sample it is judged on, and how a program is made of an
    expression at its places."""

    sample: Sample
    kinds: dict[str, t.Type]
    view: View
    names: f.Names
    item: t.Type
    outer: tuple[str, Expr] | None = None

    def result(self, expr: Expr) -> Expr:
        if self.outer is not None:
            return Comprehension(expr, (self.outer[0],), self.outer[1])
        return expr if self.view.whole else f.over(expr, self.names, self.names.s)


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Programs over one sequence, and lists made of the inputs as a whole."""
    yield from whole_lists(problem)
    domain = problem.target.domain
    name = sequence_name(domain.types)
    if name is None or len(domain.names) != 1:
        return
    inputs = tuple((n, None) for n in domain.names)
    extra: tuple[tuple[int, int], ...] = ()
    tried = 0
    for number in range(_ROUNDS):
        sample = sampled(problem, _ENTRIES, extra, _REACH)
        setting = next(_settings(sample, domain.types, name), None)
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
            evidence = {"attention": {"found as": answer.how, "view": _spelled(setting)}}
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


def _spelled(setting: Setting) -> str:
    if setting.outer is not None:
        return "prefixes" if isinstance(setting.outer[1], Comprehension) else "strides"
    return "whole" if setting.view.whole else "positions"


def _settings(sample: Sample, kinds: dict[str, t.Type], name: str) -> Iterator[Setting]:
    kind = kinds[name]
    assert isinstance(kind, t.Seq)
    names = f.names(name, tuple(kinds))
    i, c = names.loops[0]
    s = Variable(name)
    if answers(sample, kinds, View()) is not None:
        yield Setting(sample, kinds, View(), names, kind.item)
        return
    pairs = {
        (column.shape[1], len(values))
        for group in sample.groups
        for column in (group.inputs[name],)
        for values in group.values
    }
    if all(m == n for n, m in pairs) and len(sample):
        view = View((i.name, c.name), Call("enumerate", (s,)))
        yield Setting(sample, kinds, view, names, kind.item)
        return
    counts = {m for _, m in pairs}
    prefixes = all(m == n + 1 for n, m in pairs)
    if not prefixes and len(counts) > 1:
        return
    width = None if prefixes else counts.pop()
    if width == 0:
        return
    unit = "p" if "p" not in kinds else "prefix"
    parts = unrolled(sample, name, unit, width)
    if parts is None:
        return
    k = names.loops[-1][0]
    stop = Call("add", (Call("len", (s,)), Literal(1))) if width is None else Literal(width)
    piece = f.part(s, None, k) if width is None else f.part(s, k, None, width)
    source = Comprehension(piece, (k.name,), Call("range", (stop,)))
    inner = {unit: t.Seq(kind.item, 0, kind.high)}
    inner_names = f.names(unit, (*kinds, unit))
    yield Setting(parts, inner, View(), inner_names, kind.item, (unit, source))


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
    found: list[Feature] = []
    known: set[bytes] = set()
    for tier in (_first, _second):
        more = tier(problem, setting, places, found, known)
        if not more and found:
            continue
        found += more
        answered = False
        for answer in _solved(problem, setting, found, goal, places):
            answered |= answer_size(answer) <= _LARGE or _is_table_of_items(answer, setting)
            yield answer
        if answered or problem.time_left <= 0:
            return


def _is_table_of_items(answer: Answer, setting: Setting) -> bool:
    match answer.expr:
        case Call("index" | "get", (_, key, *_)):
            return key == setting.names.c
    return False


def _solved(
    problem: Problem, setting: Setting, found: list[Feature], goal: Goal, places: Grid
) -> Iterator[Answer]:
    """The solver's answers from what features there are, cheap ones first."""
    for answer in plain_answers(found, goal):
        yield replace(answer, tried=places.evaluated)
    rng = problem.rng()
    rows = probes(found, goal, rng)
    numbers = tuple(dict.fromkeys((0, 1, 2, 3, *literals(problem, goal.values)[:10])))
    best = ranked(found, goal, 14)
    yield from _expressed(problem, ranked(found, goal, 40), goal, places, rows, numbers, _SHALLOW)
    yield from _combined(ranked(found, goal, 16), goal, places, rows, numbers, problem.deadline)
    several = of_several(ranked(found, goal, 24), goal, deadline=problem.deadline)
    if several is not None:
        yield several
    yield from _decided(problem, ranked(found, goal, 36), found, goal, places, rows, numbers)
    yield from _expressed(problem, best, goal, places, rows, numbers, _DEEP)


def _expressed(
    problem: Problem,
    leaves: list[Feature],
    goal: Goal,
    places: Grid,
    rows: np.ndarray,
    numbers: tuple[int, ...],
    deepest: int,
) -> Iterator[Answer]:
    """The first expression over some features that has the wanted value at all places."""
    if not goal.is_integer and len(goal.kinds) > 2:
        return
    extra: set[int] = set()
    for _ in range(6):
        limit = time.monotonic() + 0.2 * max(problem.time_left, 0.0)
        bank = bank_of(leaves, goal, np.array(sorted({*rows.tolist(), *extra})), numbers)
        failed: list[int] = []
        for expr, count in expressed(bank, goal, deepest, min(limit, problem.deadline)):
            wrong = _wrong(places, expr, goal)
            if not len(wrong):
                yield Answer(_integral(expr, places, goal), how="expression", tried=count)
                return
            failed = wrong[:32].tolist()
            break
        if not failed:
            return
        extra.update(failed)


def _combined(
    leaves: list[Feature],
    goal: Goal,
    places: Grid,
    rows: np.ndarray,
    numbers: tuple[int, ...],
    deadline: float,
) -> Iterator[Answer]:
    """The first tables of an arithmetic combination that hold at all places."""
    if len(goal.kinds) > 64:
        return
    bank = bank_of(leaves, goal, rows, numbers[:4], 4000)
    for _ in bank.grow(3, deadline):
        pass
    found = 0
    for answer in of_combination(bank, goal, rows):
        if time.monotonic() > deadline or found == 2:
            return
        values = places.column(answer.expr, dict(answer.constants))
        if values is not None and np.array_equal(values, goal.values):
            found += 1
            yield replace(answer, tried=bank.tried)


def _decided(
    problem: Problem,
    leaves: list[Feature],
    found: list[Feature],
    goal: Goal,
    places: Grid,
    rows: np.ndarray,
    numbers: tuple[int, ...],
) -> Iterator[Answer]:
    """Decision lists that hold at all places of the sample."""
    rng = problem.rng()
    chosen = set(rows.tolist()) | set(rng.permutation(len(goal.codes))[:1200].tolist())
    for _ in range(6):
        at = np.array(sorted(chosen))
        limit = min(problem.deadline, time.monotonic() + 0.1 * max(problem.time_left, 0.0))
        bank = bank_of(leaves, goal, at, numbers, 5000)
        for _ in bank.grow(3, limit):
            pass
        limit = min(problem.deadline, time.monotonic() + 0.1 * max(problem.time_left, 0.0))
        trees = decisions(bank, found, goal, at, limit)
        failed: set[int] = set()
        for tree in trees:
            wrong = _wrong(places, tree, goal)
            if not len(wrong):
                yield Answer(tree, how="decisions", tried=bank.tried)
                return
            failed |= set(wrong[:100].tolist())
        if not failed - chosen or time.monotonic() > problem.deadline:
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


def _first(
    problem: Problem, setting: Setting, places: Grid, found: list[Feature], known: set[bytes]
) -> list[Feature]:
    """The features of a place itself."""
    names, item = setting.names, setting.item
    if setting.view.whole:
        exprs = f.of_prefix(names.s, item, names)
    else:
        exprs = f.at_position(names, item)
    return _fresh(places, ((expr, expr) for expr in exprs), known)


def _fresh(
    places: Grid, exprs: Iterator[tuple[Expr, Expr]], known: set[bytes], deadline: float = 1e300
) -> list[Feature]:
    """Features that no earlier one equals everywhere; pairs of how a feature is written and how it
    is evaluated here."""
    result = []
    for written, evaluated in exprs:
        if time.monotonic() > deadline:
            break
        values = places.column(evaluated)
        if values is None or values.dtype.kind not in "biuUf" or (values == values[0]).all():
            continue
        if values.dtype.kind == "f" and written != evaluated:
            continue
        key = values.dtype.kind.encode() + values.tobytes()
        if key in known:
            continue
        known.add(key)
        result.append(feature(written, values))
    return result


def _second(
    problem: Problem, setting: Setting, places: Grid, found: list[Feature], known: set[bytes]
) -> list[Feature]:
    """Aggregates of what holds at the positions of the sequence: how many, whether any or all, the
    greatest and least, up to here or anywhere."""
    names = setting.names
    if setting.view.whole:
        i, c = names.loops[0]
        view = View((i.name, c.name), Call("enumerate", (names.s,)))
        inner = grid(setting.sample, setting.kinds, view)
        base = _fresh(inner, ((e, e) for e in f.at_position(names, setting.item)), set())
    else:
        inner, base = places, found
    limit = time.monotonic() + 0.35 * max(problem.time_left, 0.0)
    return _fresh(places, _aggregates(setting, inner, places, base), known, limit)


def _aggregates(
    setting: Setting, inner: Grid, places: Grid, base: list[Feature]
) -> Iterator[tuple[Expr, Expr]]:
    names = setting.names
    s, level = names.s, 1
    i = names.i
    listed = Variable("listed")
    seen: set[bytes] = set()
    for expr, is_test in _described(base):
        lists = inner.listed(expr)
        if lists is None:
            continue
        key = b"".join(part.items.tobytes() for part in lists if isinstance(part.items, np.ndarray))
        if key in seen:
            continue
        seen.add(key)
        places.bind("listed", lists)
        inside = f.reduced(expr, names)
        everywhere = f.over(inside, names, s, level)
        if is_test:
            yield Call("sum", (everywhere,)), Call("sum", (listed,))
            yield Call("any", (everywhere,)), Call("any", (listed,))
            yield Call("all", (everywhere,)), Call("all", (listed,))
        else:
            yield Call("max", (everywhere,)), Call("max", (listed,))
            yield Call("min", (everywhere,)), Call("min", (listed,))
            yield Call("sum", (everywhere,)), Call("sum", (listed,))
        if not setting.view.whole and is_test:
            stop = f.plus(i, 1)
            upto = f.over(inside, names, f.part(s, None, stop), level)
            yield Call("sum", (upto,)), Call("sum", (f.part(listed, None, stop),))


def _described(base: list[Feature]) -> Iterator[tuple[Expr, bool]]:
    """Tests and numbers at a position: features, their comparisons, thresholds on them."""
    for feature_ in base:
        if feature_.values.dtype == bool:
            yield feature_.expr, True
        elif feature_.values.dtype.kind in "iu":
            yield feature_.expr, False
    plain = [x for x in base if x.size <= 8][:40]
    for x in plain:
        if x.values.dtype.kind in "iu" and x.size <= 5:
            for k in (2, 3):
                yield Call("eq", (Call("mod", (x.expr, Literal(k))), Literal(0))), True
    numbers = [x for x in plain if x.values.dtype.kind in "iu" and x.size <= 8][:12]
    for x in numbers[1:]:
        # Parities, signs and distances of an item and another.
        for name in ("add", "sub"):
            both = Call(name, (numbers[0].expr, x.expr))
            yield both, False
            yield Call("mod", (both, Literal(2))), False
            yield Call("abs", (both,)), False
    for a, x in enumerate(plain):
        kind = x.values.dtype.kind
        if kind in "iu":
            counts = np.unique(x.values)
            if len(counts) <= 12:
                for value in counts.tolist():
                    yield Call("eq", (x.expr, Literal(value))), True
                    yield Call("le", (x.expr, Literal(value))), True
        for y in plain[a + 1 :]:
            if y.values.dtype.kind != kind or kind not in "iuU":
                continue
            yield Call("eq", (x.expr, y.expr)), True
            if kind in "iu":
                yield Call("lt", (x.expr, y.expr)), True
                yield Call("gt", (x.expr, y.expr)), True


def _fractions(
    problem: Problem, setting: Setting, places: Grid, values: np.ndarray
) -> Iterator[Answer]:
    """Real answers as quotients: a numerator by enumeration for each feature as denominator."""
    tolerance = max(problem.target.claim.decode.tolerance, 1e-7)
    found = _first(problem, setting, places, [], set())
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
        for answer in _solved(problem, setting, found, goal, places):
            expr = answer.expr
            if denominator is not one:
                expr = Call("truediv", (expr, denominator.expr))
            yield replace(answer, expr=expr, how="quotient")
            break
