"""Decision lists and trees over derived tests, with expressions at the leaves.

Tests and leaf expressions come from enumeration.  A tree is grown greedily by the gain in code
length; it is exact when the tests allow it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Literal, Program, negated
from synth.enumeration import Bank, Leaf
from synth.expressions import disagreements, starting_leaves
from synth.guidance import nodes
from synth.leaves import Inputs, chosen
from synth.problem import Problem
from synth.tables import literal

_ROWS = 3000
_TESTS = 4000
_FORMULAS = 3000
_DEEPEST = 24
_BITS_OF_NODE = (6.0, 40.0)


@dataclass(frozen=True, slots=True)
class Formulas:
    """Expressions with their values (n, N) and sizes in nodes."""

    exprs: tuple[Expr, ...]
    values: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True, slots=True)
class Material:
    """What a tree is made of: tests and leaf expressions, on rows whose wanted codes are given."""

    tests: Formulas
    leaves: Formulas
    codes: np.ndarray
    kinds: tuple[Literal, ...]


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Trees for scalars of few values, or whose parts are short formulas."""
    if any(o.values.ndim != 1 or o.values.dtype.kind not in "iubU" for o in problem.observations):
        return
    extra: tuple[tuple[int, int], ...] = ()
    tried = 0
    for _ in range(12):
        inputs = chosen(problem, _ROWS, extra)
        material, count = _material(problem, inputs)
        if material is None:
            return
        tried += count
        names = tuple((name, None) for name in problem.target.domain.names)
        failed: set[tuple[int, int]] = set()
        exact = False
        for expr in smallest_trees(material, problem.deadline):
            program = Program("program", names, (), expr)
            wrong = disagreements(problem, program, 64)
            yield Hypothesis(program, "trees", tried)
            exact |= not wrong
            failed |= set(wrong)
        if exact or time.monotonic() > problem.deadline:
            return
        extra = (*extra, *sorted(failed))


def _material(problem: Problem, inputs: Inputs) -> tuple[Material | None, int]:
    starting = starting_leaves(problem, inputs)
    starting += _thresholds(starting, inputs.values)
    if not starting:
        return None, 0
    bank = Bank(starting, capacity=6000, seed=problem.seed)
    limit = time.monotonic() + max(1.0, 0.2 * problem.time_left)
    for _ in bank.grow(5, min(problem.deadline, limit)):
        pass
    values = inputs.values
    kinds, codes = np.unique(values, return_inverse=True)
    tests = _formulas(bank, "bool", _TESTS)
    leaves = _formulas(bank, "int", _FORMULAS)
    if values.dtype.kind not in "iu":
        leaves = Formulas((), np.empty((0, len(values)), np.int64), np.empty(0, int))
        wanted = codes
    else:
        wanted = values.astype(np.int64)
    if not len(tests.exprs):
        return None, bank.tried
    literals = tuple(literal(kind) for kind in kinds)
    if values.dtype.kind in "iu":
        return Material(tests, leaves, wanted, ()), bank.tried
    return Material(tests, leaves, wanted, literals), bank.tried


