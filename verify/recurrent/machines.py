"""Programs that read sequences from left to right, as machines with integer states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl import types as t
from dsl.domain import Domain
from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.program import (
    Append,
    Assign,
    Call,
    Comprehension,
    Expr,
    Loop,
    Program,
    Statement,
    Variable,
    walk,
)

_ANSWER = "answer_given"


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The items of the sequences that are read side by side: `symbols` holds one column per name,
    with every combination of items once."""

    names: tuple[str, ...]
    symbols: tuple[np.ndarray, ...]
    shortest: int
    longest: int | None

    def __len__(self) -> int:
        return len(self.symbols[0])

    def words(self, choices: np.ndarray) -> dict[str, np.ndarray]:
        """Words (B, L) of symbol numbers as a batch of the domain."""
        return {name: column[choices] for name, column in zip(self.names, self.symbols)}


def alphabet_of(domain: Domain, most: int = 100_000) -> Alphabet | None:
    """The alphabet of a domain of sequences of one length range; None for all other domains."""
    if domain.where is not None or not domain.fields:
        return None
    items: list[np.ndarray] = []
    spans = set()
    for _, kind in domain.fields:
        match kind:
            case t.Seq(t.Int(low, high), _, _) if low is not None and high is not None:
                if high - low >= most:
                    return None
                items.append(np.arange(low, high + 1))
            case t.Seq(t.Bool(), _, _):
                items.append(np.array([False, True]))
            case t.Seq(t.Token(alphabet), _, _) if alphabet:
                items.append(np.array(alphabet))
            case _:
                return None
        spans.add((kind.low, kind.high))
    if len(spans) != 1 or math.prod(len(column) for column in items) > most:
        return None
    grid = np.meshgrid(*[np.arange(len(column)) for column in items], indexing="ij")
    columns = tuple(column[index.ravel()] for column, index in zip(items, grid, strict=True))
    ((low, high),) = spans
    return Alphabet(domain.names, columns, low, high)


@dataclass(frozen=True, slots=True)
class Machine:
    """`state` variables with their first values; `body` takes them and one symbol (`targets`) to
    their next values.  `answer` is given after each symbol; where `final`, it is an expression
    over the state, given once at the end."""

    state: tuple[str, ...]
    first: tuple[int, ...]
    kinds: tuple[str, ...]
    targets: tuple[str, ...]
    body: tuple[Statement, ...]
    answer: Expr
    final: bool
    constants: tuple[tuple[str, Any], ...]

    def advance(
        self, states: np.ndarray, symbols: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Next states (B, k) and answers (B,) from states (B, k) and columns of symbols (B,).
        Raises Undefined where the program has no value."""
        batch = self._named(states) | dict(zip(self.targets, symbols, strict=True))
        after = np.zeros_like(states)
        for column, name in enumerate(self.state):
            after[:, column] = _whole(self._run(batch, Variable(name)), len(states))
        if self.final:
            return after, self.answers(after)
        return after, self._run(batch, self.answer)

    def answers(self, states: np.ndarray) -> np.ndarray:
        """The answers of a machine that answers at the end, (B,)."""
        inputs = tuple((name, None) for name in self.state)
        program = Program("answer", inputs, (), self.answer, self.constants)
        if not inputs:
            return np.repeat(run(program, {}), len(states), axis=0)
        return run(program, self._named(states))

    def _named(self, states: np.ndarray) -> dict[str, np.ndarray]:
        return {
            name: states[:, i].astype(bool) if self.kinds[i] == "b" else states[:, i]
            for i, name in enumerate(self.state)
        }

    def _run(self, batch: dict[str, np.ndarray], result: Expr) -> np.ndarray:
        inputs = tuple((name, None) for name in batch)
        return run(Program("step", inputs, self.body, result, self.constants), batch)


def _whole(values: np.ndarray, rows: int) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iub":
        raise Undefined("a state that is no integer")
    return np.asarray(np.broadcast_to(values, rows).astype(np.int64))


def machine_of(program: Program, names: tuple[str, ...]) -> Machine | None:
    """The machine of a program whose inputs are the sequences `names`; None where it does more
    than read them once, from left to right."""
    if program.parameters != names:
        return None
    match program.body, program.result:
        case (), Comprehension(element, targets, source, None):
            if not _reads(source, names) or _uses(element, names):
                return None
            return Machine((), (), (), targets, (), element, False, program.constants)
        case (Loop() as loop,), result:
            return _from_loop(loop, result, names, program)
    return None


def _from_loop(
    loop: Loop, result: Expr, names: tuple[str, ...], program: Program
) -> Machine | None:
    if not _reads(loop.source, names):
        return None
    first: list[int] = []
    kinds: list[str] = []
    for _, expr in loop.state:
        if any(isinstance(node, Variable) for node in walk(expr)):
            return None
        begun = run(Program("first", (), (), expr, program.constants), {})
        if begun.ndim != 1 or begun.dtype.kind not in "iub":
            return None
        first.append(int(begun[0]))
        kinds.append("b" if begun.dtype.kind == "b" else "i")
    body: list[Statement] = []
    for statement in loop.body:
        match statement:
            case Assign():
                body.append(statement)
            case Append(name, value):
                if loop.outputs != (name,) or any(_ANSWER in s.names for s in _assigns(body)):
                    return None
                body.append(Assign((_ANSWER,), (value,)))
    inner = [node for s in _assigns(body) for v in s.values for node in walk(v)]
    if any(isinstance(node, Variable) and node.name in (*names, *loop.outputs) for node in inner):
        return None
    state = tuple(name for name, _ in loop.state)
    if set(state) & set(loop.targets):
        return None
    shared = (state, tuple(first), tuple(kinds), loop.targets, tuple(body))
    if loop.outputs:
        if result != Variable(loop.outputs[0]) or not any(
            _ANSWER in s.names for s in _assigns(body)
        ):
            return None
        return Machine(*shared, Variable(_ANSWER), False, program.constants)
    if _uses(result, names) or not _free(result) <= set(state):
        return None
    return Machine(*shared, result, True, program.constants)


def _assigns(body: list[Statement]) -> list[Assign]:
    return [statement for statement in body if isinstance(statement, Assign)]


def _free(expr: Expr) -> set[str]:
    """Every variable that occurs, those of comprehensions included."""
    return {node.name for node in walk(expr) if isinstance(node, Variable)}


def _uses(expr: Expr, names: tuple[str, ...]) -> bool:
    return bool(_free(expr) & set(names))


def _reads(source: Expr, names: tuple[str, ...]) -> bool:
    """Is the source the sequence itself, or all of them zipped in order?"""
    match source:
        case Variable(name):
            return names == (name,)
        case Call("zip", args):
            return tuple(a.name for a in args if isinstance(a, Variable)) == names
    return False


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first index of each kind of row of an integer matrix, and the kind of every row."""
    if rows.shape[1] == 0 or not len(rows):
        return np.arange(min(1, len(rows))), np.zeros(len(rows), np.int64)
    keys = np.zeros(len(rows), np.int64)
    for column in rows.T:
        values, codes = np.unique(column, return_inverse=True)
        keys = keys * len(values) + codes.reshape(-1)
        keys = np.unique(keys, return_inverse=True)[1].reshape(-1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def product(first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of two ranges, as two columns of indices."""
    return np.repeat(np.arange(first), second), np.tile(np.arange(second), first)
