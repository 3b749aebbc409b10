"""Programs that follow a network where it leaves the rule.

A few whole words are looked up first.  More exceptions, or such beginnings after which the word may
go on as it likes, are numbers of a table: the loop numbers the word as it reads it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dsl import types as t
from dsl.agreement import agreeing
from dsl.claim import Refuted, Target
from dsl.domain import single
from dsl.errors import DistillError
from dsl.networks import parameters
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
from synth.problem import Observations

MOST = 6
"""More exceptions than this are written as numbers."""
TABLE, WORD = "EXCEPTIONS", "word"
_WEIGHT = 32
"""Bits of one weight."""
_UNKNOWN = 100_000
"""Bits that exceptions may take beside a network of unknown size."""
_LARGEST = 2.0**62

Exceptional = tuple[Mapping[str, Any], Any]
"""A beginning of a word, by name, and the network's answer after its last symbol."""


def with_words(program: Program, target: Target, refuted: Refuted) -> Program | None:
    """The program with the words on which a refutation says that it differs from the network
    answered as the network does; None where they are not all known, or where they would take more
    bits than the network itself."""
    words = refuted.evidence.get("beginnings")
    if not words or refuted.evidence.get("differing_beginnings") != len(words) > 0:
        return None
    if len(words) > MOST or not all(target.domain.contains(**word) for word in words):
        return with_beginnings(program, target, _answered(words, target))
    values = (target.evaluate(single(target.domain, dict(word))).values for word in words)
    answers = (value[0].tolist() if hasattr(value[0], "tolist") else value[0] for value in values)
    return _with_whole(program, zip(words, answers, strict=True))


def _with_whole(program: Program, exceptions: Iterable[Exceptional]) -> Program:
    """The program with whole words looked up first, one after the other."""
    result = program.result
    for word, answer in exceptions:
        result = Call("ite", (_equals(word), _written(answer), result))
    return replace(program, result=result)


def with_beginnings(
    program: Program, target: Target, exceptions: Iterable[Exceptional]
) -> Program | None:
    """The program with a table of numbered beginnings, one answer for each."""
    names, channels = target.domain.names, _channels(target)
    listed = list(exceptions)
    looped = _looped(program)
    if channels is None or not listed or looped is None:
        return None
    loop, result = looped
    size = math.prod(len(symbols) for symbols in channels)
    longest = max(len(next(iter(word.values()))) for word, _ in listed)
    span = next(iter(target.domain.types.values()))
    assert isinstance(span, t.Seq)
    if size < 2 or float(size) ** (max(longest, span.high or 0) + 1) > _LARGEST:
        return None
    places = [{symbol: i for i, symbol in enumerate(symbols)} for symbols in channels]
    table = {}
    for word, answer in listed:
        code = 1
        for row in zip(*(word[name] for name in names)):
            symbol_number = 0
            for place, symbol in zip(places, row, strict=True):
                symbol_number = symbol_number * len(place) + place[symbol]
            code = code * size + symbol_number
        table[code] = answer
    if _table_bits(table) > _network_bits(target):
        return None
    taken = {name for name, _ in (*loop.state, *program.constants)} | {*names, *loop.targets}
    taken |= {n for s in loop.body if isinstance(s, Assign) for n in s.names}
    if TABLE in taken or WORD in taken:
        return None
    longer: Expr = Call("mul", (Literal(size), Variable(WORD)))
    update = Assign((WORD,), (Call("add", (longer, _number(loop.targets, channels))),))
    body = (update, *(_looking_up(statement) for statement in loop.body))
    state = (*loop.state, (WORD, Literal(1)))
    if not loop.outputs:
        result = Call("get", (Constant(TABLE), Variable(WORD), result))
    ordered = dict(sorted(table.items()))
    return replace(
        program,
        body=(replace(loop, state=state, body=body),),
        result=result,
        constants=(*program.constants, (TABLE, ordered)),
    )


def with_observed(
    program: Program, target: Target, observations: Sequence[Observations]
) -> Program | None:
    """The program with every word on which it was seen to be wrong as an exception: a few of them
    whole, more of them where words have one answer each; None for other targets."""
    channels = _channels(target)
    if channels is None or any(o.values.dtype.kind in "fO" for o in observations):
        return None
    found: list[Exceptional] = []
    for o in observations:
        same = agreeing(program, o.inputs, o.values, target.claim.decode)
        for row in np.flatnonzero(~same):
            word = {name: column[row].tolist() for name, column in o.inputs.items()}
            found.append((word, o.values[row : row + 1].tolist()[0]))
    if any(o.values.ndim != 1 for o in observations):
        return _with_whole(program, found) if len(found) <= MOST else None
    return with_beginnings(program, target, found)


