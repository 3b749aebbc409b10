"""The Z3 meaning of programs: terms over symbolic inputs, with the condition under which they have
a value.

Scalars are Z3 terms; sequences are Python lists of terms, so their lengths are numbers.  What has
no such meaning (a length that depends on values, the order of texts) raises Undefined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np

from dsl import types as t
from dsl.domain import Domain, Shape
from dsl.primitives import PRIMITIVES
from dsl.primitives.base import Undefined
from dsl.program import (
    Append,
    Assign,
    Call,
    Comprehension,
    Constant,
    Expr,
    Literal,
    Loop,
    Program,
    Variable,
)

_MOST_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Meaning:
    """A value (a term, or a list or tuple of values), and where it is defined."""

    value: Any
    defined: Any


def to_smt(program: Program, inputs: Mapping[str, Any]) -> Meaning:
    """The result of a program on symbolic inputs.  Raises Undefined for what has no meaning."""
    scope = _Scope(dict(program.constants), dict(inputs))
    for statement in program.body:
        match statement:
            case Assign():
                scope.assign(statement)
            case Loop():
                scope.loop(statement)
            case _:
                assert_never(statement)
    value = scope.term(program.result)
    return Meaning(value, conjunction(scope.conditions))


def symbols(domain: Domain, shape: Shape | None = None) -> dict[str, Any]:
    """A symbol for each input, a list of symbols for a sequence of the shape's length."""
    lengths = dict(shape.lengths) if shape is not None else {}
    return {name: _symbol(name, kind, lengths.get(name)) for name, kind in domain.fields}


def constraint(domain: Domain, inputs: Mapping[str, Any]) -> Any:
    """The Z3 condition that the inputs lie in the domain."""
    conditions = []
    for name, kind in domain.fields:
        terms = inputs[name] if isinstance(inputs[name], list) else [inputs[name]]
        item = kind.item if isinstance(kind, (t.Seq, t.Tensor)) else kind
        conditions += [_member(item, term) for term in terms]
    if domain.where is not None:
        parameters = tuple((name, None) for name in domain.names)
        where = to_smt(Program("where", parameters, (), domain.where), inputs)
        conditions += [truth(where.value), where.defined]
    return conjunction(conditions)


def truth(term: Any) -> Any:
    """The truth of a term, as Python has it: numbers are true unless 0."""
    import z3

    if isinstance(term, bool):
        return z3.BoolVal(term)
    return term if z3.is_bool(term) else term != 0


def conjunction(conditions: list[Any]) -> Any:
    import z3

    return z3.And(*conditions) if conditions else z3.BoolVal(True)


def literal(value: Any) -> Any:
    """A written value as a term; floats exactly, never through decimal digits."""
    import z3

    match value:
        case bool():
            return z3.BoolVal(value)
        case int():
            return z3.IntVal(value)
        case float():
            if not np.isfinite(value):
                raise Undefined("a number that is not finite has no Z3 meaning")
            numerator, denominator = value.as_integer_ratio()
            return z3.Q(numerator, denominator)
        case str():
            # Z3 reads \\u{..} in a text as one character.
            return z3.StringVal(value.replace("\\", "\\u{5c}"))
        case tuple() | list():
            return [literal(item) for item in value]
        case np.ndarray():
            return literal(value.tolist())
        case None:
            return None
    raise Undefined(f"{type(value).__name__} has no Z3 meaning")


def _symbol(name: str, kind: t.Type, length: int | None) -> Any:
    import z3

    match kind:
        case t.Bool():
            return z3.Bool(name)
        case t.Int():
            return z3.Int(name)
        case t.Real():
            return z3.Real(name)
        case t.Token(alphabet):
            if alphabet and isinstance(alphabet[0], str):
                return z3.String(name)
            return z3.Int(name) if all(isinstance(x, int) for x in alphabet) else z3.Real(name)
        case t.Seq(item, low, high):
            if length is None and low != high:
                raise Undefined("a sequence needs a length")
            count = low if length is None else length
            return [_symbol(f"{name}.{i}", item, None) for i in range(count)]
        case t.Tensor(item, (count,)):
            return [_symbol(f"{name}.{i}", item, None) for i in range(count)]
    raise Undefined(f"{kind} has no Z3 symbol")


def _member(kind: t.Type, term: Any) -> Any:
    import z3

    match kind:
        case t.Bool():
            return z3.BoolVal(True)
        case t.Int(low, high) | t.Real(low, high):
            ends = [] if low is None else [term >= literal(low)]
            return conjunction(ends + ([] if high is None else [term <= literal(high)]))
        case t.Token(alphabet):
            return z3.Or(*(term == literal(item) for item in alphabet))
    raise Undefined(f"{kind} has no Z3 condition")


