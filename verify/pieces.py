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

import numpy as np

from dsl import types as t
from dsl.domain import Domain
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
from verify.graph import Affine, Builder, accumulated, matrix
from verify.relaxations import UNIT

MOST = 4096
"""Programs with more pieces than this are left to other methods."""


class Untranslatable(ValueError):
    """The program has an operation that has no pieces here; the message says which."""


Atom: TypeAlias = tuple[int, int]
"""A node of the graph and an entry of it."""


@dataclass(frozen=True, slots=True)
class Form:
    """`constant + sum of coefficient * atom`, exactly; `sizes` are the sums of the magnitudes
    that were added up for each atom (None for the constant), and `steps` the operations, for the
    rounding of an evaluation in float64.  `integral`: whole at all inputs of the domain."""

    constant: Fraction
    terms: tuple[tuple[Atom, Fraction], ...] = ()
    sizes: tuple[tuple[Atom | None, Fraction], ...] = ()
    steps: int = 0
    integral: bool = False

    def __add__(self, other: Form) -> Form:
        return _combined(self, other, Fraction(1))

    def __sub__(self, other: Form) -> Form:
        return _combined(self, other, Fraction(-1))

    def scaled(self, factor: Fraction, whole: bool = False) -> Form:
        return Form(
            self.constant * factor,
            tuple((atom, c * factor) for atom, c in self.terms),
            tuple((atom, size * abs(factor)) for atom, size in self.sizes),
            self.steps + 1,
            self.integral and whole,
        )


def number(value: bool | int | float) -> Form:
    exact = Fraction(value)
    return Form(exact, (), ((None, abs(exact)),), 0, exact.denominator == 1)


def _combined(a: Form, b: Form, sign: Fraction) -> Form:
    terms = dict(a.terms)
    for atom, c in b.terms:
        terms[atom] = terms.get(atom, Fraction(0)) + sign * c
    sizes: dict[Atom | None, Fraction] = dict(a.sizes)
    for place, size in b.sizes:
        sizes[place] = sizes.get(place, Fraction(0)) + size
    return Form(
        a.constant + sign * b.constant,
        tuple(sorted((atom, c) for atom, c in terms.items() if c)),
        tuple(sizes.items()),
        a.steps + b.steps + 1,
        a.integral and b.integral,
    )


Value: TypeAlias = "Form | bool | str | tuple[Value, ...] | None"
Conditions: TypeAlias = frozenset[tuple[int, int, int]]
"""(test, choice, row): the row is >= 0 where the test comes out as the choice."""
Case: TypeAlias = "tuple[Conditions, Value]"


@dataclass(frozen=True, slots=True)
class Piece:
    """Where all the rows are >= 0, the program's value is `value`."""

    rows: tuple[int, ...]
    value: Value


@dataclass
class Rows:
    """The rows that conditions and claims refer to, each once."""

    builder: Builder
    forms: list[Form] = field(default_factory=list)
    numbers: dict[tuple[Fraction, tuple[tuple[Atom, Fraction], ...]], int] = field(
        default_factory=dict
    )

    def row(self, form: Form) -> int:
        key = (form.constant, form.terms)
        if key not in self.numbers:
            self.numbers[key] = len(self.forms)
            self.forms.append(form)
        return self.numbers[key]

    def node(self, forms: list[Form] | None = None) -> int:
        """A node with the rows as entries; its noise covers their evaluation in float64."""
        forms = self.forms if forms is None else forms
        sources = sorted({atom[0] for form in forms for atom, _ in form.terms})
        tables = {s: np.zeros((len(forms), self.builder.nodes[s].size)) for s in sources}
        for place, form in enumerate(forms):
            for (source, entry), c in form.terms:
                tables[source][place, entry] = _float(c)
        bias = np.array([_float(form.constant) for form in forms])
        terms = tuple((source, matrix(tables[source])) for source in sources)
        # Rounding of the float64 evaluation, by the magnitudes that were added up.
        errors = {s: np.zeros((len(forms), self.builder.nodes[s].size)) for s in sources}
        absolute = np.zeros(len(forms))
        for place, form in enumerate(forms):
            unit = accumulated(form.steps + len(form.sizes) + 4, UNIT)
            for atom, size in form.sizes:
                if atom is None:
                    absolute[place] += unit * _float(size)
                else:
                    source, entry = atom
                    if source not in errors:
                        errors[source] = np.zeros((len(forms), self.builder.nodes[source].size))
                    errors[source][place, entry] += unit * _float(size)
        sizes = tuple((source, matrix(errors[source])) for source in sorted(errors))
        return self.builder.add(Affine(len(forms), terms, bias, 0.0, absolute, sizes))

    def entry(self, form: Form) -> int:
        """A node of one entry with the value of a form."""
        return self.node([form])


