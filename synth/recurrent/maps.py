"""The cheapest expression for a map that is known on some rows.

On top of a bank of small expressions: one more operation with a constant that is solved for, sums
and differences of two, integer linear forms, and conditionals by cover.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dsl.program import Call, Expr, Literal, negated
from synth.recurrent.bank import Bank, Leaf, literal_cost

_CONDITIONS, _LEAVES = 1200, 2500


@dataclass(frozen=True, slots=True)
class Found:
    """An expression that gives the wanted values, and its cost in nodes."""

    expr: Expr
    cost: float
    truth: bool


def cheapest(bank: Bank, wanted: np.ndarray, *, truth: bool, depth: int = 2) -> Found | None:
    """The cheapest expression found for `wanted` (R,); truth values are 0 and 1."""
    found = [*_direct(bank, wanted, truth), *_solved(bank, wanted, truth)]
    found += _sums(bank, wanted, truth)
    found += _linear(bank, wanted, truth)
    best = min(found, key=lambda f: f.cost, default=None)
    if best is None or best.cost > 6:
        limit = np.inf if best is None else best.cost
        rows = np.ones(len(wanted), bool)
        covered = _covered(bank, wanted, truth, rows, depth, limit)
        if covered is not None:
            best = covered
    return best


def _direct(bank: Bank, wanted: np.ndarray, truth: bool) -> Iterator[Found]:
    values = np.unique(wanted)
    if len(values) == 1:
        value = int(values[0])
        written = Literal(bool(value)) if truth else Literal(value)
        yield Found(written, literal_cost(value), truth)
    number = int(bank.find(bank.hash(wanted)))
    if number >= 0:
        yield _typed(bank.expr(number), float(bank.cost[number]), bool(bank.truth[number]), truth)


def _typed(expr: Expr, cost: float, is_truth: bool, truth: bool) -> Found:
    """The expression as a truth value or a number, as wanted."""
    if is_truth and not truth:
        return Found(Call("int", (expr,)), cost + 1, False)
    if truth and not is_truth:
        return Found(Call("eq", (expr, Literal(1))), cost + 2, True)
    return Found(expr, cost, truth)


def _solved(bank: Bank, wanted: np.ndarray, truth: bool) -> Iterator[Found]:
    """One more operation with a constant: the constant follows from the values."""
    number = np.flatnonzero(~bank.truth)
    if not len(number) or not len(wanted):
        return
    values = bank.values[number]
    cost = bank.cost[number]
    if truth or set(np.unique(wanted).tolist()) <= {0, 1}:
        yield from (
            _typed(found.expr, found.cost, True, truth)
            for found in _thresholds(bank, number, values, cost, wanted.astype(bool))
        )
    if truth:
        return
    difference = wanted - values
    constant = (difference == difference[:, :1]).all(axis=1)
    yield from _shifted(bank, number, cost, difference[:, 0], constant)
    yield from _moduli(bank, number, values, cost, wanted)
    for name, extreme in (("max", wanted.min()), ("min", wanted.max())):
        clipped = getattr(np, name + "imum")(values, extreme)
        for i in _first((clipped == wanted).all(axis=1), cost):
            yield _call(name, bank, number[i], int(extreme), cost[i])
    large = np.abs(values).argmax(axis=1)
    top = values[np.arange(len(values)), large]
    ratio = np.where(top != 0, wanted[large] // np.where(top == 0, 1, top), 0)
    for i in _first((values * ratio[:, None] == wanted).all(axis=1) & (ratio != 0), cost):
        yield _call("mul", bank, number[i], int(ratio[i]), cost[i])


def _first(good: np.ndarray, cost: np.ndarray) -> list[int]:
    """The cheapest of those that are good, as a list of at most one."""
    places = np.flatnonzero(good)
    return [int(places[np.argmin(cost[places])])] if len(places) else []


def _call(name: str, bank: Bank, number: int, constant: int, cost: float) -> Found:
    expr = Call(name, (bank.expr(int(number)), Literal(constant)))
    return Found(expr, float(cost) + 1 + literal_cost(constant), False)


def _shifted(
    bank: Bank, number: np.ndarray, cost: np.ndarray, shift: np.ndarray, good: np.ndarray
) -> Iterator[Found]:
    price = cost + np.array([literal_cost(int(s)) if g else 99 for s, g in zip(shift, good)])
    for i in _first(good, price):
        c = int(shift[i])
        if c == 0:
            continue
        name, c = ("add", c) if c > 0 else ("sub", -c)
        yield _call(name, bank, number[i], c, cost[i])


def _moduli(
    bank: Bank, number: np.ndarray, values: np.ndarray, cost: np.ndarray, wanted: np.ndarray
) -> Iterator[Found]:
    least, most = int(wanted.min()), int(wanted.max())
    if least >= 0 and most <= 64:
        for m in sorted({most + 1, most + 2, *(m for m in bank.moduli if m > most)}):
            if m >= 2:
                for i in _first(_agrees(lambda v, m=m: v % m, values, wanted), cost):
                    yield _call("mod", bank, number[i], m, cost[i])
    for m in range(2, 13):
        for i in _first(_agrees(lambda v, m=m: v // m, values, wanted), cost):
            yield _call("floordiv", bank, number[i], m, cost[i])


def _agrees(function, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Where the function of the values equals `wanted` on all rows; a few rows are tried first."""
    good = (function(values[:, :6]) == wanted[:6]).all(axis=1)
    places = np.flatnonzero(good)
    good[places] = (function(values[places]) == wanted).all(axis=1)
    return np.asarray(good)


