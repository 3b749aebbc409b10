"""Machines as programs: a loop over the sequences, written as a person would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dsl.program import (
    Append,
    Assign,
    Call,
    Comprehension,
    Expr,
    Literal,
    Loop,
    Program,
    Variable,
    children,
    walk,
)
from dsl.types import Type
from synth.recurrent.machine import Machine, symbol_names
from synth.recurrent.traces import Teacher

_RESULT = "outputs"


def to_program(
    machine: Machine, teacher: Teacher, inputs: tuple[tuple[str, Type | None], ...], name: str
) -> Program:
    """The program of a machine."""
    targets = symbol_names(teacher)
    sources = tuple(Variable(channel.name) for channel in teacher.channels)
    source: Expr = sources[0] if len(sources) == 1 else Call("zip", sources)
    if not machine.names:
        if teacher.every_step:
            result: Expr = Comprehension(tidy(machine.answer), targets, source)
        else:
            result = tidy(machine.answer)
        return Program(name, inputs, (), result)
    updates = [(machine.names[i], tidy(expr)) for i, expr in machine.updates]
    body: list[Assign | Append] = []
    if machine.simultaneous and len(updates) > 1:
        body += _assigned(updates)
    else:
        body += [Assign((n,), (expr,)) for n, expr in updates]
    if not teacher.every_step:
        loop = _loop(machine, targets, source, with_locals(body), ())
        return Program(name, inputs, (loop,), tidy(machine.answer))
    append = Append(_RESULT, tidy(machine.answer))
    body = [append, *body] if machine.before else [*body, append]
    loop = _loop(machine, targets, source, with_locals(body), (_RESULT,))
    return Program(name, inputs, (loop,), Variable(_RESULT))


def _loop(
    machine: Machine,
    targets: tuple[str, ...],
    source: Expr,
    body: list[Assign | Append],
    outputs: tuple[str, ...],
) -> Loop:
    state = tuple((n, Literal(value)) for n, value in zip(machine.names, machine.first))
    return Loop(targets, source, state, tuple(body), outputs)


def _assigned(updates: list[tuple[str, Expr]]) -> list[Assign]:
    """One assignment after the other where the order can be chosen so that each still reads old
    values; otherwise all at once."""
    left = dict(updates)
    ordered: list[Assign] = []
    while left:
        free = [n for n in left if not any(n in _names(e) for m, e in left.items() if m != n)]
        if not free:
            return [Assign(tuple(n for n, _ in updates), tuple(e for _, e in updates))]
        ordered.append(Assign((free[0],), (left.pop(free[0]),)))
    return ordered


def _names(expr: Expr) -> set[str]:
    return {node.name for node in walk(expr) if isinstance(node, Variable)}


def with_locals(body: list[Assign | Append]) -> list[Assign | Append]:
    """The body with a large expression that occurs more than once given a name."""
    counts: Counter[Expr] = Counter()
    for statement in body:
        for expr in _expressions(statement):
            counts.update(node for node in walk(expr) if isinstance(node, Call))
    repeated = [e for e, n in counts.items() if n > 1 and _size(e) >= 3]
    for expr in sorted(repeated, key=lambda e: -_size(e) * (counts[e] - 1)):
        uses = [i for i, s in enumerate(body) if any(expr in walk(e) for e in _expressions(s))]
        assigned = {n for s in body[uses[0] : uses[-1]] if isinstance(s, Assign) for n in s.names}
        if assigned & _names(expr) or counts[expr] * (_size(expr) - 1) <= _size(expr) + 1:
            continue
        used = {n for s in body for e in _expressions(s) for n in _names(e)} | {
            n for s in body if isinstance(s, Assign) for n in s.names
        }
        hint = "total" if isinstance(expr, Call) and expr.primitive in ("add", "sub") else "value"
        name = next(n for n in (hint, f"{hint}_2", f"{hint}_3") if n not in used)
        rest = [_replaced(s, expr, Variable(name)) for s in body]
        return [*rest[: uses[0]], Assign((name,), (expr,)), *rest[uses[0] :]]
    return body


def _expressions(statement: Assign | Append) -> tuple[Expr, ...]:
    return statement.values if isinstance(statement, Assign) else (statement.value,)


def _size(expr: Expr) -> int:
    return sum(1 for _ in walk(expr))


def _replaced(statement: Assign | Append, old: Expr, new: Expr) -> Assign | Append:
    match statement:
        case Assign(names, values):
            return Assign(names, tuple(_swapped(value, old, new) for value in values))
        case Append(name, value):
            return Append(name, _swapped(value, old, new))


def _swapped(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    match expr:
        case Call(name, args, options):
            return Call(name, tuple(_swapped(arg, old, new) for arg in args), options)
        case _:
            return expr


def tidy(expr: Expr) -> Expr:
    """The expression as a person would write it: sums without brackets, positive terms first."""
    match expr:
        case Call("add" | "sub"):
            return _sum(expr)
        case Call("mod", (Call("sub", (a, b)), m)) if isinstance(m, Literal):
            return Call("mod", (tidy(Call("sub", (a, b))), m))
        case Call(name, args, options):
            return Call(name, tuple(tidy(arg) for arg in args), options)
        case _:
            return expr


def _sum(expr: Expr) -> Expr:
    terms: Counter[Expr] = Counter()
    constant = 0
    for sign, term in _terms(expr, 1):
        if isinstance(term, Literal) and isinstance(term.value, int):
            constant += sign * int(term.value)
        else:
            terms[tidy(term)] += sign
    positive = [(t, n) for t, n in terms.items() if n > 0]
    negative = [(t, -n) for t, n in terms.items() if n < 0]
    parts = [_times(t, n) for t, n in positive]
    if constant > 0 and not parts:
        parts, constant = [Literal(constant)], 0
    if not parts:
        first = negative.pop(0) if negative else None
        if first is None:
            return Literal(constant)
        parts = [Call("neg", (_times(*first),))]
    result = parts[0]
    for part in parts[1:]:
        result = Call("add", (result, part))
    for term, n in negative:
        result = Call("sub", (result, _times(term, n)))
    if constant:
        result = Call("add" if constant > 0 else "sub", (result, Literal(abs(constant))))
    return result


def _times(term: Expr, count: int) -> Expr:
    return term if count == 1 else Call("mul", (Literal(count), term))


def _terms(expr: Expr, sign: int) -> Iterator[tuple[int, Expr]]:
    match expr:
        case Call("add", (a, b)):
            yield from _terms(a, sign)
            yield from _terms(b, sign)
        case Call("sub", (a, b)):
            yield from _terms(a, sign)
            yield from _terms(b, -sign)
        case Call("neg", (a,)):
            yield from _terms(a, -sign)
        case _:
            yield sign, expr


__all__ = ["children", "tidy", "to_program", "with_locals"]
