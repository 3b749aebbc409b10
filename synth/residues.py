"""Residue sums: is the value `(c1*x1 + ... + ck*xk + d) % n`?

Each coefficient is the most frequent difference, modulo n, between neighbours along one variable;
so a table with noise still gives the sum that explains most of it.  Candidates for n come from the
values, the ranges of the inputs, and the spectrum of the outputs along each variable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsl import types as t
from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Literal, Program, Variable
from synth.problem import Problem

_LARGEST = 4096


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Sums modulo n that agree more often than the most frequent value does."""
    domain = problem.target.domain
    if not all(isinstance(kind, (t.Int, t.Bool)) for kind in domain.types.values()):
        return
    names = domain.names
    inputs = np.concatenate(
        [np.stack([o.inputs[n].astype(np.int64) for n in names], 1) for o in problem.observations]
    )
    if any(o.values.ndim != 1 or o.values.dtype == object for o in problem.observations):
        return
    values = np.concatenate([o.values for o in problem.observations])
    if values.ndim != 1 or values.dtype.kind not in "iu" or len(values) < 8:
        return
    best = _most_frequent(values)[1] / len(values)
    for tried, modulus in enumerate(moduli(problem, values), 1):
        found = fitted(inputs, values, modulus)
        if found is None:
            continue
        coefficients, offset, agreement = found
        if agreement > best + 0.05:
            best = agreement
            program = _program(names, coefficients, offset, modulus)
            yield Hypothesis(program, "residues", tried, {"modulus": modulus})
        if agreement == 1.0:
            return
    yield from propose_blocks(problem)


def moduli(problem: Problem, values: np.ndarray) -> list[int]:
    """Moduli worth trying, the likeliest first: the number of values and of inputs."""
    highest = int(values.max())
    if int(values.min()) < 0 or highest < 1 or highest >= _LARGEST:
        return []
    spans = [
        kind.high - (kind.low or 0) + 1
        for kind in problem.target.domain.types.values()
        if isinstance(kind, t.Int) and kind.high is not None
    ]
    likely = [highest + 1, *(span for span in spans if span > highest)]
    return list(dict.fromkeys([*likely, *range(highest + 2, highest + 8)]))


def fitted(
    inputs: np.ndarray, values: np.ndarray, modulus: int
) -> tuple[list[int], int, float] | None:
    """Coefficients and offset modulo n with the fraction of inputs explained."""
    coefficients = []
    for axis in range(inputs.shape[1]):
        difference = _steps(inputs, values, axis)
        if difference.size == 0:
            return None
        coefficients.append(int(_most_frequent(difference % modulus)[0]))
    rest = (values - inputs @ np.array(coefficients)) % modulus
    offset, count = _most_frequent(rest)
    return coefficients, int(offset), count / len(values)


