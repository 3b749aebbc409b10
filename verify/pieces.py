"""Programs over real and integer inputs as pieces: conditions on rows, and the value under them.

A piece says "where all these rows are >= 0, the program's value is this one".  The pieces of a
program hold everywhere and cover its domain; they may overlap, and conditions are closed, so a
claim that holds on every piece holds of the program.  Coefficients are exact fractions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias, assert_never

from dsl.primitives import PRIMITIVES
from dsl.primitives.base import Undefined
from dsl.program import (
    Assign,
    Call,
    Comprehension,
    Constant,
    Expr,
    Literal,
    Program,
    Variable,
)
from verify.forms import (
    Form,
    Rows,
    Untranslatable,
    Value,
    folded,
    form_of,
    items_of,
    kind_of,
    lifted,
    number,
    truth_of,
)
from verify.graph import Builder
from verify.relaxations import UNIT
from verify.vectors import Box

MOST = 4096
"""Programs with more pieces than this are left to other methods."""

Conditions: TypeAlias = frozenset[tuple[int, int, int]]
"""(test, choice, row): the row is >= 0 where the test comes out as the choice."""
Case: TypeAlias = "tuple[Conditions, Value]"


@dataclass(frozen=True, slots=True)
class Piece:
    """Where all the rows are >= 0, the program's value is `value`."""

    rows: tuple[int, ...]
    value: Value


