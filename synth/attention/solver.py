"""Programs for one column of answers from columns of features.

From the plainest down: a feature that is the answer; a table or a set of values of one feature;
an arithmetic or logical expression over the features that tell most; a decision list over derived
tests; a table of the fewest features of which the answers are a function.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl.program import Call, Constant, Expr, Literal, negated, walk
from synth.enumeration import Bank, Leaf
from synth.trees import Formulas, Material, smallest_trees

_PROBES = 256
_LEAVES = 12
_TABLE = 130
_CAPACITY = 12_000
_LARGEST = 2**31 - 1
_NUMBERS = (0, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class Feature:
    """An expression with its values at all places."""

    expr: Expr
    values: np.ndarray
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An expression for the answers, with tables that it names, and how it was found."""

    expr: Expr
    constants: tuple[tuple[str, Any], ...] = ()
    how: str = ""
    tried: int = 0


@dataclass(frozen=True)
class Goal:
    """The answers as they are, and as codes of `kinds` (their different values, in order)."""

    values: np.ndarray
    kinds: tuple[Any, ...]
    codes: np.ndarray

    @property
    def is_integer(self) -> bool:
        return self.values.dtype.kind in "iu"

    def is_met_by(self, values: np.ndarray) -> bool:
        return values.dtype.kind == self.values.dtype.kind and np.array_equal(values, self.values)

    def is_truth_of(self, values: np.ndarray) -> bool:
        """Are the answers 1 where a test holds, else 0?"""
        whole = self.is_integer and self.kinds == (0, 1)
        return whole and values.dtype == bool and np.array_equal(values, self.codes)


def goal_of(values: np.ndarray) -> Goal:
    kinds, codes = np.unique(values, return_inverse=True)
    return Goal(values, tuple(kinds.tolist()), codes.reshape(-1))


def feature(expr: Expr, values: np.ndarray) -> Feature:
    return Feature(expr, values, sum(1 for _ in walk(expr)))


def plain_answers(features: list[Feature], goal: Goal) -> Iterator[Answer]:
    """Features that are the answer; then tables of one feature, the shortest first."""
    if len(goal.kinds) == 1:
        yield Answer(Literal(goal.kinds[0]), how="constant")
        return
    for f in features:
        if goal.is_met_by(f.values):
            yield Answer(f.expr, how="feature")
            return
    for f in features:
        if goal.is_truth_of(f.values):
            yield Answer(Call("int", (f.expr,)), how="feature")
            return
    tables = [a for f in features if (a := of_one(f, goal)) is not None]
    tables.sort(key=lambda answer: answer_size(answer))
    yield from tables[:2]


def answer_size(answer: Answer) -> int:
    entries = sum(2 * len(table) for _, table in answer.constants)
    extra = sum(
        len(node.value)
        for node in walk(answer.expr)
        if isinstance(node, Literal) and isinstance(node.value, tuple)
    )
    return sum(1 for _ in walk(answer.expr)) + entries + extra


def of_one(f: Feature, goal: Goal) -> Answer | None:
    """The answers as a set or a table of a feature's values; None where they are no function."""
    kinds, codes = np.unique(f.values, return_inverse=True)
    if len(kinds) > _TABLE or len(kinds) < 2 or len(kinds) * 8 > len(codes) + 40:
        return None
    table = np.full(len(kinds), -1)
    table[codes] = goal.codes
    if not np.array_equal(table[codes], goal.codes):
        return None
    return tabulated(f.expr, [kind.item() for kind in kinds], [goal.kinds[k] for k in table])


