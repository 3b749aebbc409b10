"""Closed forms for a real output: enumeration, regression over few features, fitted constants."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Literal, Program, Variable, walk
from synth.problem import Problem
from synth.reals.bank import Formulas, enumerated
from synth.reals.fitting import Fit, cleaned, roughly
from synth.reals.points import box_of, values

_ROWS = 120
_FITTED = 500
_LARGEST = 6
_CAPACITY = 8_000
_PARTNERS = 300
_BEST = 30
_CLEANED = 24
_LARGER = 2
_RATES = (("sin", (1.5, 3.0, 5.0, 8.0)), ("tanh", (1.0, 4.0)), ("exp", (1.0, -1.0)))
_MOST_INPUTS = 6


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Formulas by size, each closer to the network than those before."""
    box = box_of(problem.target)
    if box is None or len(box.names) > _MOST_INPUTS:
        return
    rng = np.random.default_rng([problem.seed, 12])
    points = values(box, _FITTED, rng)
    if points is None:
        return
    batch = box.batch(points.inputs)
    columns = {name: batch[name] for name in box.names}
    wanted = points.raw[:, 0]
    tolerance = problem.target.claim.decode.tolerance
    names = tuple((name, None) for name in problem.target.domain.names)
    few = {name: column[:_ROWS] for name, column in columns.items()}
    limit = time.monotonic() + 0.35 * problem.time_left
    bank = enumerated(few, _LARGEST, _CAPACITY, limit)
    best = math.inf
    for fit in _fits(bank, columns, wanted, tolerance, problem.deadline):
        if fit.error < 1.5 * best:
            best = min(best, fit.error)
            yield Hypothesis(Program("program", names, (), fit.expr), "formulas", bank.tried)
        if time.monotonic() > problem.deadline:
            return


def _fits(
    bank: Formulas,
    columns: dict[str, np.ndarray],
    wanted: np.ndarray,
    tolerance: float,
    deadline: float,
) -> Iterator[Fit]:
    """The formulas on the front of size against error, first roughly fitted, then cleaned."""
    few = {name: column[:_ROWS] for name, column in columns.items()}
    more = {name: column[:_FITTED] for name, column in columns.items()}
    rough: list[tuple[int, float, Expr]] = [(1, 0.0, Literal(1))]
    for expr in (*_units(few), *_candidates(bank, wanted[:_ROWS])):
        error = roughly(expr, few, wanted[:_ROWS])
        rough.append((sum(1 for _ in walk(expr)), error, expr))
        if time.monotonic() > deadline:
            break
    best, cleaned_ones = math.inf, 0
    enough = math.inf
    for size, error, expr in sorted(rough, key=lambda entry: entry[:2]):
        if size > enough:
            return
        if error >= 1.5 * best or cleaned_ones >= _CLEANED:
            continue
        cleaned_ones += 1
        fit = cleaned(expr, more, wanted[:_FITTED], tolerance, deadline)
        if math.isfinite(fit.error):
            best = min(best, fit.error)
            if fit.deviation <= tolerance:
                enough = size + _LARGER
            yield fit
        if time.monotonic() > deadline:
            return


def _units(columns: dict[str, np.ndarray]) -> Iterator[Expr]:
    """Waves, growth and saturation in one input, at several rates: first guesses that the fit
    then moves, as enumeration knows no such constants."""
    for name, column in columns.items():
        half = float(np.ptp(column)) / 2
        for primitive, rates in _RATES:
            for rate in rates:
                scaled = Call("mul", (Literal(rate / half), Variable(name)))
                yield Call(primitive, (scaled,))


