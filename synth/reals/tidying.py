"""Tests with few terms and short constants, chosen by code length."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from dsl.program import Call, Expr, Literal, Variable, negated
from synth.reals.cuts import Cut, separating, threshold_of
from synth.reals.decimals import digits, simplest
from synth.reals.points import Box
from synth.reals.trees import Leaf, Sample, Split, Tree, contested

TERM_BITS = 18.0
DIGIT_BITS = 3.3
SPLIT_BITS = 20.0
GRACE = 2.0
_DIGITS = (1, 2, 3, 4)
_ROWS = 20_000


@dataclass(frozen=True)
class Test:
    """`sum of coefficients * inputs > threshold` (`<` if not `greater`), in the domain's units;
    one coefficient is 1."""

    coefficients: tuple[tuple[str, float], ...]
    threshold: float
    greater: bool

    @property
    def bits(self) -> float:
        terms = sum(
            TERM_BITS if value in (1.0, -1.0) else TERM_BITS + 6 + DIGIT_BITS * digits(value)
            for _, value in self.coefficients
        )
        return terms + DIGIT_BITS * digits(self.threshold)

    def expr(self) -> Expr:
        total = linear(self.coefficients)
        return Call("gt" if self.greater else "lt", (total, number(self.threshold)))

    def cut(self, box: Box) -> Cut:
        """The same half-space in scaled coordinates."""
        sign = 1.0 if self.greater else -1.0
        weights = np.zeros(len(box.names))
        offset = 0.0
        for name, value in self.coefficients:
            place = box.names.index(name)
            weights[place] = sign * value * box.half[place]
            offset += sign * value * float(box.middle[place])
        return Cut(weights, sign * self.threshold - offset)


def number(value: float) -> Literal:
    """A real number; a whole one of few digits as an integer."""
    return Literal(int(value)) if value == int(value) and abs(value) < 1e6 else Literal(value)


def linear(terms: tuple[tuple[str, float], ...], constant: float = 0.0) -> Expr:
    """`a * x + b * y + constant` with signs and factors of one left out."""
    result: Expr | None = None
    for name, value in sorted(terms, key=lambda term: term[1] < 0):
        factor: Expr = Variable(name)
        if abs(value) != 1.0:
            factor = Call("mul", (number(abs(value)), factor))
        if result is None:
            if value > 0:
                result = factor
            elif abs(value) == 1.0:
                result = Call("neg", (factor,))
            else:
                result = Call("mul", (number(value), Variable(name)))
        else:
            result = Call("add" if value > 0 else "sub", (result, factor))
    if result is None:
        return number(constant)
    if constant:
        result = Call("add" if constant > 0 else "sub", (result, number(abs(constant))))
    return result


@dataclass(frozen=True)
class Branch:
    """A split whose test is written with short constants."""

    test: Test
    above: Rule
    below: Rule


Rule: TypeAlias = Leaf | Branch


def tree_of(rule: Rule, box: Box) -> Tree:
    """The tree that a rule writes down, in scaled coordinates."""
    match rule:
        case Leaf():
            return rule
        case Branch(test, above, below):
            return Split(test.cut(box), tree_of(above, box), tree_of(below, box))


def tidied(tree: Tree, sample: Sample, box: Box, bits: float) -> Rule:
    """The tree with tests that are short to write, at `bits` for each new error.  Tests that are
    not worth their bits are dropped."""

    def visit(node: Tree, rows: np.ndarray) -> Rule:
        match node:
            case Leaf():
                return node
            case Split(cut, one, other):
                holds = cut.holds(sample.inputs[rows])
                above, below = visit(one, rows[holds]), visit(other, rows[~holds])
                split = Split(cut, tree_of(above, box), tree_of(below, box))
                chosen, side = contested(sample, split, rows)
                wrong_above, wrong_below = int((~side).sum()), int(side.sum())
                if not len(chosen) or time.monotonic() > sample.deadline + GRACE:
                    return above if wrong_above <= wrong_below else below
                test, wrong = short_test(sample, box, split, chosen, side, bits)
                cost = bits * wrong + test.bits + SPLIT_BITS
                if cost >= bits * min(wrong_above, wrong_below):
                    return above if wrong_above <= wrong_below else below
                return Branch(test, above, below)

    return visit(tree, np.arange(len(sample.codes)))


def short_test(
    sample: Sample, box: Box, split: Split, rows: np.ndarray, side: np.ndarray, bits: float
) -> tuple[Test, int]:
    """The test of least code length near a split's cut, and its errors on the contested rows."""
    inputs = sample.inputs[rows]
    best, wrong = _rounded(box, split.cut, inputs, side, bits)
    cost = best.bits + bits * wrong
    used = [box.names.index(name) for name, _ in best.coefficients]
    improved = True
    while improved and len(used) > 1 and time.monotonic() < sample.deadline:
        improved = False
        contribution = np.abs(split.cut.weights[used])
        for dropped in np.argsort(contribution)[: 3 if len(used) > 3 else len(used)]:
            kept = [name for i, name in enumerate(used) if i != dropped]
            start = Cut(split.cut.weights[kept], split.cut.threshold)
            narrow, _ = separating(inputs[:, kept], side, start)
            weights = np.zeros(inputs.shape[1])
            weights[kept] = narrow.weights
            cut = Cut(weights, narrow.threshold)
            test, errors = _rounded(box, cut, inputs, side, bits)
            if test.bits + bits * errors < cost:
                best, wrong, cost = test, errors, test.bits + bits * errors
                split = replace(split, cut=cut)
                used, improved = kept, True
                break
    return best, wrong