def tabulated(key: Expr, keys: list[Any], values: list[Any]) -> Answer:
    """The value that belongs to a key: a remainder, a test for two values, else a map."""
    if (remainder := _remainder(key, keys, values)) is not None:
        return Answer(remainder, how="remainder")
    kinds = sorted(set(values), key=lambda value: (values.count(value), repr(value)))
    if len(kinds) == 2:
        rare = [k for k, v in zip(keys, values, strict=True) if v == kinds[0]]
        test: Expr = (
            Call("eq", (key, Literal(rare[0])))
            if len(rare) == 1
            else Call("contains", (key, Literal(tuple(rare))))
        )
        if isinstance(rare[0], bool):
            test = key if rare[0] else negated(key)
        return Answer(either(test, kinds[0], kinds[1]), how="set")
    default = kinds[-1]
    table = dict(zip(keys, values, strict=True))
    rest = {k: v for k, v in table.items() if v != default}
    if len(rest) + 1 < len(table):
        shorter = Call("get", (Constant("TABLE"), key, Literal(default)))
        return Answer(shorter, (("TABLE", rest),), how="table")
    return Answer(Call("index", (Constant("TABLE"), key)), (("TABLE", table),), how="table")


def _remainder(key: Expr, keys: list[Any], values: list[Any]) -> Expr | None:
    """`(key + k) % m` or `(k - key) % m` where that is the value of every key, over more than one
    round; None where there is no such law."""
    if not all(type(x) is int for x in (*keys, *values)) or min(values) < 0:
        return None
    modulus = max(values) + 1
    if modulus < 2 or max(keys) - min(keys) < modulus:
        return None
    for k in range(modulus):
        if all((x + k) % modulus == value for x, value in zip(keys, values, strict=True)):
            shifted = key if k == 0 else Call("add", (key, Literal(k)))
            return Call("mod", (shifted, Literal(modulus)))
    for k in range(modulus):
        if all((k - x) % modulus == value for x, value in zip(keys, values, strict=True)):
            return Call("mod", (Call("sub", (Literal(k), key)), Literal(modulus)))
    return None


def either(test: Expr, yes: Any, no: Any) -> Expr:
    """`yes if test else no`, or the test itself where that is what it says."""
    if (yes, no) == (True, False) and isinstance(yes, bool):
        return test
    if (yes, no) == (False, True) and isinstance(yes, bool):
        return negated(test)
    if (yes, no) == (1, 0) and isinstance(yes, int):
        return Call("int", (test,))
    return Call("ite", (test, Literal(yes), Literal(no)))


def informative(features: list[Feature], goal: Goal, beside: Feature | None = None) -> np.ndarray:
    """For each feature, the bits of the answers that remain when it is known, and one `beside`,
    corrected for the number of their values (Miller and Madow)."""
    total = len(goal.codes)
    wide = int(goal.codes.max()) + 1
    known = 0 if beside is None else np.unique(beside.values, return_inverse=True)[1].reshape(-1)
    result = np.empty(len(features))
    for number, f in enumerate(features):
        kinds, codes = np.unique(f.values, return_inverse=True)
        both = known * len(kinds) + codes.reshape(-1)
        alone = np.bincount(both)
        joint = np.bincount(both.astype(np.int64) * wide + goal.codes)
        alone, joint = alone[alone > 0], joint[joint > 0]
        bits = _bits(joint, total) - _bits(alone, total)
        result[number] = bits + (len(joint) - len(alone)) / (2 * total * math.log(2))
        result[number] += 0.02 * len(kinds) / total
    return result


def _bits(counts: np.ndarray, total: int) -> float:
    share = counts / total
    return float(-(share * np.log2(share)).sum())


def ranked(features: list[Feature], goal: Goal, most: int) -> list[Feature]:
    """The first three features, which everything is made of; then in turn those that tell most
    about the answers, and those that tell most beside the first or the second, the shortest of
    equals: `(c + s[0]) % 4` depends on nothing alone.  Fewer of them are the beginning of more."""
    alone = informative(features, goal)
    beside = np.min([informative(features, goal, f) for f in features[:2]], axis=0)

    def order(bits: np.ndarray) -> list[int]:
        return sorted(
            range(len(features)), key=lambda k: (round(float(bits[k]), 3), features[k].size)
        )

    turns = [k for pair in zip(order(alone), order(beside), strict=True) for k in pair]
    chosen = list(dict.fromkeys([*range(min(3, len(features))), *turns]))[: most + 3]
    return [features[k] for k in chosen]


