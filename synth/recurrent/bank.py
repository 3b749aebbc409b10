"""A bank of small expressions over some variables, with the value of each on every row.

Bottom-up enumeration with observational equivalence: of expressions that agree on all rows only
the cheapest is kept.  Truth values are stored as 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dsl.program import Call, Expr, Literal, Variable, negated

LARGEST = 2**31
"""Values beyond this are dropped, so that no product of two wraps around."""

Binary = Callable[[np.ndarray, np.ndarray], np.ndarray]
Blocks = list[tuple[np.ndarray, ...]]

_ARITHMETIC: tuple[tuple[str, Binary, bool], ...] = (
    ("add", np.add, True),
    ("sub", np.subtract, False),
    ("mul", np.multiply, True),
    ("max", np.maximum, True),
    ("min", np.minimum, True),
)
_COMPARISONS: tuple[tuple[str, Binary, bool], ...] = (
    ("lt", np.less, False),
    ("le", np.less_equal, False),
    ("eq", np.equal, True),
)
_LOGIC: tuple[tuple[str, Binary, bool], ...] = (
    ("and", np.minimum, True),
    ("or", np.maximum, True),
    ("ne", np.not_equal, True),
)
_OPERATIONS = {
    name: i
    for i, name in enumerate(
        (
            "leaf",
            "not",
            "abs",
            "mod",
            "floordiv",
            "add",
            "sub",
            "mul",
            "max",
            "min",
            "lt",
            "le",
            "eq",
            "and",
            "or",
            "ne",
            "neg",
        )
    )
}
_NAMES = {i: name for name, i in _OPERATIONS.items()}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A variable, a test of a token, or a constant, with its value on every row."""

    expr: Expr
    values: np.ndarray  # (R,) int64
    truth: bool
    cost: float


def literal_cost(value: int) -> float:
    """Nodes that a written integer counts for: one, and more for large ones."""
    return 1.0 if abs(value) <= 2 else 1.0 + 0.4 * float(np.log2(abs(value) / 2))


