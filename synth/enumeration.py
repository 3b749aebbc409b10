"""Bottom-up enumeration of expressions, vectorised, up to observational equivalence.

Candidates of one cost are evaluated in blocks on a few probe inputs, hashed, and kept if no cheaper
candidate has the same values; survivors are evaluated on all inputs of the bank.  Rows of the bank
are expressions in the order of their cost.  (Albarghouthi et al., CAV 2013; Udupa et al. 2013.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from dsl.program import Call, Expr, Literal, negated

PROBES = 48
_BLOCK = 1 << 21
_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Leaf:
    """An expression with its values on the inputs of the bank."""

    expr: Expr
    values: np.ndarray
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Operator:
    """A primitive of two arguments (one, if `unary`), with the kinds it takes and gives.

    `constant` restricts the second argument to constants, which reads better and is far more
    frequent: the same operator may stand twice, unrestricted at a higher cost.
    """

    name: str
    takes: str
    gives: str
    apply: Callable[..., np.ndarray]
    commutes: bool = False
    unary: bool = False
    partial: bool = False
    cost: int = 1
    constant: bool = False


INTEGER = (
    Operator("add", "int", "int", np.add, commutes=True),
    Operator("sub", "int", "int", np.subtract),
    Operator("mul", "int", "int", np.multiply, commutes=True),
    Operator("mod", "int", "int", np.mod, partial=True, constant=True),
    Operator("floordiv", "int", "int", np.floor_divide, partial=True, constant=True),
    Operator("mod", "int", "int", np.mod, partial=True, cost=3),
    Operator("floordiv", "int", "int", np.floor_divide, partial=True, cost=3),
    Operator("min", "int", "int", np.minimum, commutes=True),
    Operator("max", "int", "int", np.maximum, commutes=True),
    Operator("abs", "int", "int", np.abs, unary=True),
)
COMPARISON = (
    Operator("lt", "int", "bool", np.less),
    Operator("eq", "int", "bool", np.equal, commutes=True),
)
LOGIC = (
    Operator("and", "bool", "bool", np.logical_and, commutes=True),
    Operator("or", "bool", "bool", np.logical_or, commutes=True),
    Operator("ne", "bool", "bool", np.not_equal, commutes=True),
    Operator("not", "bool", "bool", np.logical_not, unary=True),
)
OPERATORS = INTEGER + COMPARISON + LOGIC


@dataclass(frozen=True, slots=True)
class Found:
    """An expression that has the values that were asked for."""

    expr: Expr
    tried: int


@dataclass
class Kind:
    """The rows of one kind: values (n, N), the first row of each cost, and where they come from:
    an operator's number and two rows, or -1 and a leaf's number."""

    values: np.ndarray
    probes: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.int64))
    origin: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int64))
    starts: list[int] = field(default_factory=list)
    leaves: list[Expr] = field(default_factory=list)
    constant: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    seen: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    fresh: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # keys, origins

    def __len__(self) -> int:
        return len(self.origin)

    def level(self, cost: int) -> tuple[int, int]:
        if cost >= len(self.starts):
            return len(self), len(self)
        stop = self.starts[cost + 1] if cost + 1 < len(self.starts) else len(self)
        return self.starts[cost], stop


class Bank:
    """All expressions up to a cost, one for each behaviour on the inputs."""

    def __init__(
        self,
        leaves: list[Leaf],
        *,
        operators: tuple[Operator, ...] = OPERATORS,
        goals: tuple[np.ndarray, ...] = (),
        capacity: int = 40_000,
        seed: int = 0,
    ) -> None:
        count = len(leaves[0].values)
        self.operators = operators
        self.capacity = capacity
        self.tried = 0
        self.kinds = {
            "int": Kind(np.empty((0, count), np.int64)),
            "bool": Kind(np.empty((0, count), bool)),
        }
        rng = np.random.default_rng(seed)
        self.keys = rng.integers(1, 2**63, min(PROBES, count), dtype=np.uint64) | np.uint64(1)
        self.places = np.sort(rng.permutation(count)[:PROBES])
        for kind in self.kinds.values():
            kind.probes = kind.values[:, self.places]
        self.goals = {
            "int": [goal.astype(np.int64) for goal in goals if goal.dtype.kind in "iub"],
            # Truth values equal integers only where these are 0 and 1.
            "bool": [goal.astype(bool) for goal in goals if np.isin(goal, (0, 1)).all()],
        }
        self.goal_keys = {
            name: np.array([self.hashed(row[None, self.places])[0] for row in rows], np.uint64)
            for name, rows in self.goals.items()
        }
        self.found: list[Expr] = []
        self.cost = 0
        self.waiting = sorted(leaves, key=lambda leaf: leaf.cost)

    def hashed(self, rows: np.ndarray) -> np.ndarray:
        """A 64-bit key of each row of values on the probes."""
        return np.asarray((rows.astype(np.uint64) * self.keys).sum(1, dtype=np.uint64))

    def grow(self, cost: int, deadline: float) -> Iterator[Found]:
        """Raises the cost of the bank step by step; yields what equals a goal as it appears."""
        while self.cost < cost and time.monotonic() < deadline:
            self.cost += 1
            for kind in self.kinds.values():
                kind.starts += [len(kind)] * (self.cost + 1 - len(kind.starts))
            self._take_leaves()
            yield from self._report()
            for number, operator in enumerate(self.operators):
                for left, right in self._splits(operator):
                    self._apply(number, left, right, deadline)
                    yield from self._report()
            for name in self.kinds:
                self._settle(name)

    def _report(self) -> Iterator[Found]:
        while self.found:
            yield Found(self.found.pop(0), self.tried)

    def _take_leaves(self) -> None:
        while self.waiting and self.waiting[0].cost <= self.cost:
            leaf = self.waiting.pop(0)
            name = "bool" if leaf.values.dtype == bool else "int"
            kind = self.kinds[name]
            rows = leaf.values[None].astype(kind.values.dtype)
            keys = self.hashed(rows[:, self.places])
            self.tried += 1
            if keys[0] in kind.seen:
                continue
            kind.leaves.append(leaf.expr)
            self._append(name, keys, np.array([[-1, len(kind.leaves) - 1, 0]]), rows)
            if any(np.array_equal(rows[0], goal) for goal in self.goals[name]):
                self.found.append(leaf.expr)

    def _splits(self, operator: Operator) -> Iterator[tuple[int, int]]:
        rest = self.cost - operator.cost
        if operator.unary:
            yield rest, 0
            return
        for left in range(1, rest):
            right = rest - left
            if not operator.commutes or left <= right:
                yield left, right

    def _apply(self, number: int, left: int, right: int, deadline: float) -> None:
        operator = self.operators[number]
        source = self.kinds[operator.takes]
        a0, a1 = source.level(left)
        b0, b1 = (0, 1) if operator.unary else source.level(right)
        if a0 == a1 or b0 == b1:
            return
        width = max(1, _BLOCK // ((b1 - b0) * len(self.keys)))
        for start in range(a0, a1, width):
            if time.monotonic() > deadline:
                return
            rows = np.arange(start, min(start + width, a1))
            others = np.arange(b0, b1)
            if operator.constant:
                others = others[source.constant[b0:b1]]
            one, other = np.repeat(rows, len(others)), np.tile(others, len(rows))
            if operator.commutes and left == right:
                keep = one <= other
                one, other = one[keep], other[keep]
            self._evaluate(number, one, other)

    def _evaluate(self, number: int, one: np.ndarray, other: np.ndarray) -> None:
        """Candidates given by pairs of rows: new ones wait for the end of the level, what equals
        a goal is found at once."""
        operator = self.operators[number]
        self.tried += len(one)
        source, kind = self.kinds[operator.takes].values, self.kinds[operator.gives]
        probes = self.kinds[operator.takes].probes
        values, valid = self._values(operator, probes[one], probes[other])
        keys = self.hashed(values)
        hits = np.isin(keys, self.goal_keys[operator.gives]) & valid
        for i in np.flatnonzero(hits)[:64]:
            row, whole = self._values(operator, source[one[i : i + 1]], source[other[i : i + 1]])
            goals = self.goals[operator.gives]
            if whole[0] and any(np.array_equal(row[0], goal) for goal in goals):
                self.found.append(self._built(operator, int(one[i]), int(other[i])))
        if len(kind) + sum(len(keys) for keys, _ in kind.fresh) >= self.capacity:
            return
        if len(kind.seen):
            place = np.minimum(np.searchsorted(kind.seen, keys), len(kind.seen) - 1)
            valid = valid & (kind.seen[place] != keys)
        keys, one, other = keys[valid], one[valid], other[valid]
        keys, first = np.unique(keys, return_index=True)
        numbers = np.full(len(first), number)
        kind.fresh.append((keys, np.stack([numbers, one[first], other[first]], 1)))

    def _settle(self, name: str) -> None:
        """The new candidates of a level join the bank."""
        kind = self.kinds[name]
        if not kind.fresh:
            return
        keys = np.concatenate([keys for keys, _ in kind.fresh])
        origin = np.concatenate([origin for _, origin in kind.fresh])
        kind.fresh.clear()
        keys, first = np.unique(keys, return_index=True)
        order = np.argsort(first, kind="stable")[: max(0, self.capacity - len(kind))]
        keys, origin = keys[order], origin[first[order]]
        rows, valid = self._rows_of(origin, kind.values.dtype)
        self._append(name, keys[valid], origin[valid], rows[valid])

    def _rows_of(self, origin: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Full values of candidates that may come from different operators."""
        count = next(iter(self.kinds.values())).values.shape[1]
        rows, valid = np.zeros((len(origin), count), dtype), np.zeros(len(origin), bool)
        parts = (np.arange(i, min(i + 4096, len(origin))) for i in range(0, len(origin), 4096))
        for part, number in ((p, n) for p in parts for n in np.unique(origin[p, 0])):
            chosen = part[origin[part, 0] == number]
            operator = self.operators[int(number)]
            source = self.kinds[operator.takes].values
            rows[chosen], valid[chosen] = self._values(
                operator, source[origin[chosen, 1]], source[origin[chosen, 2]]
            )
        return rows, valid

    @staticmethod
    def _values(operator: Operator, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        valid = np.ones(len(a), bool)
        if operator.partial:
            valid = (b != 0).all(1)
            b = np.where(b == 0, 1, b)
        values = operator.apply(a) if operator.unary else operator.apply(a, b)
        if operator.gives == "int":
            valid &= (np.abs(values) <= _LIMIT).all(1)
        return values, valid

    def _append(self, name: str, keys: np.ndarray, origin: np.ndarray, rows: np.ndarray) -> None:
        kind = self.kinds[name]
        base, count = len(kind), len(origin)
        if base + count > len(kind.values):
            grown = np.empty((max(2 * (base + count), 1024), rows.shape[1]), rows.dtype)
            grown[:base] = kind.values[:base]
            kind.values = grown
            kind.probes = grown[:, self.places]
        kind.values[base : base + count] = rows
        kind.probes[base : base + count] = rows[:, self.places]
        kind.origin = np.concatenate([kind.origin, origin])
        kind.constant = np.concatenate([kind.constant, (rows == rows[:, :1]).all(1)])
        kind.seen = np.sort(np.concatenate([kind.seen, keys]))

    def rows(self, name: str) -> np.ndarray:
        """The values of all expressions of a kind, (n, N), in the order of their cost."""
        return self.kinds[name].values[: len(self.kinds[name])]

    def expr(self, name: str, row: int) -> Expr:
        """The expression of a row."""
        kind = self.kinds[name]
        number, one, other = (int(x) for x in kind.origin[row])
        if number < 0:
            return kind.leaves[one]
        return self._built(self.operators[number], one, other)

    def _built(self, operator: Operator, one: int, other: int) -> Expr:
        left = self.expr(operator.takes, one)
        if operator.unary:
            return negated(left) if operator.name == "not" else Call(operator.name, (left,))
        right = self.expr(operator.takes, other)
        # Literals read better on the right.
        if isinstance(left, Literal) and operator.commutes:
            left, right = right, left
        if operator.name == "lt" and isinstance(left, Literal):
            return Call("gt", (right, left))
        return Call(operator.name, (left, right))