def _float(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        raise Untranslatable("a number beyond float64") from None


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
                    for more, place in self.places(_items(values[0]), sign)
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
            conditions for conditions, value in self.cases(expr) if _truthy(value) == wanted
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
                raise Untranslatable(f"a comparison of {_kind(a)} and {_kind(b)}")
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
                products = [self.product(_form(x), _form(y)) for x, y in zip(a, b, strict=True)]
                return [(frozenset(), self.summed(tuple(products)))]
            case "index", (tuple() as items, Form() as place) if not place.terms:
                return [(frozenset(), items[int(place.constant)])]
            case "len", (tuple() as items,):
                return [(frozenset(), number(len(items)))]
            case ("sqrt" | "exp" | "log" | "tanh" | "sin" | "cos") as function, (Form() as a,):
                if function in ("sqrt", "log"):
                    raise Untranslatable(f"{function} of what may be negative")
                return [(frozenset(), self.function(function, a))]
        kinds = ", ".join(_kind(value) for value in values)
        raise Untranslatable(f"{name} of {kinds}")

    def summed(self, items: tuple[Value, ...]) -> Form:
        total = number(0)
        for item in items:
            total = total + _form(item)
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
        forms = [_form(item) for item in items]
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


def _items(value: Value) -> tuple[Value, ...]:
    if not isinstance(value, tuple):
        raise Untranslatable(f"the greatest of {_kind(value)}")
    return value


def lifted(value: Any) -> Value:
    """A Python value as a value of pieces."""
    match value:
        case bool() | str() | None:
            return value
        case int():
            return number(value)
        case float():
            if not np.isfinite(value):
                raise Untranslatable("a number that is not finite")
            return number(value)
        case np.ndarray() | np.generic():
            return lifted(value.tolist())
        case tuple() | list():
            return tuple(lifted(item) for item in value)
    raise Untranslatable(f"a {type(value).__name__}")


def folded(value: Value) -> tuple[bool, Any]:
    """Whether a value is one plain Python value everywhere, and that value."""
    match value:
        case Form():
            if value.terms:
                return False, None
            exact = value.constant
            return True, int(exact) if value.integral else float(exact)
        case tuple():
            parts = [folded(item) for item in value]
            return all(known for known, _ in parts), [item for _, item in parts]
    return True, value


def _form(value: Value) -> Form:
    if isinstance(value, bool):
        return number(value)
    if not isinstance(value, Form):
        raise Untranslatable(f"arithmetic with {_kind(value)}")
    return value


def _truthy(value: Value) -> bool:
    known, plain = folded(value)
    if not known:
        raise Untranslatable("a number used as a truth value")
    return bool(plain)


def _kind(value: Value) -> str:
    match value:
        case Form():
            return "a number"
        case tuple():
            return "a list"
        case bool():
            return "a truth value"
    return "a text"


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """A domain as a box of vectors: each input takes some entries, in order."""

    low: np.ndarray
    high: np.ndarray
    whole: np.ndarray
    places: tuple[tuple[str, tuple[int, ...], int], ...]

    def batch(self, points: np.ndarray, domain: Domain) -> dict[str, np.ndarray]:
        """Points (B, d) as inputs of the domain."""
        result = {}
        for name, shape, start in self.places:
            count = int(np.prod(shape, dtype=int))
            column = points[:, start : start + count].reshape(len(points), *shape)
            kind = domain.types[name]
            item = kind.item if isinstance(kind, t.Tensor) else kind
            if not isinstance(item, t.Real):
                column = np.round(column).astype(bool if isinstance(item, t.Bool) else np.int64)
            result[name] = column
        return result

    def scope(self) -> dict[str, tuple[Case, ...]]:
        """The inputs as values of pieces."""
        return {
            name: ((frozenset(), self._value(shape, start)),) for name, shape, start in self.places
        }

    def _value(self, shape: tuple[int, ...], start: int) -> Value:
        if shape:
            inner = int(np.prod(shape[1:], dtype=int))
            return tuple(self._value(shape[1:], start + i * inner) for i in range(shape[0]))
        if self.low[start] == self.high[start]:
            return number(float(self.low[start]))
        one = Fraction(1)
        atom = (0, start)
        return Form(Fraction(0), ((atom, one),), ((atom, one),), 0, bool(self.whole[start]))


def box_of(domain: Domain) -> Box | None:
    """The domain's inputs as a box; None where they are not bounded numbers."""
    low: list[float] = []
    high: list[float] = []
    whole: list[bool] = []
    places = []
    for name, kind in domain.fields:
        shape: tuple[int, ...] = ()
        item: t.Type = kind
        if isinstance(kind, t.Tensor):
            item, shape = kind.item, kind.shape
        match item:
            case t.Real(float() | int() as bottom, float() | int() as top):
                limits = (float(bottom), float(top), False)
            case t.Int(int() as bottom, int() as top) if max(abs(bottom), abs(top)) < 2**50:
                limits = (float(bottom), float(top), True)
            case t.Bool():
                limits = (0.0, 1.0, True)
            case _:
                return None
        places.append((name, shape, len(low)))
        count = int(np.prod(shape, dtype=int))
        for column, limit in zip((low, high, whole), limits, strict=True):
            column.extend([limit] * count)  # type: ignore[attr-defined]
    return Box(np.array(low), np.array(high), np.array(whole, bool), tuple(places))


def translator(builder: Builder, box: Box) -> Translator:
    return Translator(Rows(builder), box.scope(), {})


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