class Bank:
    """Expressions by number: `values` (n, R), `truth` (n,), `cost` (n,)."""

    def __init__(
        self,
        leaves: Sequence[Leaf],
        moduli: Sequence[int],
        *,
        levels: int = 3,
        limit: int = 40_000,
        seed: int = 0,
    ) -> None:
        rows = len(leaves[0].values) if leaves else 1
        rng = np.random.default_rng(seed)
        self.weights = rng.integers(-(2**62), 2**62, rows, dtype=np.int64) | 1
        self.leaves = tuple(leaves)
        self.moduli = tuple(moduli)
        self.values = np.zeros((0, rows), np.int64)
        self.truth = np.zeros(0, bool)
        self.cost = np.zeros(0)
        self.recipe = np.zeros((0, 3), np.int64)
        self.hashes = np.zeros(0, np.int64)
        self.tried = 0
        self._grow(leaves, levels, limit)
        self.order = np.argsort(self.hashes, kind="stable")
        self.sorted = self.hashes[self.order]

    def hash(self, values: np.ndarray) -> np.ndarray:
        """A linear hash of rows of values: hash(a) + hash(b) == hash(a + b), modulo 2**64."""
        with np.errstate(over="ignore"):
            return np.asarray((values * self.weights).sum(axis=-1))

    def _grow(self, leaves: Sequence[Leaf], levels: int, limit: int) -> None:
        if not leaves:
            return
        blocks: Blocks = [
            (
                np.stack([leaf.values for leaf in leaves]).astype(np.int64),
                np.array([leaf.truth for leaf in leaves]),
                np.array([leaf.cost for leaf in leaves]),
                np.array([(0, i, -1) for i in range(len(leaves))], np.int64),
            )
        ]
        self._add(blocks, limit)
        first = len(self.cost)
        start, stop = 0, first
        for level in range(1, levels):
            blocks = self._unary(start, stop)
            if level == 1:
                blocks += self._binary(0, stop, 0, stop)
            else:
                blocks += self._binary(start, stop, 0, first)
                blocks += self._binary(0, first, start, stop)
            start = len(self.cost)
            self._add(blocks, limit)
            stop = len(self.cost)
            if stop >= limit:
                break

    def _unary(self, start: int, stop: int) -> Blocks:
        index = np.arange(start, stop)
        values, truth = self.values[start:stop], self.truth[start:stop]
        blocks: Blocks = []

        def push(
            name: str,
            chosen: np.ndarray,
            result: np.ndarray,
            *,
            second: int,
            extra: np.ndarray | float,
            is_truth: bool,
        ) -> None:
            recipe = np.stack(
                [np.full(len(chosen), _OPERATIONS[name]), chosen, np.full(len(chosen), second)], 1
            )
            blocks.append(
                (result, np.full(len(chosen), is_truth), self.cost[chosen] + extra, recipe)
            )

        turned = np.isin(self.recipe[index[truth], 0], [_OPERATIONS[n] for n in ("lt", "le", "eq")])
        push("not", index[truth], 1 - values[truth], second=-1, extra=~turned, is_truth=True)
        number = index[~truth]
        push("abs", number, np.abs(values[~truth]), second=-1, extra=1, is_truth=False)
        for m in self.moduli:
            extra = 1 + literal_cost(m)
            push("mod", number, values[~truth] % m, second=m, extra=extra, is_truth=False)
            push("floordiv", number, values[~truth] // m, second=m, extra=extra, is_truth=False)
        return blocks

    def _binary(self, a0: int, a1: int, b0: int, b1: int) -> Blocks:
        a, b = np.arange(a0, a1), np.arange(b0, b1)
        blocks: Blocks = []
        number_a, number_b = a[~self.truth[a]], b[~self.truth[b]]
        truth_a, truth_b = a[self.truth[a]], b[self.truth[b]]
        for name, function, symmetric in _ARITHMETIC:
            if name in ("add", "sub"):
                blocks += self._pairs(name, function, a, b, symmetric, False)
            else:
                blocks += self._pairs(name, function, number_a, number_b, symmetric, False)
        for name, function, symmetric in _COMPARISONS:
            blocks += self._pairs(name, function, number_a, number_b, symmetric, True)
        for name, function, symmetric in _LOGIC:
            blocks += self._pairs(name, function, truth_a, truth_b, symmetric, True)
        return blocks

    def _pairs(
        self,
        name: str,
        function: Binary,
        a: np.ndarray,
        b: np.ndarray,
        symmetric: bool,
        truth: bool,
    ) -> Blocks:
        left, right = (grid.ravel() for grid in np.meshgrid(a, b, indexing="ij"))
        keep = left <= right if symmetric else left != right
        left, right = left[keep], right[keep]
        blocks: Blocks = []
        for begin in range(0, len(left), 20_000):
            i, j = left[begin : begin + 20_000], right[begin : begin + 20_000]
            result = function(self.values[i], self.values[j]).astype(np.int64)
            recipe = np.stack([np.full(len(i), _OPERATIONS[name]), i, j], 1)
            cost = self.cost[i] + self.cost[j] + 1
            blocks.append((result, np.full(len(i), truth), cost, recipe))
        return blocks

    def _add(self, blocks: Blocks, limit: int) -> None:
        """Takes in what is new, cheapest first."""
        values, truth, cost, recipe = (np.concatenate(parts) for parts in zip(*blocks))
        self.tried += len(cost)
        order = np.argsort(cost, kind="stable")
        values, truth, cost, recipe = values[order], truth[order], cost[order], recipe[order]
        hashes = self.hash(values)
        _, first = np.unique(hashes, return_index=True)
        first.sort()
        fits = np.abs(values[first]).max(axis=1, initial=0) <= LARGEST
        fresh = first[fits & ~np.isin(hashes[first], self.hashes)]
        fresh = fresh[: max(0, limit - len(self.cost))]
        self.values = np.concatenate([self.values, values[fresh]])
        self.truth = np.concatenate([self.truth, truth[fresh]])
        self.cost = np.concatenate([self.cost, cost[fresh]])
        self.recipe = np.concatenate([self.recipe, recipe[fresh]])
        self.hashes = np.concatenate([self.hashes, hashes[fresh]])

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """The numbers of the expressions with the given hashes; -1 where there is none."""
        if not len(self.sorted):
            return np.full(np.shape(hashes), -1)
        place = np.minimum(np.searchsorted(self.sorted, hashes), len(self.sorted) - 1)
        return np.where(self.sorted[place] == hashes, self.order[place], -1)

    def expr(self, number: int) -> Expr:
        code, a, b = (int(part) for part in self.recipe[number])
        name = _NAMES[code]
        match name:
            case "leaf":
                return self.leaves[a].expr
            case "not":
                return negated(self.expr(a))
            case "abs":
                return Call("abs", (self.expr(a),))
            case "mod" | "floordiv":
                return Call(name, (self.expr(a), Literal(b)))
            case _:
                return Call(name, (self.expr(a), self.expr(b)))


def leaf(expr: Expr, values: np.ndarray, *, truth: bool) -> Leaf:
    cost = 1.0 if isinstance(expr, Variable) else 2.0
    if isinstance(expr, Literal):
        cost = literal_cost(int(expr.value))  # type: ignore[arg-type]
    return Leaf(expr, np.asarray(values, np.int64), truth, cost)