def _rounded(
    box: Box, cut: Cut, inputs: np.ndarray, side: np.ndarray, bits: float
) -> tuple[Test, int]:
    """The cut with the number of digits that makes code length least."""
    found: list[tuple[float, Test, int]] = []
    for places in _DIGITS:
        test, wrong = _with_digits(box, cut, inputs, side, places)
        found.append((test.bits + bits * wrong, test, wrong))
    _, test, wrong = min(found, key=lambda entry: entry[0])
    return test, wrong


def _with_digits(
    box: Box, cut: Cut, inputs: np.ndarray, side: np.ndarray, places: int
) -> tuple[Test, int]:
    weights = cut.weights / box.half
    lead = int(np.abs(cut.weights).argmax())
    slack = 0.5 * 10.0**-places * box.half[lead]
    terms: list[tuple[str, float]] = []
    greater = bool(weights[lead] > 0)
    for i, name in enumerate(box.names):
        ratio = weights[i] / weights[lead]
        if i == lead:
            terms.append((name, 1.0))
            continue
        room = slack / box.half[i]
        value = simplest(ratio - room, ratio + room)
        if value:
            terms.append((name, value))
    rounded = Test(tuple(terms), 0.0, greater)
    bare = rounded.cut(box)
    projection = inputs @ bare.weights
    low, high, wrong = threshold_of(projection, side)
    # In units of the lead input: sign * threshold = low..high of the projection plus the offset.
    sign = 1.0 if greater else -1.0
    offset = -bare.threshold
    ends = sorted((sign * (low + offset), sign * (high + offset)))
    value, errors = _threshold(ends, slack, rounded, box, projection, side)
    return replace(rounded, threshold=value), min(errors, len(side)) if errors else wrong


def _threshold(
    ends: list[float],
    slack: float,
    test: Test,
    box: Box,
    projection: np.ndarray,
    side: np.ndarray,
) -> tuple[float, int]:
    """The shorter of: a decimal in the interval without new errors, one within the slack."""
    middle = (ends[0] + ends[1]) / 2
    inner = (ends[1] - ends[0]) * 0.05
    exact = simplest(ends[0] + inner, ends[1] - inner)
    rough = simplest(middle - slack, middle + slack)
    candidates = []
    for value in dict.fromkeys((rough, exact)):
        cut = replace(test, threshold=value).cut(box)
        candidates.append((int(((projection > cut.threshold) != side).sum()), value))
    wrong, value = min(candidates, key=lambda entry: (entry[0] + 0.4 * digits(entry[1]), entry[1]))
    return value, wrong


def rule_expr(rule: Rule, kinds: tuple[Literal, ...]) -> Expr:
    """A rule as nested conditionals, the shorter branch first."""
    two = all(kind.value in (0, 1) for kind in kinds)
    match rule:
        case Leaf(code):
            return kinds[code]
        case Branch(test, above, below):
            then, otherwise = rule_expr(above, kinds), rule_expr(below, kinds)
            if isinstance(above, Branch) and not isinstance(below, Branch):
                return conditional(negated(test.expr()), otherwise, then, numbers=two)
            return conditional(test.expr(), then, otherwise, numbers=two)


def conditional(test: Expr, then: Expr, otherwise: Expr, *, numbers: bool = True) -> Expr:
    """`then if test else otherwise`; truth values as the test itself, and, where `numbers`, 1 or
    0 as its integer."""
    match then, otherwise:
        case Literal(True), Literal(False):
            return test
        case Literal(False), Literal(True):
            return negated(test)
        case Literal(int(a)), Literal(int(b)) if numbers and (a, b) == (1, 0) and a is not True:
            return Call("int", (test,))
        case Literal(int(a)), Literal(int(b)) if numbers and (a, b) == (0, 1) and b is not True:
            return Call("int", (negated(test),))
    if then == otherwise:
        return then
    return Call("ite", (test, then, otherwise))
