"""The machine that a loop carries out, drawn as states and arrows, where it has few states."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distill.report import drawing as d
from dsl import types as t
from dsl.domain import Domain
from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.program import Call, Expr, Loop, Program, Variable

_MOST_STATES = 20
_MOST_SYMBOLS = 12


@dataclass(frozen=True, slots=True)
class Machine:
    """States as tuples of the loop's variables, the first is the start; `arrows` by (state,
    symbol); `answers` are the program's answers on a shortest word that leads to each state."""

    variables: tuple[str, ...]
    states: tuple[tuple[Any, ...], ...]
    symbols: tuple[str, ...]
    arrows: Mapping[tuple[int, int], int]
    answers: tuple[str, ...]


def loop_of(program: Program) -> tuple[int, Loop] | None:
    """The only loop of a program, and its place in the body."""
    loops = [(i, s) for i, s in enumerate(program.body) if isinstance(s, Loop)]
    return loops[0] if len(loops) == 1 and loops[0][1].state else None


def state_program(program: Program) -> tuple[tuple[str, ...], Program] | None:
    """The variables of the loop, and a program that returns their values after the last symbol."""
    found = loop_of(program)
    if found is None:
        return None
    place, loop = found
    names = tuple(name for name, _ in loop.state)
    result: Expr = Call("tuple", tuple(Variable(name) for name in names))
    if len(names) == 1:
        result = Variable(names[0])
    return names, replace(program, body=program.body[: place + 1], result=result)