def _candidates(bank: Formulas, wanted: np.ndarray) -> Iterator[Expr]:
    """Features, sums of two and quotients of two that explain most of the variance for their
    size, in rising size."""
    centred = wanted - wanted.mean()
    total = float(centred @ centred)
    if total == 0:
        return
    features = bank.values - bank.values.mean(1, keepdims=True)
    length = np.sqrt((features * features).sum(1))
    usable = np.flatnonzero(length > 1e-9)
    features = features[usable] / length[usable, None]
    sizes = bank.sizes[usable]
    found: list[tuple[float, int, Expr]] = []
    left = total - (features @ centred) ** 2
    for i in _leading(left, sizes, total):
        found.append((float(left[i]), int(sizes[i]), bank.exprs[usable[i]]))
    partners = _leading(left, sizes, total, _PARTNERS // 2)
    partners = list(dict.fromkeys([*partners, *range(min(_PARTNERS // 2, len(usable)))]))
    found += _sums(bank, usable, features, sizes, centred, partners)
    found += _quotients(bank, usable, sizes, wanted)
    yield from _front(found, total, len(wanted))


def _leading(left: np.ndarray, sizes: np.ndarray, total: float, count: int = _BEST) -> list[int]:
    """The features of least code length: size against unexplained variance."""
    bits = 6.0 * sizes + 100 * np.log2(np.maximum(left / total, 1e-12))
    return [int(i) for i in np.argsort(bits, kind="stable")[:count]]


def _sums(
    bank: Formulas,
    usable: np.ndarray,
    features: np.ndarray,
    sizes: np.ndarray,
    centred: np.ndarray,
    partners: list[int],
) -> list[tuple[float, int, Expr]]:
    """a * u + b * v: for each partner u, the best v."""
    along = features @ features[partners].T
    alone = features @ centred
    ours = alone[partners]
    rest = float(centred @ centred) - ours**2
    gain = (alone[:, None] - along * ours) ** 2 / np.maximum(1 - along**2, 1e-6)
    left = rest - np.where(along**2 < 1 - 1e-6, gain, 0.0)
    total = float(centred @ centred)
    bits = 6.0 * sizes[:, None] + 100 * np.log2(np.maximum(left / total, 1e-12))
    found: list[tuple[float, int, Expr]] = []
    for place, j in enumerate(bits.argmin(0)):
        i = partners[place]
        u, v = bank.exprs[usable[i]], bank.exprs[usable[j]]
        basis = np.stack([bank.values[usable[i]], bank.values[usable[j]], np.ones(len(centred))], 1)
        solution = np.linalg.lstsq(basis, centred, rcond=None)[0]
        ratio = float(solution[1] / solution[0]) if abs(solution[0]) > 1e-9 else 1.0
        expr = Call("add", (u, Call("mul", (Literal(ratio), v))))
        found.append((float(left[j, place]), int(sizes[i] + sizes[j] + 3), expr))
    return found


def _quotients(
    bank: Formulas, usable: np.ndarray, sizes: np.ndarray, wanted: np.ndarray
) -> list[tuple[float, int, Expr]]:
    """(a * u + b) / v for positive v: the least residual of y - a (u / v) - b (1 / v)."""
    values = bank.values[usable]
    low, high = values.min(1), values.max(1)
    positive = np.flatnonzero((low > 0.02 * high) & (high > low))
    if not len(positive):
        return []
    weight = 1 / values[positive]
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    rest = wanted - (unit @ wanted)[:, None] * unit
    small = values[: 2 * _PARTNERS]
    length = (small**2) @ (weight**2).T - (small @ (weight * unit).T) ** 2
    along = small @ (weight * rest).T
    scale = (small**2) @ (weight**2).T
    gain = np.where(length > 1e-9 * scale, along**2 / np.maximum(length, 1e-12), 0.0)
    left = (rest**2).sum(1) - gain
    bits = 6.0 * sizes[: len(small), None] + 100 * np.log2(np.maximum(left, 1e-12))
    found: list[tuple[float, int, Expr]] = []
    for place, i in enumerate(bits.argmin(0)):
        j = positive[place]
        expr = Call("truediv", (bank.exprs[usable[i]], bank.exprs[usable[j]]))
        found.append((float(left[i, place]), int(sizes[i] + sizes[j] + 1), expr))
    return found


def _front(found: list[tuple[float, int, Expr]], total: float, rows: int) -> Iterator[Expr]:
    """For each size the two best, where they are better than everything smaller; at most 40."""
    best = math.inf
    count = 0
    for size in sorted({size for _, size, _ in found}):
        ranked = sorted(((left, i) for i, (left, s, _) in enumerate(found) if s == size))
        for left, i in ranked[:3]:
            if left < best * 1.5 + 1e-12:
                yield found[i][2]
                count += 1
        best = min(best, ranked[0][0])
        if count > 40:
            return