def _steps(inputs: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """The changes of the value where one variable grows by 1 and the others stay."""
    others = np.delete(inputs, axis, 1)
    order = np.lexsort((inputs[:, axis], *others.T))
    same = (others[order[1:]] == others[order[:-1]]).all(1)
    follows = inputs[order[1:], axis] - inputs[order[:-1], axis] == 1
    return np.asarray((values[order[1:]] - values[order[:-1]])[same & follows])


def _most_frequent(values: np.ndarray) -> tuple[int, int]:
    kinds, counts = np.unique(values, return_counts=True)
    return int(kinds[counts.argmax()]), int(counts.max())


def _program(names: tuple[str, ...], coefficients: list[int], offset: int, modulus: int) -> Program:
    inputs = tuple((name, None) for name in names)
    terms = tuple(Variable(name) for name in names)
    return Program("program", inputs, (), _sum(terms, coefficients, offset, modulus))


def _sum(terms: tuple[Expr, ...], coefficients: list[int], offset: int, modulus: int) -> Expr:
    """`(c1*t1 + ... + offset) % modulus`, with subtraction where it is shorter."""
    total: Expr | None = None
    signed = sorted(zip(terms, coefficients, strict=True), key=lambda x: x[1] * 2 > modulus)
    for term, coefficient in signed:
        if coefficient == 0:
            continue
        negative = coefficient * 2 > modulus and coefficient != 1
        weight = modulus - coefficient if negative else coefficient
        product: Expr = term if weight == 1 else Call("mul", (Literal(weight), term))
        if total is None:
            total = Call("neg", (product,)) if negative else product
        else:
            total = Call("sub" if negative else "add", (total, product))
    if total is None:
        return Literal(offset % modulus)
    if offset:
        negative = offset * 2 > modulus
        amount = Literal(modulus - offset if negative else offset)
        total = Call("sub" if negative else "add", (total, amount))
    return Call("mod", (total, Literal(modulus)))


def propose_blocks(problem: Problem) -> Iterator[Hypothesis]:
    """Residue sums of digits, another one for each combination of the other digits: with
    `x = p + n*q` (or `p*k + q`) for each input, is the value's p a sum modulo n for each choice of
    the q's, and its q a constant?  Dihedral groups are of this form."""
    domain = problem.target.domain
    kinds = set(domain.types.values())
    if len(kinds) != 1 or len(domain.names) > 3 or not problem.complete:
        return
    kind = next(iter(kinds))
    if not isinstance(kind, t.Int) or kind.low != 0 or kind.high is None:
        return
    order = kind.high + 1
    names = domain.names
    inputs = np.concatenate(
        [np.stack([o.inputs[n] for n in names], 1) for o in problem.observations]
    )
    values = np.concatenate([o.values for o in problem.observations])
    if values.ndim != 1 or values.dtype.kind not in "iu" or values.max() >= order:
        return
    for count in (2, 3, 4):
        if order % count or order // count < 3:
            continue
        for outer in (True, False):
            digits = _Digits(order // count, count, outer)
            expr = _blocks(names, inputs, values, digits)
            if expr is not None:
                program = Program("program", tuple((n, None) for n in names), (), expr)
                yield Hypothesis(program, "blocks", 1)
                return


@dataclass(frozen=True, slots=True)
class _Digits:
    """`x = p + n*q` if `outer`, else `x = p*k + q`, with 0 <= p < n and 0 <= q < k."""

    n: int
    k: int
    outer: bool

    def split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (x % self.n, x // self.n) if self.outer else (x // self.k, x % self.k)

    def place(self, x: Expr) -> Expr:
        # Modulo n, x = p + n*q is as good as p.
        return x if self.outer else Call("floordiv", (x, Literal(self.k)))

    def is_digit(self, x: Expr, q: int) -> Expr:
        """Is the q of x this one, given that it is none of the lesser ones?"""
        if self.outer:
            return Call("lt", (x, Literal((q + 1) * self.n)))
        return Call("eq", (Call("mod", (x, Literal(self.k))), Literal(q)))

    def whole(self, p: Expr, q: int) -> Expr:
        if self.outer:
            return p if q == 0 else Call("add", (p, Literal(q * self.n)))
        scaled = Call("mul", (p, Literal(self.k)))
        return scaled if q == 0 else Call("add", (scaled, Literal(q)))


def _blocks(
    names: tuple[str, ...], inputs: np.ndarray, values: np.ndarray, digits: _Digits
) -> Expr | None:
    places, choices = digits.split(inputs)
    wanted, wanted_choice = digits.split(values)
    leaves: dict[tuple[int, ...], Expr] = {}
    for choice in itertools.product(range(digits.k), repeat=len(names)):
        rows = (choices == np.array(choice)).all(1)
        kinds = np.unique(wanted_choice[rows])
        found = fitted(places[rows], wanted[rows], digits.n)
        if found is None or len(kinds) != 1 or found[2] < 1.0:
            return None
        summed = _sum(tuple(digits.place(Variable(n)) for n in names), *found[:2], digits.n)
        leaves[choice] = digits.whole(summed, int(kinds[0]))
    return _decided(names, (), leaves, digits)


def _decided(
    names: tuple[str, ...],
    prefix: tuple[int, ...],
    leaves: dict[tuple[int, ...], Expr],
    digits: _Digits,
) -> Expr:
    if len(prefix) == len(names):
        return leaves[prefix]
    branches = [_decided(names, (*prefix, q), leaves, digits) for q in range(digits.k)]
    result = branches[-1]
    for q in range(digits.k - 2, -1, -1):
        if branches[q] != result:
            test = digits.is_digit(Variable(names[len(prefix)]), q)
            result = Call("ite", (test, branches[q], result))
    return result
