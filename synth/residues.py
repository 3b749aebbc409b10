"""Residue sums: is the value `(c1*x1 + ... + ck*xk + d) % n`?

Each coefficient is the most frequent difference, modulo n, between neighbours along one variable;
so a table with noise still gives the sum that explains most of it.  Candidates for n come from the
values, the ranges of the inputs, and the spectrum of the outputs along each variable.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    return np.asarray(values[order[1:]] - values[order[:-1]])[same & follows]


def _most_frequent(values: np.ndarray) -> tuple[int, int]:
    kinds, counts = np.unique(values, return_counts=True)
    return int(kinds[counts.argmax()]), int(counts.max())


def _program(names: tuple[str, ...], coefficients: list[int], offset: int, modulus: int) -> Program:
    total: Expr | None = None
    terms = sorted(zip(names, coefficients, strict=True), key=lambda term: term[1] * 2 > modulus)
    for name, coefficient in terms:
        if coefficient == 0:
            continue
        negative = coefficient * 2 > modulus and (coefficient != 1)
        weight = modulus - coefficient if negative else coefficient
        term: Expr = Variable(name)
        if weight != 1:
            term = Call("mul", (Literal(weight), term))
        if total is None:
            total = Call("neg", (term,)) if negative else term
        else:
            total = Call("sub" if negative else "add", (total, term))
    if total is None:
        total = Literal(offset)
    elif offset:
        negative = offset * 2 > modulus
        amount = Literal(modulus - offset if negative else offset)
        total = Call("sub" if negative else "add", (total, amount))
    inputs = tuple((name, None) for name in names)
    return Program("program", inputs, (), Call("mod", (total, Literal(modulus))))
