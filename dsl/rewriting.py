"""What passes over networks are written with: replaced calls, uses, patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from dsl.networks import bindings, results
from dsl.program import Assign, Call, Constant, Expr, Program, Variable

Shapes: TypeAlias = Mapping[str, np.ndarray]
"""Every value of the network on some rows: what passes look at for shapes and dtypes."""

Pass: TypeAlias = Callable[[Program, Shapes], Program]


def rewritten(network: Program, replaced: Mapping[str, Call | Variable | Constant]) -> Program:
    """The network with some calls replaced, or with names that stand for other values."""
    alias: dict[str, Expr] = {}

    def followed(expr: Expr) -> Expr:
        while isinstance(expr, Variable) and expr.name in alias:
            expr = alias[expr.name]
        return expr

    body = []
    for name, call in bindings(network):
        new = replaced.get(name, call)
        if not isinstance(new, Call):
            alias[name] = new
            continue
        args = tuple(followed(arg) for arg in new.args)
        body.append(Assign((name,), (Call(new.primitive, args, new.options),)))
    match network.result:
        case Call(primitive, args, options):
            result: Expr = Call(primitive, tuple(followed(arg) for arg in args), options)
        case one:
            result = followed(one)
    return replace(network, body=tuple(body), result=result)


def with_constants(network: Program, new: Mapping[str, np.ndarray]) -> Program:
    return replace(network, constants=(*network.constants, *new.items()))


def uses(network: Program) -> dict[str, int]:
    """How often each variable is read; results count."""
    counts: dict[str, int] = {}
    for _, call in bindings(network):
        for arg in call.args:
            if isinstance(arg, Variable):
                counts[arg.name] = counts.get(arg.name, 0) + 1
    for result in results(network):
        if isinstance(result, Variable):
            counts[result.name] = counts.get(result.name, 0) + 1
    return counts


def calls_of(network: Program) -> dict[str, Call]:
    return dict(bindings(network))


def made_by(expr: Expr, calls: Mapping[str, Call], primitive: str) -> Call | None:
    """The call that made a value, if it is one of this primitive."""
    if isinstance(expr, Variable):
        call = calls.get(expr.name)
        if call is not None and call.primitive == primitive:
            return call
    return None


def fresh(network: Program, name: str) -> str:
    taken = {key for key, _ in network.constants} | set(calls_of(network)) | set(network.parameters)
    unique, count = name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    return unique


def inserted(network: Program, before: str, name: str, call: Call) -> Program:
    """The network with one more binding, ahead of another."""
    body = []
    for statement in network.body:
        if isinstance(statement, Assign) and statement.names == (before,):
            body.append(Assign((name,), (call,)))
        body.append(statement)
    return replace(network, body=tuple(body))