@dataclass
class _Scope:
    """The variables in force; `conditions` collects what must hold for a value to exist, each
    under `path`, the condition under which Python would reach it."""

    constants: dict[str, Any]
    variables: dict[str, Any]
    conditions: list[Any] = field(default_factory=list)
    path: Any = None

    def require(self, condition: Any) -> None:
        import z3

        self.conditions.append(condition if self.path is None else z3.Implies(self.path, condition))

    def under(self, condition: Any) -> _Scope:
        import z3

        path = condition if self.path is None else z3.And(self.path, condition)
        return _Scope(self.constants, self.variables, self.conditions, path)

    def assign(self, statement: Assign) -> None:
        values = [self.term(value) for value in statement.values]
        if len(statement.names) > 1 and len(values) == 1:
            values = list(values[0])
        if len(values) != len(statement.names):
            raise Undefined(f"cannot unpack into {', '.join(statement.names)}")
        self.variables |= dict(zip(statement.names, values, strict=True))

    def loop(self, loop: Loop) -> None:
        self.variables |= {name: self.term(first) for name, first in loop.state}
        self.variables |= {name: [] for name in loop.outputs}
        for item in self.items(loop.source):
            self.variables |= _unpacked(loop.targets, item)
            for step in loop.body:
                match step:
                    case Assign():
                        self.assign(step)
                    case Append(name, value):
                        self.variables[name] = [*self.variables[name], self.term(value)]

    def term(self, expr: Expr) -> Any:
        match expr:
            case Literal(value):
                return literal(value)
            case Constant(name):
                value = self.constants[name]
                return value if isinstance(value, Mapping) else literal(value)
            case Variable(name):
                if name not in self.variables:
                    raise Undefined(f"{name} has no value yet")
                return self.variables[name]
            case Comprehension():
                return self.comprehension(expr)
            case Call():
                return self.call(expr)
            case _:
                assert_never(expr)

    def items(self, expr: Expr) -> list[Any]:
        value = self.term(expr)
        if not isinstance(value, (list, tuple)):
            raise Undefined("a sequence whose items are not known one by one")
        return list(value)

    def comprehension(self, expr: Comprehension) -> list[Any]:
        result = []
        for item in self.items(expr.source):
            inner = _Scope(
                self.constants,
                self.variables | _unpacked(expr.targets, item),
                self.conditions,
                self.path,
            )
            if expr.condition is not None:
                raise Undefined("a sequence whose length depends on its values")
            result.append(inner.term(expr.element))
        return result

    def call(self, call: Call) -> Any:
        import z3

        primitive = PRIMITIVES[call.primitive]
        match call.primitive, call.args:
            case "ite", (condition, then, otherwise):
                test = truth(self.term(condition))
                a = self.under(test).term(then)
                b = self.under(z3.Not(test)).term(otherwise)
                return _chosen(test, a, b)
            case "and" | "or", (first, *rest):
                result = self.term(first)
                for arg in rest:
                    test = truth(result)
                    reached = test if call.primitive == "and" else z3.Not(test)
                    result = primitive.smt(result, self.under(reached).term(arg))
                return result
            case "sum" | "any" | "all" | "max" | "min", (Comprehension() as inner,) if (
                inner.condition is not None and call.primitive not in ("max", "min")
            ):
                return self.conditional_aggregate(call.primitive, inner)
        args = [self.term(arg) for arg in call.args]
        if any(isinstance(arg, (list, tuple, Mapping)) for arg in args) or call.primitive in _OWN:
            return self.sequence(call.primitive, args)
        if any(arg is None for arg in args):
            raise Undefined("None has no Z3 meaning")
        if call.primitive in ("floordiv", "mod", "truediv"):
            self.require(_number(args[1]) != 0)
        if call.primitive not in ("eq", "ne") and any(_is_text(arg) for arg in args):
            raise Undefined(f"{call.primitive} of texts has no Z3 meaning")
        if call.primitive in ("eq", "ne") and _is_text(args[0]) != _is_text(args[1]):
            return z3.BoolVal(call.primitive == "ne")
        return primitive.smt(*args)

    def conditional_aggregate(self, name: str, inner: Comprehension) -> Any:
        """`sum(e for x in xs if c)` and its like, item by item."""
        import z3

        kept: list[tuple[Any, Any]] = []
        assert inner.condition is not None
        for item in self.items(inner.source):
            scope = _Scope(
                self.constants,
                self.variables | _unpacked(inner.targets, item),
                self.conditions,
                self.path,
            )
            test = truth(scope.term(inner.condition))
            kept.append((test, scope.under(test).term(inner.element)))
        match name:
            case "sum":
                return _sum([z3.If(test, _number(value), 0) for test, value in kept])
            case "any":
                return z3.Or(*(z3.And(test, truth(value)) for test, value in kept))
            case _:
                return z3.And(*(z3.Implies(test, truth(value)) for test, value in kept))

    def sequence(self, name: str, args: list[Any]) -> Any:
        """The primitives on sequences whose lengths are numbers."""
        import z3

        match name, args:
            case "len", [list() as items]:
                return z3.IntVal(len(items))
            case "sum", [list() as items]:
                return _sum([_number(item) for item in items])
            case "any", [list() as items]:
                return z3.Or(*(truth(item) for item in items))
            case "all", [list() as items]:
                return z3.And(*(truth(item) for item in items))
            case "max" | "min", _:
                items = args if len(args) > 1 else list(args[0])
                if not items:
                    self.require(z3.BoolVal(False))
                    return z3.IntVal(0)
                if any(_is_text(item) for item in items):
                    raise Undefined(f"{name} of texts has no Z3 meaning")
                return PRIMITIVES[name].smt(*(_number(item) for item in items))
            case "list", items:
                return list(items)
            case "tuple", items:
                return tuple(items)
            case "range", _:
                ends = [_whole(arg) for arg in args]
                span = range(*ends) if len(ends) < 3 or ends[2] else range(0)
                if len(span) > _MOST_ITEMS:
                    raise Undefined("a long range has no Z3 meaning")
                return [z3.IntVal(i) for i in span]
            case "enumerate", [list() as items]:
                return [(z3.IntVal(i), item) for i, item in enumerate(items)]
            case "zip", _:
                return [tuple(row) for row in zip(*args, strict=False)]
            case "add", [list() as a, list() as b]:
                return a + b
            case "mul", [list() as items, count]:
                return items * max(0, _whole(count))
            case "slice", [list() as items, *ends]:
                numbers = [None if end is None else _whole(end) for end in ends]
                if numbers[2] == 0:
                    raise Undefined("a slice with step 0")
                return items[slice(*numbers)]
            case "index", [(list() | tuple()) as items, position]:
                return self.item(list(items), position)
            case "contains", [item, list() as items]:
                return z3.Or(*(_same(item, other) for other in items))
            case "count", [list() as items, item]:
                return _sum([z3.If(_same(other, item), 1, 0) for other in items])
            case "find", [list() as items, item]:
                hits = [_same(other, item) for other in items]
                self.require(z3.Or(*hits))
                result: Any = z3.IntVal(0)
                for place in reversed(range(len(items))):
                    result = z3.If(hits[place], z3.IntVal(place), result)
                return result
            case "dot", [list() as a, list() as b] if len(a) == len(b):
                return _sum([_number(x) * _number(y) for x, y in zip(a, b, strict=True)])
            case "eq", [a, b]:
                return _same(a, b)
            case "ne", [a, b]:
                return z3.Not(_same(a, b))
            case "index", [Mapping() as table, key]:
                self.require(z3.Or(*(_same(literal(k), key) for k in table)))
                entries = list(table.items())
                return self.looked_up(entries[:-1], key, literal(entries[-1][1]))
            case "get", [Mapping() as table, key, default]:
                return self.looked_up(list(table.items()), key, default)
            case "contains", [item, Mapping() as table]:
                return z3.Or(*(_same(item, literal(key)) for key in table))
        raise Undefined(f"{name} has no Z3 meaning here")

    def looked_up(self, entries: list[tuple[Any, Any]], key: Any, default: Any) -> Any:
        result = default
        for known, value in reversed(entries):
            result = _chosen(_same(_record(known), key), literal(value), result)
        return result

    def item(self, items: list[Any], position: Any) -> Any:
        import z3

        index = _number(position)
        if not z3.is_int(index):
            raise Undefined("an index is an integer")
        self.require(z3.And(index >= -len(items), index < len(items)))
        if not items:
            return z3.IntVal(0)
        result = items[-1]
        for place in reversed(range(len(items) - 1)):
            hit = z3.Or(index == place, index == place - len(items))
            result = _chosen(hit, items[place], result)
        return result


