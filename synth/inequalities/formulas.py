"""Short formulas for a table of features: gates of tests, and scores of small integers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from dsl.program import Assign, Call, Expr, Literal, Variable, children, negated, walk
from synth.inequalities.forms import integer_bits

NODE_BITS = 6.0
MISTAKE_BITS = 8.0
_WEIGHTS = (1, 2, 3, 4, -1, -2, -3, -4)
_MOST_WEIGHINGS = 5000
_WIDTH = 80
_LARGEST = 5


@dataclass(frozen=True, slots=True)
class Formula:
    """A rule over features f0, f1, ...: an optional sum `score` of them and a truth value.

    `table` has its value for all combinations of codes, one axis per feature.
    """

    score: Expr | None
    result: Expr
    table: np.ndarray
    bits: float


@dataclass(frozen=True, slots=True)
class Counts:
    """The combinations of codes that occur (J, k) and how often the label is False and True."""

    codes: np.ndarray
    arities: tuple[int, ...]
    negative: np.ndarray
    positive: np.ndarray


def counts_of(codes: list[np.ndarray], arities: tuple[int, ...], labels: np.ndarray) -> Counts:
    joint = np.ravel_multi_index(tuple(codes), arities)
    seen, inverse = np.unique(joint, return_inverse=True)
    positive = np.bincount(inverse, weights=labels)
    total = np.bincount(inverse)
    rows = np.stack(np.unravel_index(seen, arities), 1)
    return Counts(rows, arities, total - positive, positive)


def formulas(counts: Counts, most: int) -> list[Formula]:
    """The formulas of fewest bits, mistakes included."""
    found = _scores(counts) + _gates(counts)
    found.sort(key=lambda formula: formula.bits)
    kept: list[Formula] = []
    for formula in found:
        if not any(np.array_equal(formula.table, other.table) for other in kept):
            kept.append(formula)
        if len(kept) == most:
            break
    return kept


def description_bits(*exprs: Expr | None) -> float:
    """Bits of expressions: six a node, and the digits of their integers."""
    bits = 0.0
    for expr in exprs:
        for node in walk(expr) if expr is not None else ():
            bits += NODE_BITS
            match node:
                case Literal(int(value)):
                    bits += integer_bits(value)
                case Literal(tuple(values)):
                    bits += sum(NODE_BITS + integer_bits(value) for value in values)
    return bits


def mistakes(counts: Counts, table: np.ndarray) -> float:
    truth = table[tuple(counts.codes.T)]
    return float(np.where(truth, counts.negative, counts.positive).sum())


def nodes(*exprs: Expr | None) -> int:
    return sum(1 for expr in exprs if expr is not None for _ in walk(expr))


def substituted(expr: Expr, values: dict[str, Expr]) -> Expr:
    """The expression with variables replaced."""
    match expr:
        case Variable(name) if name in values:
            return values[name]
        case Call("not", (inner,)):
            return negated(substituted(inner, values))
        case Call(primitive, args, options):
            return Call(primitive, tuple(substituted(arg, values) for arg in args), options)
    assert not children(expr)
    return expr


def statements(score: Expr | None) -> tuple[Assign, ...]:
    return () if score is None else (Assign(("score",), (score,)),)


# Scores.


def _scores(counts: Counts) -> list[Formula]:
    """`score` in some intervals, which may depend on one test that gates them."""
    found: list[tuple[float, np.ndarray, int | None]] = []
    features = range(len(counts.arities))
    for gate in (None, *(i for i in features if counts.arities[i] == 2)):
        summed = [i for i in features if i != gate]
        if not summed:
            continue
        weighings = _weighings(len(summed), len(counts.arities))
        weights = np.zeros((len(weighings), len(counts.arities)), np.int64)
        weights[:, summed] = weighings
        found += [(bits, weights[i], gate) for bits, i in _weighed(counts, weights, gate)]
    found.sort(key=lambda item: item[0])
    return [_scored(counts, weights, gate) for _, weights, gate in found[:12]]


def _weighings(count: int, features: int) -> np.ndarray:
    """Weights of which the first is positive, without a common factor."""
    choices = _WEIGHTS if features <= 4 else (1, 2, -1, -2)
    rows = []
    for rest in itertools.product(choices, repeat=count - 1):
        for first in (1, 2, 3):
            weights = (first, *rest)
            if np.gcd.reduce(weights) == 1:
                rows.append(weights)
    return np.array(rows[: 4 * _MOST_WEIGHINGS], np.int64).reshape(-1, count)


def _weighed(counts: Counts, weights: np.ndarray, gate: int | None) -> list[tuple[float, int]]:
    """An estimate of the bits of each weighing; the best few."""
    sums = weights @ counts.codes.T
    sums -= sums.min(1, keepdims=True)
    gated = 0 if gate is None else counts.codes[:, gate]
    span = int(sums.max()) + 1
    sides = 1 if gate is None else 2
    index = (np.arange(len(weights))[:, None] * sides + gated) * span + sums
    shape = (len(weights), sides, span)
    size = int(np.prod(shape))
    negative, positive = (
        np.bincount(
            index.ravel(), np.broadcast_to(part, index.shape).ravel(), minlength=size
        ).reshape(shape)
        for part in (counts.negative, counts.positive)
    )
    wrong = np.minimum(negative, positive).sum((1, 2))
    truth = np.sign(positive - negative)
    runs = np.zeros(len(weights))
    for side in range(sides):
        last = np.zeros(len(weights))
        for place in range(span):
            now = truth[:, side, place]
            runs += (now != 0) & (last != 0) & (now != last)
            last = np.where(now != 0, now, last)
    used = (weights != 0).sum(1) + 2 * ((weights != 0) & (np.abs(weights) != 1)).sum(1)
    bits = MISTAKE_BITS * wrong + NODE_BITS * (4 * runs + 2 * used + (4 if gate is not None else 0))
    order = np.argsort(bits, kind="stable")[:4]
    return [(float(bits[i]), int(i)) for i in order]


def _scored(counts: Counts, weights: np.ndarray, gate: int | None) -> Formula:
    sums = counts.codes @ weights
    grid = np.indices(counts.arities).reshape(len(counts.arities), -1)
    everywhere = weights @ grid
    low, high = int(everywhere.min()), int(everywhere.max())
    sides = (0,) if gate is None else (0, 1)
    truths = []
    for side in sides:
        chosen = slice(None) if gate is None else counts.codes[:, gate] == side
        balance = np.bincount(
            sums[chosen] - low,
            (counts.positive - counts.negative)[chosen],
            minlength=high - low + 1,
        )
        truths.append(_filled(balance))
    score = _weighted_sum(weights)
    plain = nodes(score) == 1
    name: Expr = score if plain else Variable("score")
    if gate is None:
        result = _intervals(name, truths[0], low)
        table = truths[0][everywhere - low]
    else:
        result = _gated(name, Variable(f"f{gate}"), truths, low)
        table = np.where(grid[gate] == 1, truths[1][everywhere - low], truths[0][everywhere - low])
    table = table.reshape(counts.arities)
    bits = NODE_BITS * (nodes(result, None if plain else score) + 2)
    return Formula(
        None if plain else score,
        result,
        table,
        bits + MISTAKE_BITS * mistakes(counts, table),
    )


def _filled(balance: np.ndarray) -> np.ndarray:
    """Truth for each sum; sums that never occur take the value of the nearest that does."""
    known = np.flatnonzero(balance != 0)
    if not len(known):
        return np.zeros(len(balance), bool)
    places = np.arange(len(balance))
    right = np.searchsorted(known, places).clip(0, len(known) - 1)
    left = (right - 1).clip(0)
    nearer = np.abs(known[left] - places) <= np.abs(known[right] - places)
    nearest = np.where(nearer, known[left], known[right])
    return np.asarray(balance[nearest] > 0)


def _weighted_sum(weights: np.ndarray) -> Expr:
    expr: Expr | None = None
    order = sorted(np.flatnonzero(weights).tolist(), key=lambda i: (weights[i] < 0, i))
    for i in order:
        feature: Expr = Variable(f"f{i}")
        weight = int(weights[i])
        part = feature if abs(weight) == 1 else Call("mul", (Literal(abs(weight)), feature))
        if expr is None:
            expr = part if weight > 0 else Call("neg", (part,))
        else:
            expr = Call("add" if weight > 0 else "sub", (expr, part))
    assert expr is not None
    return expr


def _gated(score: Expr, gate: Expr, truths: list[np.ndarray], low: int) -> Expr:
    """Two sets of sums, for a test that fails and one that holds."""
    off, on = truths
    if np.array_equal(off, on):
        return _intervals(score, off, low)
    options: list[Expr] = [
        Call("ite", (gate, _intervals(score, on, low), _intervals(score, off, low)))
    ]
    if (on | ~off).all():
        extra = _least_runs(on & ~off, off)
        options.append(_either(_intervals(score, off, low), _both(gate, score, extra, low)))
    elif (off | ~on).all():
        extra = _least_runs(off & ~on, on)
        closed = negated(gate)
        options.append(_either(_intervals(score, on, low), _both(closed, score, extra, low)))
    return min(options, key=nodes)


def _least_runs(needed: np.ndarray, free: np.ndarray) -> np.ndarray:
    """A superset of `needed` within `needed | free` whose runs reach as far as they may."""
    result = needed.copy()
    for places in (range(1, len(needed)), range(len(needed) - 2, -1, -1)):
        step = -1 if places.step > 0 else 1
        trial = result.copy()
        for i in places:
            trial[i] |= free[i] and trial[i + step]
        if (np.diff(trial.astype(int)) != 0).sum() < (np.diff(result.astype(int)) != 0).sum():
            result = trial
    return result


def _both(gate: Expr, score: Expr, truth: np.ndarray, low: int) -> Expr:
    if truth.all():
        return gate
    inner = _intervals(score, truth, low)
    return Call("and", (inner, gate))


def _either(one: Expr, other: Expr) -> Expr:
    if one == Literal(False):
        return other
    return Call("or", (one, other))


def _intervals(score: Expr, truth: np.ndarray, low: int) -> Expr:
    """Truth as comparisons of the score, one for each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], truth.astype(int), [0]])))
    runs = [(int(a) + low, int(b) - 1 + low) for a, b in edges.reshape(-1, 2)]
    high = low + len(truth) - 1
    parts: list[Expr] = []
    for first, last in runs:
        if (first, last) == (low, high):
            return Literal(True)
        if first == low:
            parts.append(Call("le", (score, Literal(last))))
        elif last == high:
            parts.append(Call("ge", (score, Literal(first))))
        elif first == last:
            parts.append(Call("eq", (score, Literal(first))))
        else:
            parts.append(
                Call(
                    "and",
                    (
                        Call("le", (Literal(first), score)),
                        Call("le", (score, Literal(last))),
                    ),
                )
            )
    if not parts:
        return Literal(False)
    if len(parts) >= 3 and truth.sum() <= 8:
        members = tuple(int(i) + low for i in np.flatnonzero(truth))
        return Call("contains", (score, Literal(members)))
    parts.sort(key=nodes)
    result = parts[0]
    for part in parts[1:]:
        result = Call("or", (result, part))
    return result


