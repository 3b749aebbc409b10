"""Finite machines as programs that look their moves up in a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsl.program import Append, Assign, Call, Constant, Expr, Literal, Loop, Program, Variable
from dsl.types import Type
from synth.recurrent.automata import Automaton
from synth.recurrent.machine import symbol_names
from synth.recurrent.traces import Teacher

ENTRIES = 2000
"""Larger tables are not written."""
_OUTPUTS = "outputs"


def tabulated(
    found: Automaton, teacher: Teacher, inputs: tuple[tuple[str, Type | None], ...], name: str
) -> Program | None:
    """The program of a machine; None where its table is too large to be written.  Its values are
    numbers, or truth values where the teacher's labels are."""
    if found.moves.size > ENTRIES:
        return None
    targets = symbol_names(teacher)
    sources = tuple(Variable(channel.name) for channel in teacher.channels)
    source: Expr = sources[0] if len(sources) == 1 else Call("zip", sources)
    symbol = symbol_number(teacher)
    state = Variable("state")
    constants: list[tuple[str, Any]] = [("MOVES", _nested(found.moves))]
    move: Expr = Call("index", (Call("index", (Constant("MOVES"), state)), symbol))
    step = Assign(("state",), (move,))
    truth = teacher.labels == (False, True)
    of_states = found.answers if not found.every_step else _of_states(found)
    if of_states is not None:
        answer, more = _of_state(of_states, truth)
        constants += more
        body: tuple[Assign | Append, ...] = (step,)
    else:
        constants.append(
            ("ANSWERS", _nested(found.answers.astype(bool) if truth else found.answers))
        )
        answer = Call("index", (Call("index", (Constant("ANSWERS"), state)), symbol))
        body = ()
    start = (("state", Literal(0)),)
    if not found.every_step:
        loop = Loop(targets, source, start, (step,), ())
        return Program(name, inputs, (loop,), answer, tuple(constants))
    append = Append(_OUTPUTS, answer)
    body = (step, append) if body else (append, step)
    loop = Loop(targets, source, start, body, (_OUTPUTS,))
    return Program(name, inputs, (loop,), Variable(_OUTPUTS), tuple(constants))


def symbol_number(teacher: Teacher) -> Expr:
    """The number of a symbol, from 0, as an expression over the loop's variables."""
    result: Expr | None = None
    for channel, name in zip(teacher.channels, symbol_names(teacher), strict=True):
        variable = Variable(name)
        own: Expr = variable
        if len(channel.tokens) == 2:
            own = Call("int", (Call("eq", (variable, Literal(channel.tokens[1]))),))
        elif channel.tokens:
            own = Call("find", (Literal(channel.tokens), variable))
        elif channel.low:
            sign = "sub" if channel.low > 0 else "add"
            own = Call(sign, (variable, Literal(abs(channel.low))))
        if result is None:
            result = own
        else:
            result = Call("add", (Call("mul", (Literal(channel.count), result)), own))
    assert result is not None
    return result


def _nested(table: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _of_states(found: Automaton) -> np.ndarray | None:
    """The answer of each state where every move to it is answered alike; None where not."""
    answers = np.full(len(found), -1, np.int64)
    for state, answer in zip(found.moves.ravel().tolist(), found.answers.ravel().tolist()):
        if answers[state] not in (-1, answer):
            return None
        answers[state] = answer
    return np.maximum(answers, 0)


def _of_state(answers: np.ndarray, truth: bool) -> tuple[Expr, list[tuple[str, Any]]]:
    """The answer of the variable `state`, and the constants that it needs."""
    state = Variable("state")
    if np.array_equal(answers, np.arange(len(answers))):
        return state, []
    if truth or set(answers.tolist()) == {0, 1}:
        chosen = np.flatnonzero(answers).tolist()
        others = np.flatnonzero(answers == 0).tolist()
        more: list[tuple[str, Any]] = []
        if not chosen or not others:
            test: Expr = Literal(bool(chosen))
        elif len(chosen) == 1:
            test = Call("eq", (state, Literal(chosen[0])))
        elif len(others) == 1:
            test = Call("ne", (state, Literal(others[0])))
        else:
            test = Call("contains", (state, Constant("ACCEPTING")))
            more = [("ACCEPTING", tuple(chosen))]
        return (test if truth else Call("int", (test,))), more
    return Call("index", (Constant("ANSWERS"), state)), [("ANSWERS", tuple(answers.tolist()))]