def _thresholds(
    bank: Bank, number: np.ndarray, values: np.ndarray, cost: np.ndarray, wanted: np.ndarray
) -> Iterator[Found]:
    """`e > c`, `e < c`, `e == c` and `e != c`."""
    if wanted.all() or not wanted.any():
        return
    yes, no = values[:, wanted], values[:, ~wanted]
    least, most = yes.min(axis=1), yes.max(axis=1)
    low, high = no.min(axis=1), no.max(axis=1)
    for name, good, constant in (
        ("gt", least > high, _between(high, least)),
        ("lt", most < low, _between(most, low) + 1),
    ):
        price = cost + np.array([literal_cost(int(c)) if g else 99 for c, g in zip(constant, good)])
        for i in _first(good, price):
            expr = Call(name, (bank.expr(int(number[i])), Literal(int(constant[i]))))
            yield Found(expr, float(price[i]) + 1, True)
    for name, side, other in (("eq", yes, no), ("ne", no, yes)):
        constant = side[:, 0]
        good = (side == constant[:, None]).all(axis=1) & (other != constant[:, None]).all(axis=1)
        price = cost + np.array([literal_cost(int(c)) if g else 99 for c, g in zip(constant, good)])
        for i in _first(good, price):
            expr = Call(name, (bank.expr(int(number[i])), Literal(int(constant[i]))))
            yield Found(expr, float(price[i]) + 1, True)


