"""The quantities that tests compare with a constant, and the residues that count.

A form is `left < c * right`: cross-multiplied powers, linear forms, quadratics, products.  A
feature is a small integer: a form with its constant, or a residue.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsl.program import Call, Expr, Literal
from synth.inequalities.cells import Axis, Cells

_POWERS = 5
_LINEAR = 4
_MODULI = tuple(range(2, 17))
MIXED = tuple(round(10 ** (k / 5)) for k in range(0, 15))


@dataclass(frozen=True, slots=True)
class Form:
    """`left < c * right` (`left < c` without `right`) for a constant c; `keys` (N,) orders the
    cells: the test holds for those whose key is less than c.

    `mixed` is (p, q, r) for the form x**p + q * y**r, whose q may be refined.
    """

    left: Expr
    right: Expr | None
    keys: np.ndarray
    bits: float
    axes: tuple[int, ...]
    mixed: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """A value from 0 to `arity - 1` on every cell; a test has its form and its constant."""

    expr: Expr
    codes: np.ndarray
    arity: int
    bits: float
    axes: tuple[int, ...]
    form: Form | None = None
    constant: Fraction = Fraction(0)
    interval: tuple[float, float] | None = None


def power(base: Expr, exponent: int) -> Expr:
    return base if exponent == 1 else Call("pow", (base, Literal(exponent)))


def scaled(factor: int, expr: Expr) -> Expr:
    return expr if factor == 1 else Call("mul", (Literal(factor), expr))


def total(one: Expr, factor: int, other: Expr) -> Expr:
    """`one + factor * other`, with a minus sign where the factor is negative."""
    sign = "add" if factor > 0 else "sub"
    return Call(sign, (one, scaled(abs(factor), other)))


def test_of(form: Form, constant: Fraction) -> Expr:
    """The comparison in integers."""
    if form.right is None:
        assert constant.denominator == 1
        return Call("lt", (form.left, Literal(constant.numerator)))
    left = scaled(constant.denominator, form.left)
    return Call("lt", (left, scaled(constant.numerator, form.right)))


def holds(form: Form, constant: Fraction, cells: Cells) -> np.ndarray:
    """The cells on which the test holds; exact to the rounding of the keys."""
    return np.asarray(form.keys < float(constant) * (1 - 1e-13))


def forms(cells: Cells) -> list[Form]:
    """Thresholds of single variables and of two-variable quantities; sums of three and more."""
    found: list[Form] = []
    axes, columns = cells.axes, cells.columns
    for i, axis in enumerate(axes):
        found.append(Form(axis.expr, None, columns[i].astype(float), 6.0, (i,)))
    for i, j in itertools.combinations(range(len(axes)), 2):
        found += _ratios(axes, columns, i, j)
        found += _sums(axes, columns, i, j)
        for one, other in ((i, j), (j, i)):
            found += [
                mixed_form(axes, columns, (one, other), (p, sign * q, r))
                for p, r in ((1, 2), (1, 3), (2, 3), (3, 2), (2, 1), (3, 1))
                for q in MIXED
                for sign in (1, -1)
                if not (q > 1 and (p, r) in ((1, 2), (1, 3)))
            ]
    for several in range(3, len(axes) + 1):
        for chosen in itertools.combinations(range(len(axes)), several):
            found += _long_sums(axes, columns, chosen)
    return [form for form in found if form.keys.min() < form.keys.max()]


def _ratios(
    axes: tuple[Axis, ...], columns: tuple[np.ndarray, ...], i: int, j: int
) -> Iterator[Form]:
    if axes[i].low < 0 or axes[j].low < 0:
        return
    for p, q in itertools.product(range(1, _POWERS + 1), repeat=2):
        if math.gcd(p, q) > 1:
            continue
        above = columns[i].astype(float) ** p
        below = columns[j].astype(float) ** q
        with np.errstate(divide="ignore", invalid="ignore"):
            keys = np.where(below > 0, above / below, np.inf)
        bits = 18.0 + 2 * (p > 1) + 2 * (q > 1) + max(p, q)
        yield Form(power(axes[i].expr, p), power(axes[j].expr, q), keys, bits, (i, j))


def _sums(
    axes: tuple[Axis, ...], columns: tuple[np.ndarray, ...], i: int, j: int
) -> Iterator[Form]:
    x, y = axes[i].expr, axes[j].expr
    a, b = columns[i], columns[j]
    for p, q in itertools.product(range(1, _LINEAR + 1), range(-_LINEAR, _LINEAR + 1)):
        if q == 0 or math.gcd(p, q) > 1:
            continue
        bits = 18.0 + 6 * (p > 1) + 6 * (abs(q) > 1) + p + abs(q)
        yield Form(total(scaled(p, x), q, y), None, (p * a + q * b).astype(float), bits, (i, j))
        if max(p, abs(q)) <= 3:
            left = total(scaled(p, power(x, 2)), q, power(y, 2))
            yield Form(left, None, (p * a**2 + q * b**2).astype(float), bits + 12, (i, j))
    product = Call("mul", (x, y))
    yield Form(product, None, (a * b).astype(float), 18.0, (i, j))
    distance = Call("abs", (Call("sub", (x, y)),))
    yield Form(distance, None, np.abs(a - b).astype(float), 24.0, (i, j))
    for q in (-2, -1, 1, 2):
        left = total(total(power(x, 2), q, product), 1, power(y, 2))
        keys = (a**2 + q * a * b + b**2).astype(float)
        yield Form(left, None, keys, 44.0 + 6 * (abs(q) > 1), (i, j))


def mixed_form(
    axes: tuple[Axis, ...],
    columns: tuple[np.ndarray, ...],
    pair: tuple[int, int],
    shape: tuple[int, int, int],
) -> Form:
    """x**p + q * y**r."""
    p, q, r = shape
    x, y = (axes[i].expr for i in pair)
    a, b = (columns[i] for i in pair)
    keys = a.astype(float) ** p + q * b.astype(float) ** r
    bits = 24.0 + 6 * (p > 1) + 6 * (r > 1) + integer_bits(q)
    return Form(total(power(x, p), q, power(y, r)), None, keys, bits, pair, (p, q, r))


def _long_sums(
    axes: tuple[Axis, ...], columns: tuple[np.ndarray, ...], chosen: tuple[int, ...]
) -> Iterator[Form]:
    for factors in itertools.product((1, 2, -1, -2), repeat=len(chosen)):
        if factors[0] < 0:
            continue
        expr = scaled(factors[0], axes[chosen[0]].expr)
        keys = factors[0] * columns[chosen[0]]
        for factor, i in zip(factors[1:], chosen[1:], strict=True):
            expr = total(expr, factor, axes[i].expr)
            keys = keys + factor * columns[i]
        bits = 12.0 * len(chosen) + sum(6 for f in factors if abs(f) > 1)
        yield Form(expr, None, keys.astype(float), bits, chosen)


@dataclass(frozen=True, slots=True)
class Residue:
    """A residue of one variable: its value (one for each value of the axis)."""

    expr: Expr
    values: np.ndarray
    arity: int
    bits: float
    axis: int


def residues(cells: Cells) -> list[Residue]:
    """`g % m` for polynomials and integer roots g of one variable."""
    found: list[Residue] = []
    for i, axis in enumerate(cells.axes):
        for expr, values, bits in _growing(axis):
            for m in _MODULI:
                if m > max(2, len(values) // 3):
                    continue
                codes = (values % m).astype(np.int64)
                if len(np.unique(codes)) > 1:
                    residue = Call("mod", (expr, Literal(m)))
                    found.append(Residue(residue, codes, m, bits + 12 + math.log2(m), i))
    return found


def _growing(axis: Axis) -> Iterator[tuple[Expr, np.ndarray, float]]:
    """Polynomials and roots of a variable with their values and sizes in bits."""
    x, v = axis.expr, axis.values.astype(np.int64)
    yield x, v, 6.0
    for p in (2, 3):
        yield power(x, p), v**p, 18.0
    for p, q in ((2, 1), (2, -1), (2, 2), (2, 3), (3, 1), (3, -1), (3, 2)):
        yield total(power(x, p), q, x), v**p + q * v, 30.0 + 6 * (abs(q) > 1)
    for q in (1, 2, 3):
        yield total(power(x, 3), q, power(x, 2)), v**3 + q * v**2, 42.0 + 6 * (q > 1)
    for factor in (2, 3):
        for q in (1, 2):
            yield (
                total(scaled(factor, power(x, 2)), q, x),
                factor * v**2 + q * v,
                42.0 + 6 * (q > 1),
            )
    if axis.low < 0:
        return
    for p in (1, 3, 5):
        for factor in (1, 2, 3):
            inner = scaled(factor, power(x, p))
            roots = np.array([math.isqrt(factor * int(u) ** p) for u in v], np.int64)
            yield Call("isqrt", (inner,)), roots, 12.0 + 12 * (p > 1) + 12 * (factor > 1)
    roots = np.array([math.isqrt(math.isqrt(int(u) ** 3)) for u in v], np.int64)
    yield Call("isqrt", (Call("isqrt", (power(x, 3),)),)), roots, 30.0


def joint_residues(cells: Cells) -> list[Feature]:
    """Residues of quantities of two variables."""
    found: list[Feature] = []
    for i, j in itertools.combinations(range(len(cells.axes)), 2):
        x, y = cells.axes[i].expr, cells.axes[j].expr
        a, b = cells.columns[i], cells.columns[j]
        quantities = [
            (total(scaled(p, x), q, y), p * a + q * b, 18.0 + 6 * (p > 1) + 6 * (abs(q) > 1))
            for p, q in ((1, 1), (1, -1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2))
        ]
        quantities.append((Call("mul", (x, y)), a * b, 18.0))
        quantities += [
            (total(power(x, p), 1, power(y, q)), a**p + b**q, 30.0 + 6 * (p + q > 3))
            for p, q in ((2, 2), (2, 1), (1, 2), (3, 1), (1, 3))
        ]
        for expr, values, bits in quantities:
            for m in _MODULI:
                codes = (values % m).astype(np.int64)
                residue = Call("mod", (expr, Literal(m)))
                found.append(Feature(residue, codes, m, bits + 12 + math.log2(m), (i, j)))
    return found


def spread(residue: Residue, cells: Cells) -> Feature:
    """A residue of one variable on every cell."""
    codes = residue.values[cells.columns[residue.axis] - cells.axes[residue.axis].low]
    return Feature(residue.expr, codes, residue.arity, residue.bits, (residue.axis,))


@functools.lru_cache(maxsize=1 << 16)
def integer_bits(value: int) -> float:
    """Bits of an integer as people write it: digits before trailing zeros, then the zeros."""
    if abs(value) <= 1:
        return 0.0
    digits = str(abs(value)).rstrip("0")
    return 3.4 * len(digits) + 1.0 * (len(str(abs(value))) - len(digits)) + 2.0
