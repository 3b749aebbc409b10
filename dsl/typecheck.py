"""The types of a program's expressions on a domain, with the place of whatever does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, assert_never

import numpy as np

from dsl import types as t
from dsl.domain import Domain
from dsl.errors import DistillError, Place
from dsl.parser import Places, parse_with_places
from dsl.primitives import PRIMITIVES
from dsl.primitives.base import TypeMismatch, joined
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

_ROUNDS = 6


def typed(text: str, domain: Domain, source: str = "program") -> Program:
    """The program of a text whose types fit a domain.  Raises DistillError D101 or D102, with the
    place."""
    program, places = parse_with_places(text, source)
    result_type(program, domain, places)
    return program


def result_type(program: Program, domain: Domain, places: Places | None = None) -> t.Type:
    """The type of a program's result on the inputs of a domain.

    Raises DistillError D102, with line and column where `places` (see `dsl.parser`) are given: an
    input that the domain lacks, a name without a value, arguments that a primitive does not take,
    a variable of a loop that changes its kind.
    """
    known = domain.types
    for name in program.parameters:
        if name not in known:
            raise DistillError(
                "D102",
                f"the program takes `{name}`, which is no input of `{domain}`",
                remedy=f"inputs: {', '.join(known)}",
            )
    checker = _Checker(
        {name: known[name] for name in program.parameters},
        {name: constant_type(value) for name, value in program.constants},
        places or {},
    )
    for statement in program.body:
        match statement:
            case Assign():
                checker.assign(statement)
            case Loop():
                checker.loop(statement)
            case _:
                assert_never(statement)
    return checker.type_of(program.result)


def constant_type(value: Any) -> t.Type:
    """The type of a written value; a tuple of things of one kind is a sequence."""
    match value:
        case bool() | np.bool_():
            return t.Bool()
        case int() | np.integer():
            return t.Int(int(value), int(value))
        case float() | np.floating():
            return t.Real()
        case str():
            return t.Token()
        case np.ndarray():
            return constant_type(value.tolist())
        case Mapping():
            keys, values = (_common([constant_type(x) for x in part]) for part in _sides(value))
            return t.Mapping(keys or t.Int(), values or t.Int())
        case tuple() | list():
            items = [constant_type(item) for item in value]
            common = _common(items)
            if common is not None or not items:
                return t.Seq(common or t.Int(), len(items), len(items))
            return t.Record(tuple(items))
        case None:
            return t.Record(())
    raise DistillError("D102", f"{type(value).__name__} is no constant of the language")


def _sides(table: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(table.keys()), list(table.values())


def _common(kinds: list[t.Type]) -> t.Type | None:
    """The least type of all; None where there is none, or nothing is given."""
    if not kinds:
        return None
    result = kinds[0]
    try:
        for kind in kinds[1:]:
            result = joined(result, kind)
    except TypeMismatch:
        return None
    return result


@dataclass
class _Checker:
    variables: dict[str, t.Type]
    constants: dict[str, t.Type]
    places: Places

    def refuse(self, finding: str, expr: Expr | None = None) -> NoReturn:
        _, place = self.places.get(id(expr), (None, None))
        raise DistillError("D102", finding, place=place if isinstance(place, Place) else None)

    def assign(self, statement: Assign) -> None:
        kinds = [self.type_of(value) for value in statement.values]
        if len(kinds) == 1 < len(statement.names):
            match kinds[0]:
                case t.Record(items) if len(items) == len(statement.names):
                    kinds = list(items)
                case _:
                    self.refuse(
                        f"{kinds[0]} has not {len(statement.names)} items", statement.values[0]
                    )
        self.variables |= dict(zip(statement.names, kinds, strict=True))

    def loop(self, loop: Loop) -> None:
        """State types are joined over rounds until they no longer change."""
        item = self.item(loop.source)
        for name, first in loop.state:
            self.variables[name] = self.type_of(first)
        outputs: dict[str, t.Type] = {}
        for _ in range(_ROUNDS):
            before = dict(self.variables)
            self.unpack(loop.targets, item, loop.source)
            for step in loop.body:
                match step:
                    case Assign():
                        self.assign(step)
                    case Append(name, value):
                        kind = self.type_of(value)
                        outputs[name] = self.join(outputs.get(name, kind), kind, value)
            for name, first in loop.state:
                self.variables[name] = self.join(before[name], self.variables[name], first)
            if all(self.variables[name] == before[name] for name, _ in loop.state):
                break
        self.variables |= {name: t.Seq(outputs.get(name, t.Int())) for name in loop.outputs}

    def join(self, one: t.Type, other: t.Type, expr: Expr) -> t.Type:
        try:
            return joined(one, other)
        except TypeMismatch as mismatch:
            self.refuse(str(mismatch), expr)

    def item(self, source: Expr) -> t.Type:
        kind = self.type_of(source)
        match kind:
            case t.Seq(item):
                return item
            case t.Tensor(item, shape):
                return item if len(shape) == 1 else t.Tensor(item, shape[1:])
            case t.Record(items) if (common := _common(list(items))) is not None:
                return common
        self.refuse(f"`for` goes through a sequence, not {kind}", source)

    def unpack(self, names: tuple[str, ...], kind: t.Type, source: Expr) -> None:
        if len(names) == 1:
            self.variables[names[0]] = kind
            return
        match kind:
            case t.Record(items) if len(items) == len(names):
                self.variables |= dict(zip(names, items, strict=True))
            case _:
                self.refuse(f"{kind} cannot be unpacked into {len(names)} names", source)

    def type_of(self, expr: Expr) -> t.Type:
        match expr:
            case Literal(value):
                return constant_type(value)
            case Constant(name):
                return self.constants[name]
            case Variable(name):
                if name not in self.variables:
                    self.refuse(f"{name} has no value yet", expr)
                return self.variables[name]
            case Comprehension(element, targets, source, condition):
                outer = dict(self.variables)
                self.unpack(targets, self.item(source), source)
                if condition is not None:
                    self.truth(condition)
                kind = self.type_of(element)
                self.variables = outer
                return t.Seq(kind)
            case Call():
                return self.call(expr)
            case _:
                assert_never(expr)

    def truth(self, expr: Expr) -> None:
        kind = self.type_of(expr)
        if not isinstance(kind, (t.Bool, t.Int, t.Real)):
            self.refuse(f"a condition is a truth value, not {kind}", expr)

    def call(self, call: Call) -> t.Type:
        """A chain of conditionals is gone through without recursion."""
        results: list[tuple[t.Type, Call]] = []
        rest: Expr = call
        while isinstance(rest, Call) and rest.primitive == "ite":
            self.truth(rest.args[0])
            results.append((self.type_of(rest.args[1]), rest))
            rest = rest.args[2]
        if results:
            kind = self.type_of(rest)
            for branch, place in reversed(results):
                kind = self.join(branch, kind, place)
            return kind
        if call.primitive not in PRIMITIVES:
            self.refuse(f"{call.primitive} is no primitive of programs", call)
        kinds = [self.type_of(arg) for arg in call.args]
        try:
            return PRIMITIVES[call.primitive].type(*kinds)
        except TypeMismatch as mismatch:
            self.refuse(str(mismatch), call)
        except (ValueError, IndexError):
            self.refuse(f"{call.primitive} does not take {len(kinds)} arguments", call)