def _answered(words: list[Mapping[str, Any]], target: Target) -> list[Exceptional]:
    """Each beginning with what the network answers after it."""
    found: list[Exceptional] = []
    span = next(iter(target.domain.types.values()))
    channels = _channels(target)
    if not isinstance(span, t.Seq) or channels is None:
        return []
    by_length: dict[int, list[Mapping[str, Any]]] = {}
    for word in words:
        by_length.setdefault(len(next(iter(word.values()))), []).append(word)
    for length, group in sorted(by_length.items()):
        if length == 0:
            return []
        batch = {}
        for name, symbols in zip(target.domain.names, channels, strict=True):
            fill = [symbols[0]] * max(0, span.low - length)
            batch[name] = np.array([[*word[name], *fill] for word in group])
        values = target.evaluate(batch).values
        if values.ndim == 2:
            values = values[:, length - 1]
        found += list(zip(group, values.tolist(), strict=True))
    return found


def _channels(target: Target) -> list[tuple[Any, ...]] | None:
    """The items of each sequence, in order; None for other domains."""
    found: list[tuple[Any, ...]] = []
    for kind in target.domain.types.values():
        match kind:
            case t.Seq(t.Int(low, high), _, _) if low is not None and high is not None:
                found.append(tuple(range(low, high + 1)))
            case t.Seq(t.Bool(), _, _):
                found.append((False, True))
            case t.Seq(t.Token(alphabet), _, _) if alphabet:
                found.append(tuple(alphabet))
            case _:
                return None
    return found


def _looped(program: Program) -> tuple[Loop, Expr] | None:
    """The one loop of a program and its result; a comprehension is written as a loop, and what has
    no loop gets one that does nothing yet."""
    match program.body, program.result:
        case (Loop() as loop,), result:
            if loop.outputs and result != Variable(loop.outputs[0]):
                return None
            return loop, result
        case (), Comprehension(element, targets, source, None):
            loop = Loop(targets, source, (), (Append("outputs", element),), ("outputs",))
            return loop, Variable("outputs")
        case (), result:
            names = program.parameters
            sources = tuple(Variable(name) for name in names)
            whole: Expr = sources[0] if len(sources) == 1 else Call("zip", sources)
            return Loop(tuple(f"{name}_t" for name in names), whole, (), (), ()), result
    return None


def _looking_up(statement: Assign | Append) -> Assign | Append:
    match statement:
        case Append(name, value):
            return Append(name, Call("get", (Constant(TABLE), Variable(WORD), value)))
    return statement


def _number(targets: tuple[str, ...], channels: list[tuple[Any, ...]]) -> Expr:
    """The number of a symbol, from 0, as an expression over the loop's variables."""
    result: Expr | None = None
    for name, symbols in zip(targets, channels, strict=True):
        own: Expr = Variable(name)
        if isinstance(symbols[0], str) or symbols[0] != 0:
            own = Call("find", (Literal(symbols), own))
        if isinstance(symbols[0], int) and not isinstance(symbols[0], bool) and symbols[0] != 0:
            sign = "sub" if symbols[0] > 0 else "add"
            own = Call(sign, (Variable(name), Literal(abs(symbols[0]))))
        if result is not None:
            result = Call("add", (Call("mul", (Literal(len(symbols)), result)), own))
        else:
            result = own
    assert result is not None
    return result


def _table_bits(table: Mapping[int, Any]) -> float:
    """Bits of which numbers there are, as a set, and of the answer to each."""
    count = len(table)
    which = count * math.log2(max(table)) - math.lgamma(count + 1) / math.log(2)
    return which + count * math.log2(len(set(table.values())) + 1)


def _network_bits(target: Target) -> float:
    """The bits of a network's weights: a longer list of exceptions explains nothing."""
    span = next(iter(target.domain.types.values()))
    length = span.high or max(span.low, 2) if isinstance(span, t.Seq) else 1
    batch = next(iter(target.domain.sample(1, np.random.default_rng(0))), None)
    if batch is None:
        return _UNKNOWN
    batch = {name: np.repeat(column[:1, :1], length, axis=1) for name, column in batch.items()}
    try:
        network = target.network(tuple(target.pack(batch).shape[1:]))
    except (DistillError, IndexError):
        return _UNKNOWN
    if network is None:
        return _UNKNOWN
    return _WEIGHT * float(sum(value.size for value in parameters(network).values()))


def _equals(word: Mapping[str, Any]) -> Expr:
    tests: list[Expr] = [
        Call("eq", (Variable(name), _written(items))) for name, items in word.items()
    ]
    return functools.reduce(lambda a, b: Call("and", (a, b)), tests)


def _written(value: Any) -> Expr:
    if isinstance(value, (list, tuple)):
        return Call("list", tuple(_written(item) for item in value))
    return Literal(value)
