"""Features of places with their values, and aggregates of what holds at other places."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from dsl.program import Call, Expr, Literal, Variable
from synth.attention import features as f
from synth.attention.grid import Grid, View, grid
from synth.attention.settings import Setting
from synth.attention.solver import Feature, Goal, feature
from synth.attention.work import Work


def features_of_places(
    setting: Setting, places: Grid, known: set[bytes], deadline: float = math.inf
) -> list[Feature]:
    """The features of a place itself, as many as there is time for."""
    names, item = setting.names, setting.item
    if setting.view.whole:
        exprs = f.of_prefix(names.s, item, names)
    else:
        exprs = f.at_position(names, item)
    return _fresh(places, ((expr, expr) for expr in exprs), known, deadline)


def _fresh(
    places: Grid,
    exprs: Iterator[tuple[Expr, Expr]],
    known: set[bytes],
    deadline: float,
    goal: Goal | None = None,
) -> list[Feature]:
    """Features that no earlier one equals everywhere, up to the first that is the goal; pairs of
    how a feature is written and how it is evaluated here."""
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
        if goal is not None and (goal.is_met_by(values) or goal.is_truth_of(values)):
            break
    return result


def aggregates(
    work: Work, setting: Setting, found: list[Feature], known: set[bytes]
) -> list[Feature]:
    """Aggregates of what holds at the positions of the sequence: how many, whether any or all, the
    greatest and least, up to here or anywhere; none after one that is the answer."""
    problem, places = work.problem, work.places
    names = setting.names
    if setting.view.whole:
        i, c = names.loops[0]
        view = View((i.name, c.name), Call("enumerate", (names.s,)))
        inner = grid(setting.sample, setting.kinds, view)
        exprs = ((e, e) for e in f.at_position(names, setting.item))
        limit = time.monotonic() + 0.15 * max(problem.time_left, 0.0)
        base = _fresh(inner, exprs, set(), limit)
    else:
        inner, base = places, found
    limit = time.monotonic() + 0.35 * max(problem.time_left, 0.0)
    candidates = _aggregated(setting, inner, places, base, limit)
    return _fresh(places, candidates, known, limit, work.goal)


def _aggregated(
    setting: Setting, inner: Grid, places: Grid, base: list[Feature], deadline: float
) -> Iterator[tuple[Expr, Expr]]:
    names = setting.names
    s, level = names.s, 1
    i = names.i
    listed = Variable("listed")
    seen: set[bytes] = set()
    for expr, is_test in _described(base):
        if time.monotonic() > deadline:
            return
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
    plain = [x for x in base if x.size <= 8][:40]
    for x in plain:
        if x.values.dtype.kind in "iu" and x.size <= 5:
            for k in (2, 3):
                yield Call("eq", (Call("mod", (x.expr, Literal(k))), Literal(0))), True
    for x in base:
        if x.values.dtype == bool:
            yield x.expr, True
        elif x.values.dtype.kind in "iu":
            yield x.expr, False
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
