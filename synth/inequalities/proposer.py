"""Programs for labels of a few finite variables, exceptions left over.

Guided by conditional invariance and code length; nothing is proposed where no program is clearly
shorter than a table of one variable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Program
from synth.inequalities.atoms import Library, compressed, explained, grown, library_of
from synth.inequalities.cells import Cells, baseline_bits, cells_of, group_bits
from synth.inequalities.forms import Feature
from synth.inequalities.formulas import statements
from synth.inequalities.refinement import Rule, refined, rounded, written
from synth.problem import Problem
from synth.tables import literal

_SHORTER = 0.85
_HOPELESS = 0.97
_SETS = 5
_PROPOSED = 4


def propose(problem: Problem) -> Iterator[Hypothesis]:
    cells = cells_of(problem)
    if cells is None:
        return
    rules, tried = search(cells, problem.deadline)
    for rule in rules:
        yield Hypothesis(program_of(problem, cells, rule), "inequalities", tried, evidence_of(rule))
        tried = 0


def search(cells: Cells, deadline: float) -> tuple[list[Rule], int]:
    """The shortest rules, and how many features were tried; none where nothing compresses.

    The search that holds no variable comes first: where its rule makes no mistake, it suffices.
    """
    limit = baseline_bits(cells)
    library = library_of(cells)
    rules: list[Rule] = []
    tried = 0
    for held in (None, tuple(range(len(cells.axes)))):
        left = deadline - time.monotonic()
        sets, count = _feature_sets(cells, library, limit, held, deadline - 0.4 * left)
        tried += count
        for features in sets:
            if time.monotonic() > deadline or any(rule.mistakes == 0 for rule in rules):
                break
            best = min((rule.bits for rule in rules), default=limit)
            rules += refined(cells, library, features, 2, best, deadline)
        if time.monotonic() > deadline or any(rule.mistakes == 0 for rule in rules):
            break
    shortest = _shortest(rules, _SHORTER * limit)
    return [rounded(rule, cells) for rule in shortest], tried


def _shortest(rules: list[Rule], limit: float) -> list[Rule]:
    kept: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: rule.bits):
        if rule.bits < limit and not any(
            written(rule.features, rule.formula) == written(other.features, other.formula)
            for other in kept
        ):
            kept.append(rule)
    return kept[:_PROPOSED]


def _feature_sets(
    cells: Cells,
    library: Library,
    limit: float,
    held: tuple[int, ...] | None,
    deadline: float,
) -> tuple[list[tuple[Feature, ...]], int]:
    """The most promising sets of features, from the search without a held variable or from those
    with each of some variables held."""
    ranked: list[tuple[float, tuple[Feature, ...]]] = []
    tried = 0
    if held is None:
        states, tried = grown(cells, library, None, width=5, depth=4, deadline=deadline)
        ranked += [(state.bits, state.features) for state in states if state.features]
    for axis in held or ():
        now = time.monotonic()
        share = now + (deadline - now) / (len(held or ()) - axis)
        states, count = grown(cells, library, axis, width=3, depth=4, deadline=share)
        tried += count
        promising = [state for state in states if state.bits < limit]
        for state in promising[:_SETS]:
            for features in explained(cells, library, state, axis):
                ranked.append((_length(features, cells), features))
    ranked.sort(key=lambda item: item[0])
    chosen: list[tuple[Feature, ...]] = []
    seen: set[frozenset[Expr]] = set()
    for bits, features in ranked:
        key = frozenset(feature.expr for feature in features)
        if key in seen or bits > _HOPELESS * limit:
            continue
        seen.add(key)
        chosen.append(features)
        if len(chosen) == _SETS:
            break
    return chosen, tried


def _length(features: tuple[Feature, ...], cells: Cells) -> float:
    codes = np.zeros(len(cells), np.int64)
    for feature in features:
        codes = compressed(codes * feature.arity + feature.codes)
    return group_bits(codes, cells.labels) + sum(feature.bits for feature in features)


def program_of(problem: Problem, cells: Cells, rule: Rule) -> Program:
    """The rule as a program that returns the network's two values."""
    score, truth = written(rule.features, rule.formula)
    names = tuple((name, None) for name in problem.target.domain.names)
    return Program("program", names, statements(score), _labelled(truth, cells.kinds))


def _labelled(truth: Expr, kinds: tuple[object, object]) -> Expr:
    match kinds:
        case (False, True) if isinstance(kinds[0], bool):
            return truth
        case (0, 1):
            return Call("int", (truth,))
    return Call("ite", (truth, literal(kinds[1]), literal(kinds[0])))


def evidence_of(rule: Rule) -> dict[str, Any]:
    """For each constant, the interval in which it makes the fewest mistakes."""
    from dsl.printer import expression

    pinned = [
        {
            "test": expression(feature.expr),
            "constant": str(feature.constant),
            "interval": list(feature.interval),
        }
        for feature in rule.features
        if feature.interval is not None
    ]
    return {"kind": "inequalities", "bits": round(rule.bits, 1), "constants": pinned}