def _thresholds(leaves: list[Leaf], values: np.ndarray) -> list[Leaf]:
    """Tests `leaf < c` at the values of c where the wanted value changes."""
    tests: list[Leaf] = []
    for leaf in leaves:
        column = leaf.values
        if column.dtype == bool or isinstance(leaf.expr, Literal):
            continue
        order = np.argsort(column, kind="stable")
        ordered, wanted = column[order], values[order]
        change = np.flatnonzero((ordered[1:] != ordered[:-1]) & (wanted[1:] != wanted[:-1]))
        bounds = list(dict.fromkeys(int(ordered[i + 1]) for i in change))
        for bound in bounds[:: max(1, len(bounds) // 64)]:
            tests.append(Leaf(Call("lt", (leaf.expr, Literal(bound))), column < bound, 2))
        distinct, counts = np.unique(column, return_counts=True)
        rare = distinct[np.argsort(counts, kind="stable")]
        for value in rare[:64]:
            test = Call("eq", (leaf.expr, Literal(int(value))))
            tests.append(Leaf(test, column == value, 2))
    return tests


def _formulas(bank: Bank, name: str, most: int) -> Formulas:
    rows = bank.rows(name)[:most]
    exprs = tuple(bank.expr(name, i) for i in range(len(rows)))
    sizes = np.array([nodes(expr) for expr in exprs], int)
    return Formulas(exprs, rows, sizes)


def smallest_trees(material: Material, deadline: float) -> list[Expr]:
    """Trees grown from simple tests and from all, thriftily and freely: the two smallest.

    Greedy choice is short-sighted, in another way with each of these settings.
    """
    rows = np.arange(len(material.codes))
    trees: list[Expr] = []
    for largest in (3, 5, 99):
        kept = np.flatnonzero(material.tests.sizes <= largest)
        tests = Formulas(
            tuple(material.tests.exprs[i] for i in kept),
            material.tests.values[kept],
            material.tests.sizes[kept],
        )
        part = replace(material, tests=tests)
        trees += [_branch(part, rows, _DEEPEST, deadline, bits) for bits in _BITS_OF_NODE]
    return sorted(dict.fromkeys(trees), key=nodes)[:2]


def _branch(material: Material, rows: np.ndarray, depth: int, deadline: float, node: float) -> Expr:
    leaf, errors = _best_leaf(material, rows)
    if errors == 0 or depth == 0 or time.monotonic() > deadline:
        return leaf
    cut = _best_cut(material, rows, node)
    if cut is None:
        return leaf
    inside = material.tests.values[cut, rows]
    test = material.tests.exprs[cut]
    then = _branch(material, rows[inside], depth - 1, deadline, node)
    otherwise = _branch(material, rows[~inside], depth - 1, deadline, node)
    if then == otherwise:
        return then
    if (
        isinstance(then, Call)
        and then.primitive == "ite"
        and not (isinstance(otherwise, Call) and otherwise.primitive == "ite")
    ):
        # The shorter branch first: the rest reads as a list.
        return Call("ite", (negated(test), otherwise, then))
    return Call("ite", (test, then, otherwise))


def _best_leaf(material: Material, rows: np.ndarray) -> tuple[Expr, int]:
    """The constant or formula with the fewest errors on some rows; the shortest of equals."""
    wanted = material.codes[rows]
    kinds, counts = np.unique(wanted, return_counts=True)
    common = int(kinds[counts.argmax()])
    errors = len(rows) - int(counts.max())
    constant = material.kinds[common] if material.kinds else Literal(common)
    if errors == 0 or not len(material.leaves.exprs):
        return constant, errors
    wrong = (material.leaves.values[:, rows[:512]] != wanted[:512]).sum(1)
    exact = np.flatnonzero(wrong == 0)
    for i in exact[np.argsort(material.leaves.sizes[exact], kind="stable")][:3]:
        if (material.leaves.values[i, rows] == wanted).all():
            return material.leaves.exprs[int(i)], 0
    return constant, errors


def _best_cut(material: Material, rows: np.ndarray, node: float) -> int | None:
    """The test whose two sides are described in the fewest bits."""
    sample = rows if len(rows) <= 1500 else rows[:: len(rows) // 1500 + 1]
    tests = material.tests.values[:, sample]
    _, codes = np.unique(material.codes[sample], return_inverse=True)
    inside = tests.sum(1)
    useful = (inside > 0) & (inside < len(sample))
    if not useful.any():
        if len(sample) == len(rows):
            return None
        tests, codes = (
            material.tests.values[:, rows],
            np.unique(material.codes[rows], return_inverse=True)[1],
        )
        inside = tests.sum(1)
        useful = (inside > 0) & (inside < len(rows))
        if not useful.any():
            return None
    one_hot = np.zeros((len(codes), int(codes.max()) + 1))
    one_hot[np.arange(len(codes)), codes] = 1
    then = tests.astype(np.float32) @ one_hot.astype(np.float32)
    total = one_hot.sum(0)
    bits = [_entropy(then), _entropy(total - then)]
    if len(material.leaves.exprs):
        covered = _covered(material, rows if len(codes) == len(rows) else sample)
        bits = [np.where(c, np.minimum(b, 5 * node), b) for b, c in zip(bits, covered)]
    cost = sum(bits) + node * material.tests.sizes
    cost[~useful] = math.inf
    return int(np.argmin(cost))


def _covered(material: Material, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each test, whether one formula is right on all rows inside it, and outside it."""
    right = material.leaves.values[:, rows] == material.codes[rows]
    promising = np.argsort(-right.mean(1), kind="stable")[:24]
    tests = material.tests.values[:, rows].astype(np.float32)
    wrong = (~right[promising]).astype(np.float32)
    inside = tests @ wrong.T
    outside = wrong.sum(1) - inside
    return (inside == 0).any(1), (outside == 0).any(1)


def _entropy(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(-1, keepdims=True)
    share = counts / np.maximum(total, 1)
    return np.asarray(-(counts * np.log2(np.maximum(share, 1e-30))).sum(-1))
