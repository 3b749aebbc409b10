"""A closed set of columns as a program: expressions for every update and for the answer."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.program import Call, Expr, Literal, Variable, function
from synth.recurrent.bank import Bank, Leaf, leaf
from synth.recurrent.columns import Column
from synth.recurrent.maps import Found, cheapest
from synth.recurrent.traces import Teacher, Traces

_ROWS = 140


@dataclass(frozen=True, slots=True)
class Machine:
    """State variables with first values; `updates` in the order in which they are carried out
    (all at once where `simultaneous`); the answer, from the state `before` or after the updates."""

    names: tuple[str, ...]
    first: tuple[int, ...]
    updates: tuple[tuple[int, Expr], ...]
    simultaneous: bool
    answer: Expr
    before: bool
    cost: float


@dataclass
class Maps:
    """The rows of all maps of a machine and the expressions found so far, by variables used."""

    teacher: Teacher
    names: tuple[str, ...]
    symbols: np.ndarray  # (R, k)
    now: np.ndarray  # (R, C)
    then: np.ndarray  # (R, C)
    constants: tuple[int, ...]
    moduli: tuple[int, ...]
    seed: int
    found: dict[tuple[object, ...], Found | None] = field(default_factory=dict)
    banks: dict[tuple[object, ...], Bank] = field(default_factory=dict)
    tried: int = 0

    def best(
        self,
        wanted: np.ndarray,
        key: object,
        fresh: frozenset[int],
        *,
        truth: bool,
        symbol: bool = True,
    ) -> Found | None:
        """The cheapest expression for `wanted`, from the symbol, the new values of the columns in
        `fresh` and the old values of the others; None too where there is no such map."""
        place = (key, fresh)
        if place not in self.found:
            self.found[place] = self._search(wanted, fresh, truth, symbol)
        return self.found[place]

    def _search(
        self, wanted: np.ndarray, fresh: frozenset[int], truth: bool, symbol: bool
    ) -> Found | None:
        state = self.now.copy()
        for i in fresh:
            state[:, i] = self.then[:, i]
        rows = np.concatenate([state, self.symbols], axis=1) if symbol else state
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        if (wanted != wanted[first][inverse.reshape(-1)]).any():
            return None
        first.sort()
        rng = np.random.default_rng(self.seed)
        part = first if len(first) <= _ROWS else np.sort(rng.choice(first, _ROWS, replace=False))
        for _ in range(5):
            bank = self._bank(state, part, fresh, symbol)
            result = cheapest(bank, wanted[part], truth=truth)
            if result is None or len(part) == len(first):
                return result
            wrong = first[
                self._values(result.expr, state[first], self.symbols[first]) != wanted[first]
            ]
            if not len(wrong):
                return result
            part = np.unique(np.concatenate([part, wrong[:: max(1, len(wrong) // 20)]]))
        return None

    def _bank(
        self, state: np.ndarray, part: np.ndarray, fresh: frozenset[int], symbol: bool
    ) -> Bank:
        key = (fresh, symbol, part.tobytes())
        if key not in self.banks:
            leaves = [*self._leaves(state[part], self.symbols[part], symbol)]
            self.banks[key] = Bank(leaves, self.moduli, limit=24_000)
            self.tried += self.banks[key].tried
        return self.banks[key]

    def _leaves(self, state: np.ndarray, symbols: np.ndarray, symbol: bool) -> Iterator[Leaf]:
        for i, name in enumerate(self.names):
            yield leaf(Variable(name), state[:, i], truth=False)
            if set(np.unique(state[:, i]).tolist()) == {0, 1}:
                yield _test(name, state[:, i])
        for j, channel in enumerate(self.teacher.channels if symbol else ()):
            name = symbol_names(self.teacher)[j]
            if channel.tokens:
                for value, token in enumerate(channel.tokens[:8]):
                    test = Call("eq", (Variable(name), Literal(token)))
                    yield Leaf(test, (symbols[:, j] == value).astype(np.int64), True, 1.6)
                continue
            yield leaf(Variable(name), symbols[:, j], truth=False)
            if set(np.unique(symbols[:, j]).tolist()) == {0, 1}:
                yield _test(name, symbols[:, j])
        for value in self.constants:
            yield leaf(Literal(value), np.full(len(state), value), truth=False)

    def _values(self, expr: Expr, state: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        names = (*self.names, *symbol_names(self.teacher))
        columns: dict[str, np.ndarray] = {n: state[:, i] for i, n in enumerate(self.names)}
        for j, channel in enumerate(self.teacher.channels):
            column = symbols[:, j]
            columns[names[len(self.names) + j]] = (
                np.array(channel.tokens)[column] if channel.tokens else column
            )
        try:
            return run(function("f", names, expr), columns).astype(np.int64)
        except Undefined:
            return np.full(len(state), np.iinfo(np.int64).min)


def _test(name: str, values: np.ndarray) -> Leaf:
    return Leaf(Call("eq", (Variable(name), Literal(1))), values, True, 2.2)


def symbol_names(teacher: Teacher) -> tuple[str, ...]:
    """The loop's variables: one item of each sequence."""
    if len(teacher.channels) == 1 and teacher.channels[0].tokens:
        return ("symbol",)
    return tuple(f"{channel.name}_t" for channel in teacher.channels)