def states_after(program: Program, batch: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The loop's variables after each word, (B, variables); None where they are no scalars."""
    part = state_program(program)
    if part is None:
        return None
    try:
        values = run(part[1], batch)
    except Undefined:
        return None
    if values.dtype == object or values.ndim > 2:
        return None
    return values.reshape(len(values), -1) if len(part[0]) == 1 or values.ndim == 2 else None


def symbols_of(domain: Domain) -> tuple[tuple[Any, ...], ...] | None:
    """What a step reads: one item for each sequence; None where there are too many or others."""
    ranges: list[list[Any]] = []
    for _, kind in domain.fields:
        if not isinstance(kind, t.Seq):
            return None
        match kind.item:
            case t.Bool():
                ranges.append([False, True])
            case t.Int(low, high) if low is not None and high is not None:
                ranges.append(list(range(low, min(high, low + _MOST_SYMBOLS) + 1)))
            case t.Token(alphabet) if alphabet:
                ranges.append(list(alphabet))
            case _:
                return None
    count = math.prod(len(r) for r in ranges)
    return tuple(itertools.product(*ranges)) if ranges and count <= _MOST_SYMBOLS else None


def machine_of(program: Program, domain: Domain) -> Machine | None:
    """The machine of a program that reads its sequences from left to right."""
    found, symbols, part = loop_of(program), symbols_of(domain), state_program(program)
    if found is None or symbols is None or part is None or not _reads_in_order(found[1], program):
        return None
    words: list[tuple[int, ...]] = [()]
    start = states_after(program, _batch(domain, symbols, [()]))
    if start is None or start.dtype.kind == "f":
        return None
    states = [tuple(start[0].tolist())]
    arrows: dict[tuple[int, int], int] = {}
    done = 0
    while done < len(states):
        grown = [(*words[done], symbol) for symbol in range(len(symbols))]
        after = states_after(program, _batch(domain, symbols, grown))
        if after is None:
            return None
        for symbol, row in enumerate(after.tolist()):
            if tuple(row) not in states:
                if len(states) == _MOST_STATES:
                    return None
                states.append(tuple(row))
                words.append(grown[symbol])
            arrows[done, symbol] = states.index(tuple(row))
        done += 1
    answers = tuple(_answer(program, _batch(domain, symbols, [word])) for word in words)
    shown = tuple(",".join(str(item) for item in symbol) for symbol in symbols)
    return Machine(part[0], tuple(states), shown, arrows, answers)


def _reads_in_order(loop: Loop, program: Program) -> bool:
    match loop.source:
        case Variable(name):
            return name in program.parameters
        case Call("zip", args):
            return all(isinstance(x, Variable) and x.name in program.parameters for x in args)
    return False


def _batch(
    domain: Domain, symbols: tuple[tuple[Any, ...], ...], words: list[tuple[int, ...]]
) -> dict[str, np.ndarray]:
    columns = {}
    for i, name in enumerate(domain.names):
        kind = np.array([symbol[i] for symbol in symbols]).dtype
        rows = [[symbols[symbol][i] for symbol in word] for word in words]
        columns[name] = np.array(rows, kind).reshape(len(words), len(words[0]))
    return columns


def _answer(program: Program, batch: Mapping[str, np.ndarray]) -> str:
    """The program's answer, its last item where it answers at every step; empty where none."""
    try:
        value = run(program, batch)[0]
    except Undefined:
        return ""
    listed = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(listed, (list, tuple)):
        return str(listed[-1]) if listed else ""
    return str(listed)


def drawn(machine: Machine) -> d.Picture:
    """States on a circle, the start marked; arrows carry the symbols that lead along them."""
    count = len(machine.states)
    radius = 0.0 if count == 1 else max(80.0, 27.0 * count)
    size = radius + 92
    spots = []
    for i in range(count):
        angle = -math.pi / 2 + 2 * math.pi * i / count
        spots.append((size + radius * math.cos(angle), size + radius * math.sin(angle)))
    grouped: dict[tuple[int, int], list[str]] = {}
    for (before, symbol), after in machine.arrows.items():
        grouped.setdefault((before, after), []).append(machine.symbols[symbol])
    parts = []
    for (before, after), labels in grouped.items():
        words = d.clipped(" ".join(labels), 14)
        parts.append(
            _loop(spots[before], (size, size), words)
            if before == after
            else _arrow(spots[before], spots[after], words, (after, before) in grouped)
        )
    for i, (state, (x, y)) in enumerate(zip(machine.states, spots, strict=True)):
        css = "state start" if i == 0 else "state"
        title = ", ".join(f"{n} = {v}" for n, v in zip(machine.variables, state, strict=True))
        parts.append(d.circle(x, y, 23, class_=css, title=f"{title}; answer {machine.answers[i]}"))
        parts.append(d.text(x, y - 1, ",".join(_short(v) for v in state), "title middle"))
        parts.append(d.text(x, y + 12, d.clipped(machine.answers[i], 6), "note middle"))
    names = ", ".join(machine.variables)
    alternative = (
        f"A machine with {count} states over the symbols {', '.join(machine.symbols)}. "
        + " ".join(
            f"From {_named(machine, s)} to {_named(machine, a)} by {' '.join(w)}."
            for (s, a), w in list(grouped.items())[:40]
        )
    )
    return d.Picture(
        "The machine of the loop",
        d.drawing(2 * size, 2 * size, parts, alternative),
        f"States are values of {names}; below, the answer on a shortest word that leads there. "
        "The start has a heavy rim; arrows carry the symbols read.",
        alternative,
    )


def _named(machine: Machine, state: int) -> str:
    return "(" + ", ".join(str(value) for value in machine.states[state]) + ")"


def _short(value: Any) -> str:
    return {True: "T", False: "F"}[value] if isinstance(value, bool) else str(value)


def _arrow(a: tuple[float, float], b: tuple[float, float], words: str, both: bool) -> str:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.hypot(dx, dy)
    ux, uy = dx / length, dy / length
    bend = (20.0 if both else 9.0) + 0.06 * length
    middle = ((a[0] + b[0]) / 2 - uy * bend, (a[1] + b[1]) / 2 + ux * bend)
    start = _towards(a, middle, 24)
    end = _towards(b, middle, 25)
    tip = math.atan2(end[1] - middle[1], end[0] - middle[0])
    # The curve's own middle lies half way between the chord and the control point.
    label = ((a[0] + b[0]) / 2 - uy * bend * 0.62, (a[1] + b[1]) / 2 + ux * bend * 0.62 + 4)
    return _curve(start, middle, end, tip) + d.text(*label, words, "label middle")


def _loop(spot: tuple[float, float], centre: tuple[float, float], words: str) -> str:
    dx, dy = spot[0] - centre[0], spot[1] - centre[1]
    away = math.atan2(dy, dx) if math.hypot(dx, dy) > 1 else -math.pi / 2
    start, end = (
        (spot[0] + 23 * math.cos(away + turn), spot[1] + 23 * math.sin(away + turn))
        for turn in (-0.45, 0.45)
    )
    far = [
        (spot[0] + 66 * math.cos(away + turn), spot[1] + 66 * math.sin(away + turn))
        for turn in (-0.5, 0.5)
    ]
    steps = f"M{_pair(start)}C{_pair(far[0])} {_pair(far[1])} {_pair(end)}"
    tip = math.atan2(end[1] - far[1][1], end[0] - far[1][0])
    label = (spot[0] + 68 * math.cos(away), spot[1] + 68 * math.sin(away) + 4)
    return (
        d.tag("path", d=steps, class_="flow")
        + _head(end, tip)
        + d.text(*label, words, "label middle")
    )


def _curve(
    start: tuple[float, float], middle: tuple[float, float], end: tuple[float, float], tip: float
) -> str:
    steps = f"M{_pair(start)}Q{_pair(middle)} {_pair(end)}"
    return d.tag("path", d=steps, class_="flow") + _head(end, tip)


def _head(end: tuple[float, float], angle: float) -> str:
    corners = [
        (end[0] - 8 * math.cos(angle + turn), end[1] - 8 * math.sin(angle + turn))
        for turn in (-0.4, 0.4)
    ]
    points = " ".join(f"{d.number(x)},{d.number(y)}" for x, y in (end, *corners))
    return d.tag("polygon", points=points, class_="arrow")


def _towards(a: tuple[float, float], b: tuple[float, float], far: float) -> tuple[float, float]:
    length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
    return a[0] + far * (b[0] - a[0]) / length, a[1] + far * (b[1] - a[1]) / length


def _pair(point: tuple[float, float]) -> str:
    return f"{d.number(point[0])} {d.number(point[1])}"