# Gates.


@dataclass(frozen=True, slots=True)
class _Gate:
    expr: Expr
    truth: np.ndarray
    size: float


def _gates(counts: Counts) -> list[Formula]:
    """Formulas of `and`, `or`, `!=` and `not` over tests, by growing size."""
    grid = np.indices(counts.arities).reshape(len(counts.arities), -1)
    place = np.ravel_multi_index(tuple(counts.codes.T), counts.arities)
    balance = counts.positive - counts.negative
    base = float(counts.positive.sum())
    levels: list[list[_Gate]] = [_literals(counts, grid)]
    seen = {gate.truth[place].tobytes() for gate in levels[0]}
    for size in range(2, _LARGEST + 1):
        candidates: list[tuple[float, int, int, int, str]] = []
        fresh: list[_Gate] = []
        for left in range(size - 1, (size - 1) // 2, -1):
            ones, others = levels[left - 1], levels[size - left - 1]
            if not ones or not others:
                continue
            a = np.array([gate.truth[place] for gate in ones])
            b = np.array([gate.truth[place] for gate in others])
            for name, joined in (
                ("and", a[:, None] & b[None]),
                ("or", a[:, None] | b[None]),
                ("ne", a[:, None] ^ b[None]),
            ):
                gain = joined @ balance
                for i, j in _top(gain, 2 * _WIDTH):
                    candidates.append((-float(gain[i, j]), left, i, j, name))
        candidates.sort()
        for _, left, i, j, name in candidates:
            one, other = levels[left - 1][i], levels[size - left - 1][j]
            truth = _joined(name, one.truth, other.truth)
            key = truth[place].tobytes()
            if key in seen:
                continue
            seen.add(key)
            expr = Call(name, (one.expr, other.expr))
            fresh.append(_Gate(expr, truth, one.size + other.size + 1))
            if len(fresh) == _WIDTH:
                break
        levels.append(fresh)
    found = []
    for gate in itertools.chain.from_iterable(levels):
        wrong = base - float(gate.truth[place] @ balance)
        bits = NODE_BITS * gate.size + MISTAKE_BITS * wrong
        found.append(Formula(None, gate.expr, gate.truth.reshape(counts.arities), bits))
    return sorted(found, key=lambda formula: formula.bits)[:12]


def _literals(counts: Counts, grid: np.ndarray) -> list[_Gate]:
    found: list[_Gate] = []
    for i, arity in enumerate(counts.arities):
        feature = Variable(f"f{i}")
        if arity == 2:
            found.append(_Gate(feature, grid[i] == 1, 1.0))
            found.append(_Gate(negated(feature), grid[i] == 0, 1.1))
            continue
        for value in range(arity):
            found.append(_Gate(Call("eq", (feature, Literal(value))), grid[i] == value, 3.0))
            found.append(_Gate(Call("ne", (feature, Literal(value))), grid[i] != value, 3.0))
            if value > 1:
                found.append(_Gate(Call("lt", (feature, Literal(value))), grid[i] < value, 3.0))
                found.append(_Gate(Call("ge", (feature, Literal(value))), grid[i] >= value, 3.0))
    return found


def _joined(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    operations = {"and": np.logical_and, "or": np.logical_or, "ne": np.logical_xor}
    return np.asarray(operations[name](a, b))


def _top(gain: np.ndarray, most: int) -> list[tuple[int, int]]:
    flat = gain.ravel()
    if len(flat) > most:
        order = np.argpartition(-flat, most)[:most]
    else:
        order = np.arange(len(flat))
    order = order[np.lexsort((order, -flat[order]))]
    return [(int(i) // gain.shape[1], int(i) % gain.shape[1]) for i in order]
