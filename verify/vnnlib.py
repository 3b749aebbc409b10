"""Properties in the VNN-LIB language (https://www.vnnlib.org): what must not be satisfiable.

A property is a disjunction of cases; each is a box of inputs X and linear conditions on X and Y.
Numbers are read as the exact decimals that they are.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from dsl.errors import DistillError, Place

Variable: TypeAlias = tuple[str, int]
"""("X" or "Y", index)."""

Tree: TypeAlias = "str | tuple[Tree, ...]"

_TOKEN = re.compile(r"\s*(?:(;[^\n]*)|([()])|([^\s();]+))")
_NAME = re.compile(r"([XY])_?(\d+)$")
_MOST_CASES = 100_000


@dataclass(frozen=True, slots=True)
class Condition:
    """`constant + sum of coefficient * variable >= 0`."""

    constant: Fraction
    terms: tuple[tuple[Variable, Fraction], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Inputs within `limits` that satisfy all of the conditions together with the network's
    outputs; `low` and `high` (n,) are the limits rounded outward to float64."""

    low: np.ndarray
    high: np.ndarray
    conditions: tuple[Condition, ...]
    limits: tuple[tuple[Fraction, Fraction], ...]

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Points (B, n) moved to float64 numbers within the exact limits, where there are any."""
        low = np.array([_rounded(bound, math.inf) for bound, _ in self.limits])
        high = np.array([_rounded(bound, -math.inf) for _, bound in self.limits])
        return np.asarray(np.where(low <= high, np.clip(points, low, high), points))


@dataclass(frozen=True, slots=True, eq=False)
class Property:
    """Satisfied where any case is; `inputs` and `outputs` count the variables."""

    inputs: int
    outputs: int
    cases: tuple[Case, ...]


def parsed(text: str, name: str = "property.vnnlib") -> Property:
    """The property that a text states; raises D140 with the place where it is not understood."""
    declared: dict[str, int] = {"X": 0, "Y": 0}
    alternatives: list[tuple[Condition, ...]] = [()]
    for tree, line in _trees(text, name):
        match tree:
            case ("declare-const" | "declare-fun", str() as variable, *_):
                kind, index = _variable(variable, name, line)
                declared[kind] = max(declared[kind], index + 1)
            case ("assert", formula):
                more = _cases(formula, name, line)
                alternatives = [(*a, *b) for a in alternatives for b in more]
                if len(alternatives) > _MOST_CASES:
                    raise _error(name, line, "more cases than can be listed")
            case ("set-logic" | "check-sat" | "set-option" | "set-info" | "exit", *_):
                pass
            case _:
                raise _error(name, line, f"`{_written(tree)[:60]}` is not understood")
    cases = tuple(_case(conditions, declared["X"], name) for conditions in alternatives)
    kept = tuple(case for case in cases if case is not None)
    return Property(declared["X"], declared["Y"], kept)


def _error(name: str, line: int, finding: str) -> DistillError:
    return DistillError(
        "D140",
        finding,
        place=Place(name, line, 1),
        remedy="VNN-LIB 1.0: linear conditions on X_i and Y_j with and, or, <=, >=",
    )


def _trees(text: str, name: str) -> Iterator[tuple[Tree, int]]:
    """The parenthesised expressions of a text, with the lines on which they begin."""
    stack: list[list[Tree]] = []
    position, line, started = 0, 1, 1
    while True:
        match = _TOKEN.match(text, position)
        if match is None or match.end() == position:
            break
        line += text.count("\n", position, match.start(match.lastindex or 0))
        position = match.end()
        _, bracket, word = match.groups()
        if bracket == "(":
            if not stack:
                started = line
            stack.append([])
        elif bracket == ")":
            if not stack:
                raise _error(name, line, "a closing bracket too many")
            done = tuple(stack.pop())
            if stack:
                stack[-1].append(done)
            else:
                yield done, started
        elif word is not None:
            if not stack:
                raise _error(name, line, f"`{word}` stands outside of brackets")
            stack[-1].append(word)
    if stack:
        raise _error(name, started, "a bracket is not closed")


def _written(tree: Tree) -> str:
    return tree if isinstance(tree, str) else "(" + " ".join(map(_written, tree)) + ")"


def _variable(text: str, name: str, line: int) -> Variable:
    match = _NAME.match(text)
    if match is None:
        raise _error(name, line, f"`{text}` is neither X_i nor Y_j")
    return match[1], int(match[2])


def _cases(formula: Tree, name: str, line: int) -> list[tuple[Condition, ...]]:
    """The formula as a disjunction of conjunctions."""
    match formula:
        case ("and", *parts):
            choices = [_cases(part, name, line) for part in parts]
            if math.prod(map(len, choices)) > _MOST_CASES:
                raise _error(name, line, "more cases than can be listed")
            return [
                tuple(condition for conjunction in choice for condition in conjunction)
                for choice in itertools.product(*choices)
            ]
        case ("or", *parts):
            return [case for part in parts for case in _cases(part, name, line)]
        case ("<=" | "<", a, b):
            return [(_difference(b, a, name, line),)]
        case (">=" | ">", a, b):
            return [(_difference(a, b, name, line),)]
        case ("=", a, b):
            return [(_difference(a, b, name, line), _difference(b, a, name, line))]
    raise _error(name, line, f"`{_written(formula)[:60]}` is no condition")


def _difference(a: Tree, b: Tree, name: str, line: int) -> Condition:
    """a - b >= 0."""
    left, right = _linear(a, name, line), _linear(b, name, line)
    total = dict(left)
    for key, value in right.items():
        total[key] = total.get(key, Fraction(0)) - value
    constant = total.pop(None, Fraction(0))
    terms = sorted((key, value) for key, value in total.items() if key is not None and value)
    return Condition(constant, tuple(terms))


def _linear(tree: Tree, name: str, line: int) -> dict[Variable | None, Fraction]:
    match tree:
        case str() as word:
            try:
                return {None: Fraction(word)}
            except ValueError:
                return {_variable(word, name, line): Fraction(1)}
        case ("+", *parts):
            return _sum([_linear(part, name, line) for part in parts])
        case ("-", only):
            return _scaled(_linear(only, name, line), Fraction(-1))
        case ("-", first, *rest):
            taken = [_scaled(_linear(part, name, line), Fraction(-1)) for part in rest]
            return _sum([_linear(first, name, line), *taken])
        case ("*", *factors):
            product: dict[Variable | None, Fraction] = {None: Fraction(1)}
            for factor in factors:
                other = _linear(factor, name, line)
                if set(product) <= {None}:
                    product = _scaled(other, product.get(None, Fraction(0)))
                elif set(other) <= {None}:
                    product = _scaled(product, other.get(None, Fraction(0)))
                else:
                    raise _error(name, line, "a product of two variables")
            return product
    raise _error(name, line, f"`{_written(tree)[:60]}` is no linear term")


def _sum(parts: list[dict[Variable | None, Fraction]]) -> dict[Variable | None, Fraction]:
    total: dict[Variable | None, Fraction] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total.get(key, Fraction(0)) + value
    return total


def _scaled(
    form: dict[Variable | None, Fraction], factor: Fraction
) -> dict[Variable | None, Fraction]:
    return {key: value * factor for key, value in form.items()}


def _case(conditions: tuple[Condition, ...], inputs: int, name: str) -> Case | None:
    """The conditions on single inputs as a box, and the rest; None where the box is empty."""
    low: list[Fraction | None] = [None] * inputs
    high: list[Fraction | None] = [None] * inputs
    rest: list[Condition] = []
    for condition in conditions:
        match condition.terms:
            case ((("X", index), factor),) if index < inputs:
                limit = -condition.constant / factor
                bound, choose = (low, max) if factor > 0 else (high, min)
                known = bound[index]
                bound[index] = limit if known is None else choose(known, limit)
            case ():
                if condition.constant < 0:
                    return None
            case _:
                rest.append(condition)
    missing = [i for i in range(inputs) if low[i] is None or high[i] is None]
    if missing:
        raise DistillError(
            "D140",
            f"X_{missing[0]} has no bounds in a case of {name}",
            place=name,
            remedy="give each input a lower and an upper bound in each case",
        )
    limits = tuple(
        (a, b) for a, b in zip(low, high, strict=True) if a is not None and b is not None
    )
    if any(a > b for a, b in limits):
        return None
    return Case(
        np.array([_rounded(bound, -math.inf) for bound, _ in limits]),
        np.array([_rounded(bound, math.inf) for _, bound in limits]),
        tuple(dict.fromkeys(rest)),
        limits,
    )


def _rounded(exact: Fraction, towards: float) -> float:
    """The nearest float64 that is not on the wrong side."""
    value = float(exact)
    wrong = Fraction(value) < exact if towards > 0 else Fraction(value) > exact
    return math.nextafter(value, towards) if wrong else value
