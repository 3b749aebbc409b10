"""Programs that look beginnings up while they read: a machine, and answers that are exceptions.

Such a program numbers the word read so far, `word = size * word + symbol` from 1, and gives
`EXCEPTIONS.get(word, answer)`.  The numbering is undone here, so that the machine is proved without
it and each exception is asked for by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl.evaluate import run
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
    walk,
)
from verify.recurrent.machines import Alphabet

Body = tuple[Assign | Append, ...]
Beginning = tuple[int, ...]
"""Numbers of symbols, in the order of an alphabet."""


@dataclass(frozen=True, slots=True)
class Patched:
    """`base` without its exceptions, and the answer after each beginning that is one."""

    base: Program
    answers: dict[Beginning, Any]


def patched(program: Program, alphabet: Alphabet) -> Patched | None:
    """None where the program has no such exceptions."""
    match program.body:
        case (Loop() as loop,):
            pass
        case _:
            return None
    rewritten = _without_get(loop, program.result)
    if rewritten is None:
        return None
    body, result, table, variable = rewritten
    update, rest = _split(body, variable)
    first = dict(loop.state).get(variable)
    if update is None or first != Literal(1) or _mentions(rest, result, variable):
        return None
    order = _symbol_order(update, loop, variable, alphabet, program)
    entries = dict(program.constants).get(table)
    if order is None or not isinstance(entries, dict):
        return None
    answers = {}
    for code, value in entries.items():
        word = _decoded(code, order)
        if word is None:
            return None
        answers[word] = value
    state = tuple((name, start) for name, start in loop.state if name != variable)
    constants = tuple((name, value) for name, value in program.constants if name != table)
    bare = replace(loop, state=state, body=rest)
    return Patched(replace(program, body=(bare,), result=result, constants=constants), answers)


def _without_get(loop: Loop, result: Expr) -> tuple[Body, Expr, str, str] | None:
    """Body and result without the look-up, the name of its table and of its key."""
    match result:
        case Call("get", (Constant(table), Variable(key), answer)) if not loop.outputs:
            return loop.body, answer, table, key
    if len(loop.outputs) != 1 or result != Variable(loop.outputs[0]):
        return None
    body: list[Assign | Append] = []
    found: tuple[str, str] | None = None
    for statement in loop.body:
        match statement:
            case Append(name, Call("get", (Constant(table), Variable(key), answer))):
                if found is not None:
                    return None
                found = table, key
                body.append(Append(name, answer))
            case Append():
                return None
            case _:
                body.append(statement)
    return None if found is None else (tuple(body), result, *found)


def _split(body: Body, variable: str) -> tuple[Expr | None, Body]:
    """The value that the first statement gives the variable, and the statements that follow."""
    match body:
        case (Assign((name,), (value,)), *rest) if name == variable:
            return value, tuple(rest)
    return None, body


def _mentions(rest: Body, result: Expr, variable: str) -> bool:
    """Is the variable used or assigned again?"""
    outer = [result]
    for statement in rest:
        match statement:
            case Assign(names, values):
                if variable in names:
                    return True
                outer += values
            case Append(_, value):
                outer.append(value)
            case _:
                return True
    for expr in outer:
        for node in walk(expr):
            if node == Variable(variable):
                return True
            if isinstance(node, Comprehension) and variable in node.targets:
                return True
    return False


def _symbol_order(
    update: Expr, loop: Loop, variable: str, alphabet: Alphabet, program: Program
) -> np.ndarray | None:
    """For each number that the update adds, the symbol that it stands for; None unless these are
    0 to size - 1, each for one symbol of the alphabet."""
    size = len(alphabet)
    match update:
        case Call("add", (Call("mul", (Literal(base), Variable(name))), number)):
            if base != size or name != variable or isinstance(base, bool):
                return None
        case _:
            return None
    used = {node.name for node in walk(number) if isinstance(node, Variable)}
    if not used <= set(loop.targets) or any(isinstance(n, Constant) for n in walk(number)):
        return None
    inputs = tuple((name, None) for name in loop.targets)
    columns = dict(zip(loop.targets, alphabet.symbols, strict=True))
    try:
        values = run(Program("number", inputs, (), number), columns)
    except Undefined:
        return None
    if values.dtype.kind not in "iub" or values.shape != (size,):
        return None
    numbers = values.astype(np.int64)
    if not np.array_equal(np.sort(numbers), np.arange(size)):
        return None
    return np.asarray(np.argsort(numbers))


def _decoded(code: Any, order: np.ndarray) -> Beginning | None:
    """The symbols of a numbered word; None for what is no such number."""
    if not isinstance(code, int) or isinstance(code, bool) or code < 1:
        return None
    size, word = len(order), []
    if size < 2:
        return None
    while code >= size:
        code, digit = divmod(code, size)
        word.append(int(order[digit]))
    return tuple(reversed(word)) if code == 1 else None