def best_machine(
    teacher: Teacher,
    traces: Traces,
    columns: Sequence[Column],
    moduli: tuple[int, ...],
    *,
    deadline: float,
    seed: int = 0,
) -> tuple[Machine | None, int]:
    """The cheapest machine that keeps these columns, and how many expressions were looked at."""
    count, length, k = traces.words.shape
    names = _unique_names([c.hint for c in columns], taken={c.name for c in teacher.channels})
    now = _stack([c.values[:, :-1] for c in columns], count * length)
    then = _stack([c.values[:, 1:] for c in columns], count * length)
    symbols = traces.words.reshape(-1, k)
    final = not teacher.every_step
    answer = (traces.answers[:, :-1] if final else traces.answers).ravel()
    rows = np.concatenate([now, symbols], axis=1)
    first = _representatives(rows, np.column_stack([then, answer]))
    whole = _stack([c.values for c in columns], traces.answers.size)
    if first is None or (final and _representatives(whole, traces.answers.reshape(-1, 1)) is None):
        return None, 0
    maps = Maps(
        teacher,
        names,
        symbols[first],
        now[first],
        then[first],
        _constants(teacher),
        moduli,
        seed,
    )
    truth = teacher.labels == (False, True)
    best: Machine | None = None
    for order, simultaneous in _orders(len(columns)):
        if time.monotonic() > deadline:
            break
        best = _better(best, _machine(maps, columns, order, simultaneous, answer[first], truth))
    return best, maps.tried


def _orders(count: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    yield tuple(range(count)), True
    if 2 <= count <= 3:
        for order in itertools.permutations(range(count)):
            yield order, False


def _machine(
    maps: Maps,
    columns: Sequence[Column],
    order: tuple[int, ...],
    simultaneous: bool,
    answer: np.ndarray,
    truth: bool,
) -> Machine | None:
    updates: list[tuple[int, Expr]] = []
    cost = 0.0
    fresh: frozenset[int] = frozenset()
    for i in order:
        found = maps.best(maps.then[:, i], i, fresh, truth=False)
        if found is None:
            return None
        updates.append((i, found.expr))
        cost += found.cost + 1
        fresh = fresh if simultaneous else fresh | {i}
    everything = frozenset(range(len(columns)))
    final = not maps.teacher.every_step
    before = maps.best(answer, "answer", frozenset(), truth=truth, symbol=not final)
    after = None if final else maps.best(answer, "answer", everything, truth=truth)
    options = [(f.cost, b, f) for b, f in ((False, after), (True, before)) if f is not None]
    if not options:
        return None
    price, is_before, found = min(options, key=lambda option: option[:2])
    first = tuple(int(c.values[0, 0]) for c in columns)
    return Machine(
        maps.names, first, tuple(updates), simultaneous, found.expr, is_before, cost + price
    )


def _representatives(rows: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """The first of each kind of row, in order; None if equal rows have different values."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    if (values != values[first][inverse.reshape(-1)]).any():
        return None
    return np.sort(first)


def _better(a: Machine | None, b: Machine | None) -> Machine | None:
    if a is None or b is None:
        return a or b
    return b if b.cost < a.cost else a


def _constants(teacher: Teacher) -> tuple[int, ...]:
    values = {0, 1, 2}
    for channel in teacher.channels:
        if not channel.tokens and channel.count <= 16:
            values |= {channel.high, channel.high + 1}
    return tuple(sorted(values))


def _stack(parts: list[np.ndarray], rows: int) -> np.ndarray:
    return np.stack([part.ravel() for part in parts], axis=1) if parts else np.zeros((rows, 0), int)


def _unique_names(hints: list[str], taken: set[str]) -> tuple[str, ...]:
    names: list[str] = []
    for hint in hints:
        name, number = hint, 2
        while name in taken:
            name, number = f"{hint}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return tuple(names)
