"""Candidates that are probably variables of the rule that a network follows.

Two signs of it: the candidate can stand for some of the inputs without loss (`synth.sufficiency`),
or it can be read off linearly from some layer of the network (`synth.statistics`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dsl import types as t
from dsl.program import Call, Expr, Literal, Variable, walk
from synth.enumeration import Bank, Leaf
from synth.leaves import LONGEST, Inputs
from synth.problem import Problem
from synth.statistics import Basis, decodability, layers, orthonormal
from synth.sufficiency import affordable, merits, ranks

Guide = Callable[[Bank, list[Leaf]], list[Leaf]]
"""Rows of a bank that should become leaves, given the leaves there are."""

_FEATURES = 10
_DECODABLE = 0.9
_DEPTH = 4
_NODE_BITS = 8
_CONSIDERED = 400
_PAIRED = 120


@dataclass(frozen=True, slots=True)
class Ranked:
    """A row of a bank, and how probable it is that the rule uses it: first the greatest."""

    score: float
    expr: Expr
    values: np.ndarray


def guides(problem: Problem, inputs: Inputs) -> tuple[Guide, ...]:
    """What to ask one after another; each sees the bank that was grown from what the last named."""
    places = elementary(problem, inputs)
    bases, explained = layers(problem.target, inputs), singly(problem, inputs)

    def sufficient(bank: Bank, leaves: list[Leaf]) -> list[Leaf]:
        alone = best(replacing(bank, places, inputs.values), leaves)
        return alone or best(replacing_together(bank, places, inputs.values), leaves)

    def readable(bank: Bank, leaves: list[Leaf]) -> list[Leaf]:
        return best(decodable(bank, leaves, bases, explained), leaves)

    return (*[sufficient] * (_DEPTH if len(places) else 0), readable)


def best(ranked: Iterator[Ranked], leaves: list[Leaf]) -> list[Leaf]:
    """The best new ones, no two of which are the same up to scale; truth values also as numbers."""
    known = {leaf.expr for leaf in leaves}
    fresh: list[Leaf] = []
    for one in sorted(ranked, key=lambda r: (-r.score, nodes(r.expr), str(r.expr))):
        if len(fresh) >= _FEATURES:
            break
        if one.expr in known or any(same_up_to_scale(one.values, f.values) for f in fresh):
            continue
        fresh.append(Leaf(one.expr, one.values.copy()))
        if one.values.dtype == bool:
            fresh.append(Leaf(Call("int", (one.expr,)), one.values.astype(np.int64)))
    return fresh


def elementary(problem: Problem, inputs: Inputs) -> np.ndarray:
    """The inputs one by one, as codes (d, N); none where a sequence has no fixed length."""
    columns = []
    for name, kind in problem.target.domain.fields:
        exprs: list[Expr] = [Variable(name)]
        if isinstance(kind, t.Seq):
            if kind.low != kind.high or kind.low > LONGEST:
                return np.empty((0, len(inputs.values)), np.int64)
            exprs = [Call("index", (Variable(name), Literal(i))) for i in range(kind.low)]
        for expr in exprs:
            column = inputs.column(problem, expr)
            if column is None or column.dtype.kind not in "iubUS":
                return np.empty((0, len(inputs.values)), np.int64)
            columns.append(np.unique(column, return_inverse=True)[1])
    return np.array(columns, np.int64).reshape(-1, len(inputs.values))


def replacing(bank: Bank, places: np.ndarray, values: np.ndarray) -> Iterator[Ranked]:
    """Candidates that replace some of the inputs, by the bits of evidence for that less their own
    length."""
    for name in ("int", "bool"):
        rows = bank.rows(name)[: affordable(len(places), len(values))]
        if not len(rows):
            continue
        found = merits(rows.astype(np.int64), places, values)
        for row in np.argsort(-found, kind="stable")[: 8 * _FEATURES]:
            expr = bank.expr(name, int(row))
            score = float(found[row]) - _NODE_BITS * nodes(expr)
            if score > 0:
                yield Ranked(score, expr, rows[row])


def replacing_together(bank: Bank, places: np.ndarray, values: np.ndarray) -> Iterator[Ranked]:
    """Candidates of which two replace some of the inputs where none does by itself."""
    kinds = ("int", "bool")
    named = [(name, row) for name in kinds for row in range(len(bank.rows(name)))[:_CONSIDERED]]
    named.sort(key=lambda place: nodes(bank.expr(*place)))
    rows = ranks(np.array([bank.rows(name)[row].astype(np.int64) for name, row in named]))
    # One for each way to tell the inputs apart.
    rows, first = np.unique(rows, axis=0, return_index=True)
    order = np.argsort(first, kind="stable")
    order = order[rows[order].max(1) > 0][:_PAIRED]
    rows, first = rows[order], first[order]
    one, other = np.triu_indices(len(rows), 1)
    most = affordable(len(places), len(values))
    one, other = one[:most], other[:most]
    found = merits(rows[one] * (int(rows.max(initial=0)) + 1) + rows[other], places, values)
    exprs = [bank.expr(*named[int(row)]) for row in first]
    for pair in np.argsort(-found, kind="stable")[:_FEATURES]:
        both = (int(one[pair]), int(other[pair]))
        score = float(found[pair]) - _NODE_BITS * sum(nodes(exprs[i]) for i in both)
        for i in both if score > 0 else ():
            name, row = named[int(first[i])]
            yield Ranked(score, exprs[i], bank.rows(name)[row])


def decodable(
    bank: Bank, leaves: list[Leaf], bases: tuple[Basis, ...], explained: np.ndarray
) -> Iterator[Ranked]:
    """The candidates that the activations hold most clearly, beyond what the leaves span and what
    the inputs explain one by one."""
    places = tuple(rest for basis in bases if (rest := _beyond(basis, explained)).vectors.size)
    for name in ("int", "bool"):
        whole = bank.rows(name)
        rows = whole.astype(np.float64)
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
                yield Ranked(round(float(scores[i]), 2), bank.expr(name, int(i)), whole[i])


def singly(problem: Problem, inputs: Inputs) -> np.ndarray:
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


def _beyond(basis: Basis, explained: np.ndarray) -> Basis:
    """What a layer holds besides sums of functions of one input each."""
    rest = basis.vectors - explained @ (explained.T @ basis.vectors)
    left, strength, _ = np.linalg.svd(rest, full_matrices=False)
    return Basis(basis.name, left[:, strength > 1e-3])


def nodes(expr: Expr) -> int:
    return sum(1 for _ in walk(expr))


def same_up_to_scale(a: np.ndarray, b: np.ndarray) -> bool:
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return norm > 0 and abs(float(x @ y)) > 0.999999 * norm