_OWN = ("list", "tuple", "range", "max", "min")


def _record(key: Any) -> Any:
    return tuple(literal(part) for part in key) if isinstance(key, tuple) else literal(key)


def _unpacked(names: tuple[str, ...], item: Any) -> dict[str, Any]:
    parts = (item,) if len(names) == 1 else tuple(item)
    return dict(zip(names, parts, strict=True))


def _is_text(term: Any) -> bool:
    import z3

    return bool(z3.is_string(term))


def _number(term: Any) -> Any:
    import z3

    return z3.If(term, z3.IntVal(1), z3.IntVal(0)) if z3.is_bool(term) else term


def _whole(term: Any) -> int:
    import z3

    value = z3.simplify(_number(term))
    if not z3.is_int_value(value):
        raise Undefined("a length that depends on values has no Z3 meaning")
    return int(value.as_long())


def _sum(terms: list[Any]) -> Any:
    import z3

    return z3.Sum(*terms) if terms else z3.IntVal(0)


def _same(a: Any, b: Any) -> Any:
    """Where two values are equal; sequences item by item."""
    import z3

    if isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)):
        if type(a) is not type(b) or len(a) != len(b):
            return z3.BoolVal(False)
        return conjunction([_same(x, y) for x, y in zip(a, b, strict=True)])
    if _is_text(a) != _is_text(b):
        return z3.BoolVal(False)
    return _number(a) == _number(b)


def _chosen(test: Any, a: Any, b: Any) -> Any:
    import z3

    if isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)):
        if type(a) is not type(b) or len(a) != len(b):
            raise Undefined("the branches of a conditional have different lengths")
        return type(a)(_chosen(test, x, y) for x, y in zip(a, b, strict=True))
    if _is_text(a) != _is_text(b):
        raise Undefined("the branches of a conditional have different kinds of values")
    if z3.is_bool(a) != z3.is_bool(b):
        a, b = _number(a), _number(b)
    return z3.If(test, a, b)