def _between(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The simplest integer c with below <= c < above: 0 where it fits, else the middle."""
    middle = (below + above - 1) // 2
    return np.where((below <= 0) & (above > 0), 0, np.where(above - below <= 2, below, middle))


def _sums(bank: Bank, wanted: np.ndarray, truth: bool) -> Iterator[Found]:
    """`a + b` and `a - b` of any two expressions of the bank, by the linear hash."""
    if truth:
        return
    goal = bank.hash(wanted)
    with np.errstate(over="ignore"):
        for name, need in (("add", goal - bank.hashes), ("sub", bank.hashes - goal)):
            partner = bank.find(need)
            good = partner >= 0
            price = bank.cost + np.where(good, bank.cost[partner], 0)
            for i in _first(good, price):
                a, b = bank.expr(i), bank.expr(int(partner[i]))
                yield Found(Call(name, (a, b)), float(price[i]) + 1, False)


def _linear(bank: Bank, wanted: np.ndarray, truth: bool) -> Iterator[Found]:
    """Integer linear forms of the variables, as they are, modulo a number, or over a threshold."""
    names = [i for i, leaf in enumerate(bank.leaves) if not isinstance(leaf.expr, Literal)]
    if not names:
        return
    columns = np.stack([bank.leaves[i].values for i in names], axis=1)
    leaves = [bank.leaves[i] for i in names]
    if not truth:
        yield from _affine(leaves, columns, wanted)
        most = int(wanted.max(initial=0))
        if wanted.min(initial=0) >= 0:
            for m in sorted({most + 1, *(m for m in bank.moduli if m > most)}):
                yield from _congruence(leaves, columns, wanted, m)
    elif 2 <= len(leaves) <= 5:
        yield from _separations(leaves, columns, wanted.astype(bool))


def _affine(leaves: Sequence[Leaf], columns: np.ndarray, wanted: np.ndarray) -> Iterator[Found]:
    design = np.column_stack([columns, np.ones(len(wanted))]).astype(float)
    if np.linalg.matrix_rank(design) < min(design.shape[1], 2):
        return
    solution = np.linalg.lstsq(design, wanted.astype(float), rcond=None)[0]
    weights = np.rint(solution).astype(np.int64)
    if (np.abs(weights) < 10_000).all() and (columns @ weights[:-1] + weights[-1] == wanted).all():
        expr, cost = linear_form(leaves, weights)
        yield Found(expr, cost, False)


def _congruence(
    leaves: Sequence[Leaf], columns: np.ndarray, wanted: np.ndarray, m: int
) -> Iterator[Found]:
    count = len(leaves)
    if m < 2 or m ** (count + 1) > 20_000:
        return
    weights = np.array(list(itertools.product(range(m), repeat=count + 1)), np.int64)
    weights = weights[np.argsort(weights.sum(axis=1), kind="stable")]
    values = columns[:5] @ weights[:, :-1].T + weights[:, -1]
    for w in weights[((values % m) == wanted[:5, None]).all(axis=0)]:
        if ((columns @ w[:-1] + w[-1]) % m == wanted).all():
            expr, cost = linear_form(leaves, w)
            yield Found(Call("mod", (expr, Literal(m))), cost + 1 + literal_cost(m), False)
            return


def _separations(
    leaves: Sequence[Leaf], columns: np.ndarray, wanted: np.ndarray
) -> Iterator[Found]:
    span = range(-2, 3) if len(leaves) <= 4 else range(-1, 2)
    weights = np.array(list(itertools.product(span, repeat=len(leaves))), np.int64)
    values = columns @ weights.T
    least, high = values[wanted].min(axis=0), values[~wanted].max(axis=0)
    good = np.flatnonzero(least > high)
    if len(good):
        i = good[np.argmin(np.abs(weights[good]).sum(axis=1))]
        threshold = int(_between(high[i : i + 1], least[i : i + 1])[0])
        expr, cost = linear_form(leaves, np.append(weights[i], 0))
        yield Found(
            Call("gt", (expr, Literal(threshold))), cost + 1 + literal_cost(threshold), True
        )


def linear_form(leaves: Sequence[Leaf], weights: np.ndarray) -> tuple[Expr, float]:
    """`w1 * v1 + ... + c`, positive terms first, and its cost."""
    terms = [(int(w), leaf) for w, leaf in zip(weights, leaves) if w]
    terms.sort(key=lambda term: term[0] < 0)
    constant = int(weights[-1])
    result: Expr | None = None
    cost = 0.0
    for w, leaf in terms:
        size = abs(w)
        term: Expr = leaf.expr if size == 1 else Call("mul", (Literal(size), leaf.expr))
        cost += leaf.cost + 1 + (0 if size == 1 else 1 + literal_cost(size))
        if result is None:
            result = term if w > 0 else Call("neg", (term,))
        else:
            result = Call("add" if w > 0 else "sub", (result, term))
    if result is None:
        return Literal(constant), literal_cost(constant)
    if constant:
        result = Call("add" if constant > 0 else "sub", (result, Literal(abs(constant))))
        cost += 1 + literal_cost(constant)
    return result, cost - 1


def _covered(
    bank: Bank, wanted: np.ndarray, truth: bool, rows: np.ndarray, depth: int, limit: float
) -> Found | None:
    """Conditionals `a if c else b` and, for truth values, conjunctions and disjunctions."""
    conditions = np.flatnonzero(bank.truth)
    conditions = conditions[np.argsort(bank.cost[conditions], kind="stable")][:_CONDITIONS]
    if not len(conditions):
        return None
    tests = bank.values[conditions][:, rows].astype(np.float32)
    price = bank.cost[conditions]
    candidates = _candidates(bank, wanted[rows], truth)
    if not candidates.cost.size:
        return None
    return _split(bank, candidates, tests, price, conditions, depth, limit, truth)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Expressions for branches: where each misses (E, R), its cost, its number or constant."""

    misses: np.ndarray
    cost: np.ndarray
    number: np.ndarray
    constant: np.ndarray
    wanted: np.ndarray


def _candidates(bank: Bank, wanted: np.ndarray, truth: bool) -> _Candidates:
    usable = np.flatnonzero(bank.truth == truth)
    usable = usable[np.argsort(bank.cost[usable], kind="stable")][:_LEAVES]
    constants = np.unique(wanted)
    constants = constants if len(constants) <= 12 else constants[:0]
    values = np.concatenate(
        [bank.values[usable], np.repeat(constants[:, None], bank.values.shape[1], axis=1)]
    )
    cost = np.concatenate([bank.cost[usable], [literal_cost(int(c)) for c in constants]])
    number = np.concatenate([usable, np.full(len(constants), -1)])
    constant = np.concatenate([np.zeros(len(usable), np.int64), constants])
    misses = (values != wanted).astype(np.float32)
    useful = misses.mean(axis=1) < 0.97
    return _Candidates(misses[useful], cost[useful], number[useful], constant[useful], wanted)


def _split(
    bank: Bank,
    candidates: _Candidates,
    tests: np.ndarray,
    price: np.ndarray,
    conditions: np.ndarray,
    depth: int,
    limit: float,
    truth: bool,
) -> Found | None:
    """The cheapest conditional below the limit; one branch may split again."""
    on = tests @ candidates.misses.T  # (K, E): misses where the condition holds
    off = candidates.misses.sum(axis=1) - on
    cost_on = np.where(on == 0, candidates.cost, np.inf)
    cost_off = np.where(off == 0, candidates.cost, np.inf)
    best_on, best_off = cost_on.min(axis=1), cost_off.min(axis=1)
    total = 1 + price + best_on + best_off
    best: Found | None = None
    k = int(np.argmin(total))
    if total[k] < limit:
        a = _branch(bank, candidates, int(np.argmin(cost_on[k])), truth)
        b = _branch(bank, candidates, int(np.argmin(cost_off[k])), truth)
        best = _conditional(bank.expr(int(conditions[k])), a, b, float(price[k]), truth)
        limit = best.cost
    if depth <= 1:
        return best
    reached = tests.sum(axis=1)
    size = tests.shape[1]
    for then in (True, False):
        have = best_on if then else best_off
        left = (size - reached) if then else reached
        order = np.argsort(price + have + 0.05 * left + np.where(np.isfinite(have), 0, 1e9))
        for k in order[:6]:
            if not np.isfinite(have[k]) or left[k] in (0, size):
                continue
            if price[k] + have[k] + 5 >= limit:
                continue
            rest = (tests[k] == 0) if then else (tests[k] != 0)
            part = _Candidates(
                candidates.misses[:, rest],
                candidates.cost,
                candidates.number,
                candidates.constant,
                candidates.wanted[rest],
            )
            inner = _split(
                bank,
                part,
                tests[:, rest],
                price,
                conditions,
                depth - 1,
                limit - float(price[k] + have[k]) - 1,
                truth,
            )
            if inner is None:
                continue
            costs = cost_on[k] if then else cost_off[k]
            simple = _branch(bank, candidates, int(np.argmin(costs)), truth)
            a, b = (simple, inner) if then else (inner, simple)
            found = _conditional(bank.expr(int(conditions[k])), a, b, float(price[k]), truth)
            if found.cost < limit:
                best, limit = found, found.cost
    return best


def _branch(bank: Bank, candidates: _Candidates, i: int, truth: bool) -> Found:
    number = int(candidates.number[i])
    if number >= 0:
        return Found(bank.expr(number), float(candidates.cost[i]), truth)
    value = int(candidates.constant[i])
    return Found(Literal(bool(value) if truth else value), float(candidates.cost[i]), truth)


def _conditional(condition: Expr, a: Found, b: Found, price: float, truth: bool) -> Found:
    cost = 1 + price + a.cost + b.cost
    if truth:
        match a.expr, b.expr:
            case Literal(True), _:
                return Found(Call("or", (condition, b.expr)), price + 1 + b.cost, True)
            case _, Literal(False):
                return Found(Call("and", (condition, a.expr)), price + 1 + a.cost, True)
            case Literal(False), _:
                return Found(Call("and", (negated(condition), b.expr)), price + 1 + b.cost, True)
            case _, Literal(True):
                return Found(Call("or", (negated(condition), a.expr)), price + 1 + a.cost, True)
    return Found(Call("ite", (condition, a.expr, b.expr)), cost, truth)