def probes(goal: Goal, rng: np.random.Generator) -> np.ndarray:
    """Places on which candidates are compared: some of every answer, else at random."""
    picked: list[int] = []
    share = max(2, _PROBES // (2 * len(goal.kinds)))
    for code in range(len(goal.kinds)):
        picked += rng.permutation(np.flatnonzero(goal.codes == code))[:share].tolist()
    rest = rng.permutation(len(goal.codes))[:_PROBES].tolist()
    return np.array(sorted(dict.fromkeys([*picked[:_PROBES], *rest])))


def bank_of(
    features: list[Feature],
    goal: Goal,
    rows: np.ndarray,
    numbers: tuple[int, ...],
    capacity: int = _CAPACITY,
) -> Bank:
    """A bank over integer and boolean features, with the answers as its goal where they can be
    had by arithmetic or logic."""
    leaves = [
        Leaf(f.expr, f.values[rows] if f.values.dtype == bool else f.values[rows].astype(np.int64))
        for f in features
        if f.values.dtype.kind in "biu" and np.abs(f.values).max(initial=0) <= _LARGEST
    ]
    leaves += [Leaf(Literal(k), np.full(len(rows), k, np.int64)) for k in numbers]
    texts = [f for f in features if f.values.dtype.kind == "U"]
    for a, f in enumerate(texts):
        for g in texts[a + 1 :]:
            same = f.values[rows] == g.values[rows]
            leaves.append(Leaf(Call("eq", (f.expr, g.expr)), same, 2))
    goals: tuple[np.ndarray, ...] = ()
    if goal.is_integer and np.abs(goal.values).max() <= _LARGEST:
        goals = (goal.values[rows].astype(np.int64),)
    elif len(goal.kinds) == 2:
        goals = ((goal.codes[rows] == 1),)
    return Bank(leaves, goals=goals, capacity=capacity)


def expressed(bank: Bank, goal: Goal, deepest: int, deadline: float) -> Iterator[tuple[Expr, int]]:
    """Expressions of the bank that equal the goal on its rows, as it grows."""
    while bank.cost < deepest and time.monotonic() < deadline:
        for found in bank.grow(bank.cost + 1, deadline):
            expr = found.expr
            if len(goal.kinds) == 2 and not goal.is_integer:
                expr = either(expr, goal.kinds[1], goal.kinds[0])
            yield expr, found.tried


def of_combination(bank: Bank, goal: Goal, rows: np.ndarray) -> Iterator[Answer]:
    """Tables of one integer expression of the bank, the cheapest first."""
    values = bank.rows("int")
    wide = int(goal.codes.max()) + 1
    wanted = goal.codes[rows]
    for k in range(len(values)):
        low, high = int(values[k].min()), int(values[k].max())
        if high - low > 64 or high == low:
            continue
        shifted = values[k] - low
        both = np.bincount(shifted * wide + wanted, minlength=(high - low + 1) * wide)
        table = both.reshape(-1, wide)
        if ((table > 0).sum(1) > 1).any():
            continue
        present = np.flatnonzero(table.any(1))
        keys = [int(key) + low for key in present]
        yield tabulated(
            bank.expr("int", k), keys, [goal.kinds[int(code)] for code in table[present].argmax(1)]
        )


def decisions(
    bank: Bank, features: list[Feature], goal: Goal, rows: np.ndarray, deadline: float
) -> list[Expr]:
    """Decision lists over the bank's tests; at their leaves literals, or features that hold."""
    tests = _formulas(bank, "bool", features, rows)
    if not len(tests.exprs):
        return []
    if goal.is_integer:
        leaves = _formulas(bank, "int", [], rows)
        return smallest_trees(
            Material(tests, leaves, goal.values[rows].astype(np.int64), ()), deadline
        )
    order = {kind: code for code, kind in enumerate(goal.kinds)}
    copies = [
        f
        for f in features
        if f.values.dtype.kind == "U" and isinstance(goal.kinds[0], str) and f.size > 0
    ]
    values = np.array(
        [[order.get(value, -1) for value in f.values[rows].tolist()] for f in copies], np.int64
    ).reshape(len(copies), len(rows))
    leaves = Formulas(
        tuple(f.expr for f in copies), values, np.array([f.size for f in copies], int)
    )
    literals = tuple(Literal(kind) for kind in goal.kinds)
    return smallest_trees(Material(tests, leaves, goal.codes[rows], literals), deadline)


def _formulas(
    bank: Bank, name: str, features: list[Feature], rows: np.ndarray, most: int = 3000
) -> Formulas:
    values = bank.rows(name)[:most]
    exprs = [bank.expr(name, k) for k in range(len(values))]
    if name == "bool":
        known = set(exprs)
        more = [f for f in features if f.values.dtype == bool and f.expr not in known]
        exprs += [f.expr for f in more]
        values = np.concatenate([values, *(f.values[None, rows] for f in more)])
    sizes = np.array([sum(1 for _ in walk(expr)) for expr in exprs], int)
    return Formulas(tuple(exprs), values, sizes)


def of_several(
    features: list[Feature], goal: Goal, most: int = 3, deadline: float = math.inf
) -> Answer | None:
    """A table of the fewest features of which the answers are a function (beam search)."""
    columns = []
    for f in features:
        kinds, codes = np.unique(f.values, return_inverse=True)
        columns.append((len(kinds), codes.reshape(-1).astype(np.int64)))
    wide = int(goal.codes.max()) + 1
    total = len(goal.codes)
    beam: list[tuple[float, tuple[int, ...], np.ndarray]] = [
        (math.inf, (), np.zeros(total, np.int64))
    ]
    for _ in range(most):
        grown: list[tuple[float, tuple[int, ...], np.ndarray]] = []
        for _, chosen, codes in beam:
            for k, (count, column) in enumerate(columns):
                if k in chosen or (chosen and k < chosen[0]) or count > 32:
                    continue
                if time.monotonic() > deadline:
                    return None
                joint = np.unique(codes * count + column, return_inverse=True)[1].reshape(-1)
                _, pairs = np.unique(joint * wide + goal.codes, return_counts=True)
                _, alone = np.unique(joint, return_counts=True)
                left = _bits(pairs, total) - _bits(alone, total)
                score = left + 0.5 * len(alone) / total
                grown.append((score, (*chosen, k), joint))
                if len(pairs) == len(alone) and len(alone) <= min(_TABLE, total // 8):
                    return _table_of([features[x] for x in (*chosen, k)], goal)
        beam = sorted(grown, key=lambda entry: (entry[0], entry[1]))[:12]
    return None


def _table_of(features: list[Feature], goal: Goal) -> Answer:
    keys = list(zip(*(f.values.tolist() for f in features), strict=True))
    table = {key: goal.kinds[code] for key, code in zip(keys, goal.codes.tolist(), strict=True)}
    entries = sorted(table.items(), key=lambda item: repr(item[0]))
    key: Expr = Call("tuple", tuple(f.expr for f in features))
    if len(features) == 1:
        entries = [(k[0], v) for k, v in entries]  # type: ignore[misc]
        key = features[0].expr
    return tabulated_pairs(key, dict(entries))


def tabulated_pairs(key: Expr, table: dict[Any, Any]) -> Answer:
    """A map, with its most frequent value as the default where that is shorter."""
    counts = {value: list(table.values()).count(value) for value in table.values()}
    default = max(counts, key=lambda value: (counts[value], repr(value)))
    rest = {k: v for k, v in table.items() if v != default}
    if len(rest) + 1 < len(table):
        return Answer(
            Call("get", (Constant("TABLE"), key, Literal(default))), (("TABLE", rest),), "table"
        )
    return Answer(Call("index", (Constant("TABLE"), key)), (("TABLE", table),), "table")
