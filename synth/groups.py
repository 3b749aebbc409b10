"""Tables of two variables that are group multiplications, as permutations.

A table is read as a group if its rows are permutations, it has a unit and it is associative.  The
group acts on the cosets of its subgroups; the action of least degree that tells all elements apart
makes each element a short permutation, and the product their composition (Cayley).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl import types as t
from dsl.claim import Hypothesis
from dsl.program import Call, Comprehension, Constant, Expr, Program, Variable
from synth.problem import Problem

_LARGEST = 700
_GENERATORS = 3000


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """The product of a group on numbered elements, or of `(a, inverse of b)` and the like."""
    table = square(problem)
    if table is None:
        return
    found = group(table)
    if found is None:
        return
    product, left, right = found
    degree = permutations(product, problem.rng())
    yield Hypothesis(
        _program(problem, degree, left, right),
        "groups",
        1,
        {"order": len(product), "degree": degree.shape[1]},
    )


def square(problem: Problem) -> np.ndarray | None:
    """The values over two variables of one range from 0 that were observed in full."""
    fields = problem.target.domain.fields
    if len(fields) != 2 or not problem.complete or problem.target.domain.where is not None:
        return None
    (_, one), (_, other) = fields
    if not isinstance(one, t.Int) or one != other or one.low != 0 or one.high is None:
        return None
    order = one.high + 1
    values = np.concatenate([o.values for o in problem.observations])
    if values.ndim != 1 or values.dtype.kind not in "iu" or order > _LARGEST or order < 4:
        return None
    table = values.reshape(order, order).astype(np.int64)
    return table if ((table >= 0) & (table < order)).all() else None


def group(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A group product P and renamings with table[a, b] = P[left[a], right[b]].

    Every table isotopic to a group is of this form: reading rows against one fixed row and
    column makes that row and column the unit's (the principal isotope).
    """
    order = len(table)
    span = np.arange(order)
    if not (np.sort(table, 1) == span).all() or not (np.sort(table, 0) == span[:, None]).all():
        return None
    # Prefer the unit that is there: then no renaming is needed.
    rows = np.flatnonzero((table == span).all(1))
    columns = np.flatnonzero((table == span[:, None]).all(0))
    e, f = (int(rows[0]) if len(rows) else 0), (int(columns[0]) if len(columns) else 0)
    left, right = table[:, f], table[e, :]
    product = table[np.ix_(np.argsort(left), np.argsort(right))]
    rng = np.random.default_rng(0)
    x, y, z = (rng.integers(0, order, 4000) for _ in range(3))
    if not (product[product[x, y], z] == product[x, product[y, z]]).all():
        return None
    for a in span:
        if not (product[product[a][:, None], span] == product[a][product]).all():
            return None
    return product, left, right


def permutations(product: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The elements as permutations (order, degree) with p[a b] = p[a] o p[b], of the least degree
    found among actions on the cosets of subgroups of one or two generators."""
    order = len(product)
    best: np.ndarray = product
    # Each try costs a few passes over the table: fewer for large groups.
    for _ in range(max(100, min(_GENERATORS, 4_000_000 // order**2))):
        seeds = rng.integers(0, order, int(rng.integers(1, 3)))
        members = _closure(product, seeds, order // best.shape[1])
        if len(members) * best.shape[1] <= order or len(members) == order:
            continue
        action = _cosets(product, members)
        if len(np.unique(action, axis=0)) == order:
            best = action
    return best


def _closure(product: np.ndarray, seeds: np.ndarray, least: int) -> np.ndarray:
    """The subgroup that the seeds generate."""
    inside = np.zeros(len(product), bool)
    unit = int(np.flatnonzero((product == np.arange(len(product))).all(1))[0])
    inside[unit] = True
    frontier = np.array([unit])
    while len(frontier):
        reached = np.unique(product[np.ix_(frontier, seeds)])
        frontier = reached[~inside[reached]]
        inside[frontier] = True
    return np.flatnonzero(inside)


def _cosets(product: np.ndarray, members: np.ndarray) -> np.ndarray:
    """How each element permutes the left cosets x H."""
    order = len(product)
    coset = np.full(order, -1)
    leaders: list[int] = []
    for x in range(order):
        if coset[x] < 0:
            coset[product[x, members]] = len(leaders)
            leaders.append(x)
    return np.asarray(coset[product[:, leaders]])


def _program(
    problem: Problem, elements: np.ndarray, left: np.ndarray, right: np.ndarray
) -> Program:
    """`ELEMENTS.index([x[i] for i in y])` with x and y the permutations of a and b."""
    a, b = problem.target.domain.names
    span = np.arange(len(elements))
    constants = [("ELEMENTS", elements)]
    places: list[Expr] = []
    for name, renamed, title in ((a, left, "FIRST"), (b, right, "SECOND")):
        place: Expr = Variable(name)
        if not (renamed == span).all():
            constants.append((title, renamed))
            place = Call("index", (Constant(title), place))
        places.append(Call("index", (Constant("ELEMENTS"), place)))
    composed = Comprehension(Call("index", (places[0], Variable("i"))), ("i",), places[1])
    result = Call("find", (Constant("ELEMENTS"), composed))
    inputs = tuple((name, None) for name in (a, b))
    return Program("program", inputs, (), result, tuple(constants))
