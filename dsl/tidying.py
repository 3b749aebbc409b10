"""Programs of integers as one would write them: the same values, in fewer nodes.

Terms of a comparison move to the side on which they are added (`b + (c - a) > 0` is `b + c > a`,
`p - q >= 1` is `p > q`), sums lose their brackets and numbers are worked out, the remainder of what
is smaller than the divisor goes, and a name that is used once gives way to what it stands for.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dsl import types as t
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.printer import to_python
from dsl.program import (
    Append,
    Assign,
    Call,
    Comprehension,
    Expr,
    Literal,
    Loop,
    Program,
    Statement,
    Variable,
    size,
    walk,
)
from dsl.typecheck import result_type

_FRACTIONS = frozenset({"truediv", "sqrt", "exp", "log", "sin", "cos", "tanh", "float", "dot"})
_LONGEST = 24
"""Nodes up to which an expression stands in the place of its name."""
Change = Callable[[Expr], Expr]


@dataclass(frozen=True, slots=True)
class _Sum:
    """`number + sum of factor * term`, the terms in the order in which they stand."""

    terms: tuple[tuple[Expr, int], ...]
    number: int = 0

    def plus(self, other: _Sum, factor: int = 1) -> _Sum:
        terms = dict(self.terms)
        for term, count in other.terms:
            terms[term] = terms.get(term, 0) + factor * count
        kept = tuple((term, count) for term, count in terms.items() if count)
        return _Sum(kept, self.number + factor * other.number)


def tidied(program: Program, domain: Domain) -> Program:
    """The program with plainer comparisons and without names that are used once; itself where
    nothing gets shorter, or the domain holds real numbers."""
    if any(_is_real(kind) for kind in domain.types.values()):
        return program
    found = _inlined(program)
    for change in (_worked_out, functools.partial(_within, domain), _compared, _unbracketed):
        found = _changed(found, change)
    if _length(found) >= _length(program):
        return program
    try:
        result_type(found, domain)
    except DistillError:
        return program
    return found


def _length(program: Program) -> tuple[int, int]:
    """Nodes, then letters."""
    return size(program), len(to_python(program))


def _is_real(kind: t.Type) -> bool:
    return isinstance(kind.item if isinstance(kind, (t.Seq, t.Tensor)) else kind, t.Real)


def _changed(program: Program, change: Change) -> Program:
    """The program with a change made to every expression, the inner ones first."""

    def expr(e: Expr) -> Expr:
        return _rebuilt(e, change)

    def step(s: Assign | Append) -> Assign | Append:
        if isinstance(s, Append):
            return Append(s.name, expr(s.value))
        return Assign(s.names, tuple(expr(value) for value in s.values))

    def statement(s: Statement) -> Statement:
        match s:
            case Assign(names, values):
                return Assign(names, tuple(expr(value) for value in values))
            case Loop(_, source, state, body, _):
                begun = tuple((name, expr(first)) for name, first in state)
                return replace(s, source=expr(source), state=begun, body=tuple(map(step, body)))

    body = tuple(statement(s) for s in program.body)
    return replace(program, body=body, result=expr(program.result))


def _rebuilt(expr: Expr, change: Change) -> Expr:
    match expr:
        case Call(primitive, args, options):
            return change(Call(primitive, tuple(_rebuilt(a, change) for a in args), options))
        case Comprehension(element, targets, source, condition):
            kept = None if condition is None else _rebuilt(condition, change)
            parts = _rebuilt(element, change), targets, _rebuilt(source, change), kept
            return change(Comprehension(*parts))
        case _:
            return change(expr)


def _nodes(expr: Expr) -> int:
    return sum(1 for _ in walk(expr))


_LOOSE = {"ge": "gt", "le": "lt"}
_STRICT = {"gt": ("ge", -1), "lt": ("le", 1)}


def _compared(expr: Expr) -> Expr:
    """A comparison of sums with each term on the side where it is added, if that is shorter."""
    match expr:
        case Call("lt" | "le" | "gt" | "ge" | "eq" | "ne" as name, (left, right)):
            pass
        case _:
            return expr
    if not _arithmetic(left) and not _arithmetic(right):
        return expr
    if any(_may_be_fraction(node) for node in walk(expr)):
        return expr
    difference = _sum_of(left).plus(_sum_of(right), -1)
    if not difference.terms:
        return expr
    trials: list[tuple[str, _Sum]] = [(name, difference)]
    if name in _STRICT:
        loose, step = _STRICT[name]
        trials.append((loose, difference.plus(_Sum((), step))))
    elif name in _LOOSE:
        trials.append((_LOOSE[name], difference.plus(_Sum((), 1 if name == "ge" else -1))))
    written = [_apart(other, total) for other, total in trials]
    return min([expr, *written], key=_nodes)


_EXACT: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
}


def _worked_out(expr: Expr) -> Expr:
    """Sums and products of two whole numbers as numbers."""
    match expr:
        case Call(name, (Literal(int() as a), Literal(int() as b))) if name in _EXACT:
            return Literal(_EXACT[name](int(a), int(b)))
        case _:
            return expr


def _unbracketed(expr: Expr) -> Expr:
    """`a + (b - c)` as `a + b - c`."""
    match expr:
        case Call("add", (a, Call("add" | "sub" as name, (b, c)))) if not any(
            _may_be_fraction(node) for node in walk(expr)
        ):
            return Call(name, (_unbracketed(Call("add", (a, b))), c))
        case _:
            return expr


def _within(domain: Domain, expr: Expr) -> Expr:
    """A remainder, or one beside 0, without the division, where what is divided is smaller."""
    match expr:
        case Call("mod", (inner, Literal(int() as divisor))):
            low, high = _range(inner, domain)
            return inner if low >= 0 and high < divisor else expr
        case Call(
            "eq" | "ne" as name, (Call("mod", (inner, Literal(int() as divisor))), Literal(0))
        ):
            low, high = _range(inner, domain)
            return Call(name, (inner, Literal(0))) if -divisor < low and high < divisor else expr
        case _:
            return expr


def _range(expr: Expr, domain: Domain) -> tuple[float, float]:
    """The least and the greatest value of a sum of inputs; infinite for other expressions."""
    total = _sum_of(expr)
    low = high = float(total.number)
    for term, count in total.terms:
        match domain.types.get(term.name) if isinstance(term, Variable) else None:
            case t.Int(int() as least, int() as most):
                low += min(count * least, count * most)
                high += max(count * least, count * most)
            case _:
                return -math.inf, math.inf
    return low, high


def _arithmetic(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.primitive in ("add", "sub", "neg")


def _may_be_fraction(expr: Expr) -> bool:
    match expr:
        case Literal(value):
            return not isinstance(value, int)
        case Call(primitive):
            return primitive in _FRACTIONS
        case _:
            return False


def _sum_of(expr: Expr) -> _Sum:
    match expr:
        case Literal(int() as number):
            return _Sum((), int(number))
        case Call("add", (a, b)):
            return _sum_of(a).plus(_sum_of(b))
        case Call("sub", (a, b)):
            return _sum_of(a).plus(_sum_of(b), -1)
        case Call("neg", (a,)):
            return _Sum(()).plus(_sum_of(a), -1)
        case Call("mul", (Literal(int() as factor), a)) | Call(
            "mul", (a, Literal(int() as factor))
        ):
            return _Sum(()).plus(_sum_of(a), int(factor))
        case _:
            return _Sum(((expr, 1),))


def _apart(name: str, total: _Sum) -> Call:
    """`total compared with 0`, what is taken away on the right."""
    added = [(term, count) for term, count in total.terms if count > 0]
    taken = [(term, -count) for term, count in total.terms if count < 0]
    left = _written(added, max(total.number, 0))
    right = _written(taken, max(-total.number, 0))
    return Call(name, (left, right))


def _written(terms: list[tuple[Expr, int]], number: int) -> Expr:
    parts = [t if count == 1 else Call("mul", (Literal(count), t)) for t, count in terms]
    if number or not parts:
        parts.append(Literal(number))
    whole: Expr = parts[0]
    for part in parts[1:]:
        whole = Call("add", (whole, part))
    return whole


def _inlined(program: Program) -> Program:
    """Without the last names that the result alone uses, and once."""
    while program.body:
        match program.body[-1]:
            case Assign((name,), (value,)) if _nodes(value) <= _LONGEST:
                pass
            case _:
                return program
        uses = [node for node in walk(program.result) if node == Variable(name)]
        again = any(Variable(name) in walk(part) for part in _repeated(program.result))
        if len(uses) != 1 or again or _nodes(program.result) > _LONGEST:
            return program
        result = _rebuilt(program.result, functools.partial(_instead, name, value))
        program = replace(program, body=program.body[:-1], result=result)
    return program


def _repeated(expr: Expr) -> Iterator[Expr]:
    """What is carried out once for each item of a comprehension."""
    for node in walk(expr):
        if isinstance(node, Comprehension):
            yield node.element
            if node.condition is not None:
                yield node.condition


def _instead(name: str, value: Expr, expr: Expr) -> Expr:
    return value if expr == Variable(name) else expr