@dataclass
class Translator:
    """Reads expressions over named values; `functions` remembers nodes made before."""

    rows: Rows
    scope: dict[str, tuple[Case, ...]]
    constants: Mapping[str, Any]
    made: dict[tuple[Any, ...], int] = field(default_factory=dict)
    tests: dict[Any, int] = field(default_factory=dict)
    context: int = 0

    def cases(self, expr: Expr) -> tuple[Case, ...]:
        match expr:
            case Literal(value):
                return ((frozenset(), lifted(value)),)
            case Constant(name):
                return ((frozenset(), lifted(self.constants[name])),)
            case Variable(name):
                if name not in self.scope:
                    raise Untranslatable(f"{name} has no value")
                return self.scope[name]
            case Call():
                return self.call(expr)
            case Comprehension():
                raise Untranslatable("a comprehension")
            case _:
                assert_never(expr)

    def call(self, call: Call) -> tuple[Case, ...]:
        args = call.args
        match call.primitive:
            case "ite":
                return self.joined(
                    (conditions, case)
                    for wanted, branch in ((True, args[1]), (False, args[2]))
                    for conditions in self.truth(args[0], wanted)
                    for case in self.cases(branch)
                )
            case "lt" | "le" | "gt" | "ge" | "eq" | "ne" | "and" | "or" | "not":
                return tuple(
                    (conditions, wanted)
                    for wanted in (True, False)
                    for conditions in self.truth(call, wanted)
                )
            case "find" if _place_of_extreme(call):
                sign = 1 if getattr(args[1], "primitive", "") == "max" else -1
                return self.joined(
                    (conditions, (more, number(place)))
                    for conditions, values in self.combinations(args[:1])
                    for more, place in self.places(items_of(values[0]), sign)
                )
            case _:
                return self.joined(
                    (conditions, case)
                    for conditions, values in self.combinations(args)
                    for case in self.applied(call.primitive, values)
                )

    def combinations(self, args: tuple[Expr, ...]) -> list[tuple[Conditions, tuple[Value, ...]]]:
        result: list[tuple[Conditions, tuple[Value, ...]]] = [(frozenset(), ())]
        for arg in args:
            cases = self.cases(arg)
            result = [
                (both, (*values, value))
                for conditions, values in result
                for more, value in cases
                if (both := self.merged(conditions, more)) is not None
            ]
            if len(result) > MOST:
                raise Untranslatable("too many pieces")
        return result

    def joined(self, parts: Any) -> tuple[Case, ...]:
        result = []
        for conditions, (more, value) in parts:
            both = self.merged(conditions, more)
            if both is not None:
                result.append((both, value))
        return self.limited(tuple(result))

    def limited(self, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        if len(cases) > MOST:
            raise Untranslatable("too many pieces")
        return cases

    def merged(self, a: Conditions, b: Conditions) -> Conditions | None:
        """Both; None where one test would have to come out in two ways, which never happens: the
        same expression has the same value wherever it stands."""
        if a and b:
            choices = {test: choice for test, choice, _ in a}
            if any(choices.get(test, choice) != choice for test, choice, _ in b):
                return None
        return a | b

    def test(self, key: Any) -> int:
        """The number of a test; the same for the same expression."""
        return self.tests.setdefault((self.context, key), len(self.tests))

    def truth(self, expr: Expr, wanted: bool) -> tuple[Conditions, ...]:
        """Conditions, one of which holds wherever the expression is `wanted`."""
        match expr:
            case Call("not", (inner,)):
                return self.truth(inner, not wanted)
            case Call("and" | "or" as name, args) if (name == "and") == wanted:
                parts = [self.truth(arg, wanted) for arg in args]
                found: list[Conditions] = []
                for choice in itertools.product(*parts):
                    both: Conditions | None = frozenset()
                    for conditions in choice:
                        both = None if both is None else self.merged(both, conditions)
                    if both is not None:
                        found.append(both)
                    if len(found) > MOST:
                        raise Untranslatable("too many pieces")
                return tuple(found)
            case Call("and" | "or", args):
                return tuple(c for arg in args for c in self.truth(arg, wanted))
            case Call("lt" | "le" | "gt" | "ge" | "eq" | "ne" as name, args):
                test = self.test(expr)
                return tuple(
                    both
                    for conditions, (a, b) in self.combinations(args)
                    for more in self.compared(test, name, a, b, wanted)
                    if (both := self.merged(conditions, more)) is not None
                )
        return tuple(
            conditions for conditions, value in self.cases(expr) if truth_of(value) == wanted
        )

    def compared(
        self, test: int, name: str, a: Value, b: Value, wanted: bool
    ) -> tuple[Conditions, ...]:
        if isinstance(a, bool):
            a = number(a)
        if isinstance(b, bool):
            b = number(b)
        if not (isinstance(a, Form) and isinstance(b, Form)):
            if name not in ("eq", "ne") or isinstance(a, tuple) or isinstance(b, tuple):
                raise Untranslatable(f"a comparison of {kind_of(a)} and {kind_of(b)}")
            return (frozenset(),) if ((a == b) == (name == "eq")) == wanted else ()
        match name:
            case "eq" | "ne" if (name == "eq") == wanted:
                above = self.atom(a - b, False, test, 0)
                below = self.atom(b - a, False, test, 0)
                return (above | below,) if above is not None and below is not None else ()
            case "eq" | "ne":
                sides = (self.atom(a - b, True, test, 1), self.atom(b - a, True, test, 2))
                return tuple(side for side in sides if side is not None)
        greater = name in ("gt", "ge")
        strict = name in ("gt", "lt")
        if not wanted:
            greater, strict = not greater, not strict
        condition = self.atom(a - b if greater else b - a, strict, test, int(wanted))
        return () if condition is None else (condition,)

    def atom(self, form: Form, strict: bool, test: int, choice: int) -> Conditions | None:
        """`form >= 0`, or > 0; None where it cannot hold.  Whole numbers are compared with halves,
        where rounding does not matter."""
        if not form.terms:
            holds = form.constant > 0 if strict else form.constant >= 0
            return frozenset() if holds else None
        if form.integral:
            half = number(0.5)
            form = form - half if strict else form + half
        return frozenset(((test, choice, self.rows.row(form)),))

    def applied(self, name: str, values: tuple[Value, ...]) -> list[Case]:
        """The cases of a primitive on values."""
        plain = [folded(value) for value in values]
        if all(known for known, _ in plain) and name in PRIMITIVES:
            try:
                return [(frozenset(), lifted(PRIMITIVES[name].value(*(v for _, v in plain))))]
            except Undefined:
                raise Untranslatable(f"{name} has no value") from None
        match name, tuple(number(v) if isinstance(v, bool) else v for v in values):
            case "list" | "tuple", items:
                return [(frozenset(), items)]
            case "add", (Form() as a, Form() as b):
                return [(frozenset(), a + b)]
            case "sub", (Form() as a, Form() as b):
                return [(frozenset(), a - b)]
            case "neg", (Form() as a,):
                return [(frozenset(), a.scaled(Fraction(-1), True))]
            case "mul", (Form() as a, Form() as b):
                return [(frozenset(), self.product(a, b))]
            case "truediv", (Form() as a, Form() as b):
                return [(frozenset(), self.quotient(a, b))]
            case "pow", (Form() as a, Form() as b) if not b.terms:
                return [(frozenset(), self.power(a, b.constant))]
            case "abs", (Form() as a,):
                return self.extreme((a, a.scaled(Fraction(-1), True)), 1)
            case "max", (tuple() as items,):
                return self.extreme(items, 1)
            case "min", (tuple() as items,):
                return self.extreme(items, -1)
            case "max", items:
                return self.extreme(items, 1)
            case "min", items:
                return self.extreme(items, -1)
            case "sum", (tuple() as items,):
                return [(frozenset(), self.summed(items))]
            case "dot", (tuple() as a, tuple() as b) if len(a) == len(b):
                products = [self.product(form_of(x), form_of(y)) for x, y in zip(a, b, strict=True)]
                return [(frozenset(), self.summed(tuple(products)))]
            case "index", (tuple() as items, Form() as place) if not place.terms:
                return [(frozenset(), items[int(place.constant)])]
            case "len", (tuple() as items,):
                return [(frozenset(), number(len(items)))]
            case ("sqrt" | "exp" | "log" | "tanh" | "sin" | "cos") as function, (Form() as a,):
                if function in ("sqrt", "log"):
                    raise Untranslatable(f"{function} of what may be negative")
                return [(frozenset(), self.function(function, a))]
        kinds = ", ".join(kind_of(value) for value in values)
        raise Untranslatable(f"{name} of {kinds}")

    def summed(self, items: tuple[Value, ...]) -> Form:
        total = number(0)
        for item in items:
            total = total + form_of(item)
        return total

    def product(self, a: Form, b: Form) -> Form:
        for one, other in ((a, b), (b, a)):
            if not one.terms:
                return other.scaled(one.constant, one.constant.denominator == 1)
        if (a.constant, a.terms) == (b.constant, b.terms):
            return self.function("power", a, 2.0)
        key = ("product", a.constant, a.terms, b.constant, b.terms)
        if key not in self.made:
            left, right = self.rows.entry(a), self.rows.entry(b)
            self.made[key] = self.rows.builder.product(left, right, unit=UNIT)
        return self.atomic(self.made[key], a.integral and b.integral)

    def quotient(self, a: Form, b: Form) -> Form:
        if not b.terms:
            if not b.constant:
                raise Untranslatable("a division by 0")
            return a.scaled(1 / b.constant)
        return self.product(a, self.function("reciprocal", b))

    def power(self, a: Form, exponent: Fraction) -> Form:
        if exponent.denominator != 1 or not 0 <= exponent <= 16:
            raise Untranslatable(f"the power {exponent}")
        match int(exponent):
            case 0:
                return number(1)
            case 1:
                return a
            case n:
                return self.function("power", a, float(n))

    def function(self, name: str, a: Form, parameter: float = 0.0) -> Form:
        key = (name, parameter, a.constant, a.terms)
        if key not in self.made:
            source = self.rows.entry(a)
            self.made[key] = self.rows.builder.function(
                name, source, parameter=parameter, noise=16 * UNIT * max(1.0, parameter)
            )
        return self.atomic(self.made[key], name == "power" and a.integral)

    def atomic(self, node: int, integral: bool) -> Form:
        one = Fraction(1)
        return Form(Fraction(0), (((node, 0), one),), (((node, 0), one),), 0, integral)

    def extreme(self, items: tuple[Value, ...], sign: int) -> list[Case]:
        """The greatest (least) of the items: a case for each, where it is."""
        return [(conditions, items[place]) for conditions, place in self.places(items, sign)]

    def places(self, items: tuple[Value, ...], sign: int) -> list[tuple[Conditions, int]]:
        """Where the greatest (least) of the items stands.  Of several that tie, the program takes
        one, and its case is among these."""
        forms = [form_of(item) for item in items]
        test = self.test((sign, tuple((form.constant, form.terms) for form in forms)))
        result: list[tuple[Conditions, int]] = []
        for place, one in enumerate(forms):
            conditions: Conditions | None = frozenset()
            for other_place, other in enumerate(forms):
                if other_place != place and conditions is not None:
                    gap = one - other if sign > 0 else other - one
                    more = self.atom(gap, False, test, place)
                    conditions = None if more is None else conditions | more
            if conditions is not None:
                result.append((conditions, place))
        return result


def _place_of_extreme(call: Call) -> bool:
    """Is this `s.index(max(s))`?"""
    match call.args:
        case (items, Call("max" | "min", (same,))):
            return items == same
    return False


def translator(builder: Builder, box: Box) -> Translator:
    scope: dict[str, tuple[Case, ...]] = {
        name: ((frozenset(), value),) for name, value in box.scope().items()
    }
    return Translator(Rows(builder), scope, {})


def pieces(program: Program, translate: Translator) -> tuple[Piece, ...]:
    """The pieces of a program; raises Untranslatable."""
    outer = translate.scope, translate.constants
    translate.scope = dict(translate.scope)
    translate.constants = dict(program.constants)
    translate.context += 1
    try:
        for statement in program.body:
            if not isinstance(statement, Assign):
                raise Untranslatable("a loop")
            if len(statement.names) != len(statement.values):
                raise Untranslatable("an unpacking")
            values = [translate.cases(value) for value in statement.values]
            translate.scope.update(zip(statement.names, values, strict=True))
        return tuple(
            Piece(tuple(sorted({row for _, _, row in conditions})), value)
            for conditions, value in translate.cases(program.result)
        )
    finally:
        translate.scope, translate.constants = outer
